"""The half of SAM 3 that is clicked gives the numbers of transformers' tracker."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from promptseg.nn.sam3.config import ClickerConfig
from promptseg.nn.sam3.neck import folded
from sam2_prompts import KINDS, asked, together
from small_sam3 import CLICKER_ONLY, IMAGES_ONLY, small_sam3

# Float32 sums in another order, at logits of about 6; larger ones are as much less exact.
LOGITS = 2e-5
SCALE = 6.0
SCORES = 1e-6


@pytest.fixture(scope="module")
def ours():
    return small_sam3(IMAGES_ONLY)


@pytest.fixture(scope="module")
def pixels():
    side = IMAGES_ONLY.image_side
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(7))


@pytest.fixture(scope="module")
def seen(ours, pixels):
    with torch.inference_mode():
        return ours.encode(pixels).image(0)


@pytest.fixture(scope="module")
def reference(ours):
    pytest.importorskip("transformers")
    from reference_sam3 import Clicked

    return Clicked(ours)


def compare(ours, reference, seen, pixels, prompts) -> None:
    with torch.inference_mode():
        mine = ours.decode(seen, prompts)
        theirs = reference.decode(reference.encode(pixels[:1]), prompts)
    largest = float(theirs.logits.abs().max())
    assert largest > 1
    assert_close(mine.logits, theirs.logits, atol=LOGITS * max(1.0, largest / SCALE), rtol=0)
    assert_close(mine.scores, theirs.scores, atol=SCORES, rtol=0)
    assert_close(mine.presence, theirs.presence, atol=SCORES * max(1.0, largest), rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_prompt_agrees(ours, reference, seen, pixels, kind):
    """All four candidates, their scores, and whether there is anything."""
    compare(ours, reference, seen, pixels, asked(IMAGES_ONLY, **KINDS[kind]))


def test_several_objects_agree(ours, reference, seen, pixels):
    """Of unlike kinds, padded to one length, each as it is alone."""
    prompts = together(*(asked(IMAGES_ONLY, **kind) for kind in KINDS.values()))
    compare(ours, reference, seen, pixels, prompts)


@settings(max_examples=15, deadline=None)
@given(
    points=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=5),
    labels=st.lists(st.integers(0, 1), min_size=5, max_size=5),
)
def test_any_points_agree(ours, reference, seen, pixels, points, labels):
    """Wherever they are, at the edge too."""
    prompts = asked(IMAGES_ONLY, points=points, labels=labels[: len(points)])
    compare(ours, reference, seen, pixels, prompts)


def test_an_image_is_seen_alike_in_company(ours, pixels, seen):
    """Images in a batch change nothing in each other."""
    with torch.inference_mode():
        second = ours.encode(pixels.flip(0)).image(1)
    for one, other in zip(second.grids, seen.grids, strict=True):
        assert_close(one, other, atol=1e-5, rtol=0)


def test_a_mask_has_four_cells_to_one_of_the_trunk(ours, seen):
    """Six cells a side make masks of 24, and hints are as large."""
    assert (IMAGES_ONLY.grid_side, IMAGES_ONLY.mask_side) == (6, 24)
    with torch.inference_mode():
        answer = ours.decode(seen, asked(IMAGES_ONLY, points=[(0.5, 0.5)], labels=[1], hint=True))
    assert answer.logits.shape == (1, 4, 24, 24)


def test_two_convolutions_are_one():
    """The second of 1 x 1: the same at the edges too, where the first sees zeros."""
    torch.manual_seed(3)
    first, second = torch.nn.Conv2d(5, 7, 3, padding=1), torch.nn.Conv2d(7, 2, 1)
    grid = torch.randn(1, 5, 4, 6)
    weight, bias = folded(first, second)
    both = torch.nn.functional.conv2d(grid, weight, bias, padding=1)
    assert_close(both, second(first(grid)), atol=1e-6, rtol=0)


def test_the_neck_is_narrowed_as_it_would_be_after(ours, pixels):
    """The maps of the neck, and then what the decoder makes of them: the slow twin."""
    clicker = ours.clicker
    with torch.inference_mode():
        cells = ours.trunk(pixels)
        decoder = clicker.mask_decoder
        levels = clicker.neck(cells)
        quick = clicker.neck(cells, fine=decoder.narrow4, middle=decoder.narrow8)
        fine = decoder.narrow4(levels.fine.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        middle = decoder.narrow8(levels.middle.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    assert_close(quick.fine, fine, atol=1e-5, rtol=0)
    assert_close(quick.middle, middle, atol=1e-5, rtol=0)
    assert_close(quick.coarse, levels.coarse, atol=1e-5, rtol=0)


def test_memory_is_there_where_the_weights_have_it():
    """With the shapes of SAM 2.1's, for videos; images do without."""
    assert small_sam3(IMAGES_ONLY).clicker.memory is None
    memory = small_sam3(CLICKER_ONLY).clicker.memory
    assert memory.ages.shape == (5, 1, 1, 16)


def test_bfloat16_is_near(ours, pixels):
    """Every part works in it, and answers nearly the same."""
    coarse = small_sam3(IMAGES_ONLY).bfloat16()
    prompts = asked(IMAGES_ONLY, **KINDS["box and points"])
    with torch.inference_mode():
        mine = coarse.decode(coarse.encode(pixels[:1].bfloat16()), prompts)
        exact = ours.decode(ours.encode(pixels[:1]), prompts)
    assert mine.logits.dtype == torch.float32
    apart = (mine.logits - exact.logits).abs().mean() / exact.logits.abs().mean()
    assert apart < 0.1


def test_shapes_are_those_of_transformers_tracker():
    """Of the whole one, at the published sizes: every tensor, those of memory too."""
    pytest.importorskip("transformers")
    from transformers import Sam3TrackerVideoConfig, Sam3TrackerVideoModel

    from promptseg.nn.sam3.config import PUBLISHED
    from promptseg.nn.sam3.model import sam3_of
    from promptseg.weights.keymaps.sam3 import dialect_of

    with torch.device("meta"):
        theirs = Sam3TrackerVideoModel(Sam3TrackerVideoConfig()).state_dict()
        ours = sam3_of(replace(PUBLISHED, finder=None)).state_dict()
    keymap = dialect_of(theirs).keymap
    named = keymap.to_theirs(ours)
    idle = keymap.idle(theirs)
    assert {name: each.shape for name, each in named.items()} == {
        name: each.shape for name, each in theirs.items() if name not in idle
    }
    assert PUBLISHED.clicker == ClickerConfig()


def test_threads_look_at_images_at_the_same_time(ours, pixels):
    """Nothing of the network changes while it looks, so nobody sees what another has half done."""

    def look(image):
        with torch.inference_mode():
            return ours.encode(pixels[image : image + 1]).image(0)

    alone = [look(0), look(1)]
    asked = [0, 1] * 20
    with ThreadPoolExecutor(4) as executor:
        for image, seen in zip(asked, executor.map(look, asked), strict=True):
            for grid, expected in zip(seen, alone[image], strict=True):
                assert_close(grid, expected, atol=1e-5, rtol=1e-5)
