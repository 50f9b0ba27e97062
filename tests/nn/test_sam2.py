"""SAM 2 on seeded weights: company changes no answer, and what a prompt means."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from promptseg.errors import ConfigError
from promptseg.nn.outputs import PromptTensors
from promptseg.nn.protocol import Promptable
from promptseg.nn.sam2 import config as sizes
from promptseg.nn.sam2.config import HieraConfig
from promptseg.nn.sam2.model import Sam2Network
from sam2_prompts import BOX, KINDS, POINT, POINTS, asked, together
from small_sam2 import PADDED, small_sam2

# Float32 sums in another order.
ROUNDING = 2e-5


@pytest.fixture(scope="module")
def network():
    return small_sam2(PADDED)


@pytest.fixture(scope="module")
def features(network):
    pixels = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return network.encode(pixels)


def decode(network, features, prompts):
    with torch.inference_mode():
        return network.decode(features, prompts)


def assert_same(mine, theirs):
    for one, other in zip(mine, theirs, strict=True):
        assert_close(one, other, atol=ROUNDING, rtol=0)


def test_the_network_is_promptable(network):
    """The engine's protocol is what the network offers."""
    assert isinstance(network, Promptable)
    assert (network.spec.image_side, network.spec.mask_side) == (96, 24)


def test_every_candidate_comes_back(network, features):
    """Four candidates at the mask side, scores in 0..1, presence one number each."""
    answers = decode(network, features, together(asked(PADDED, **POINT), asked(PADDED, **BOX)))
    assert answers.logits.shape == (2, 4, 24, 24)
    assert answers.scores.shape == (2, 4)
    assert answers.presence.shape == (2,)
    assert ((answers.scores > 0) & (answers.scores < 1)).all()


def test_company_does_not_change_an_answer(network, features):
    """Objects with no, one and three points, boxes and hints are answered as alone."""
    objects = [asked(PADDED, **kind) for kind in KINDS.values()]
    answers = decode(network, features, together(*objects))
    for i, prompts in enumerate(objects):
        assert_same([each[i : i + 1] for each in answers], decode(network, features, prompts))


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_nothing(network, features, kind):
    """Points labelled -1 are not there, whatever their coordinates and wherever in the row."""
    plain = asked(PADDED, **KINDS[kind])
    nowhere = torch.tensor([[[torch.nan, 3.0], [torch.inf, 5.0]]])
    padded = plain._replace(
        points=torch.cat([nowhere, plain.points], dim=1),
        labels=torch.cat([torch.full((1, 2), -1), plain.labels], dim=1),
    )
    assert_same(decode(network, features, padded), decode(network, features, plain))


def test_unused_boxes_and_hints_change_nothing(network, features):
    """What `boxed` and `hinted` switch off is not looked at, be it not a number."""
    plain = asked(PADDED, **POINT)
    other = plain._replace(
        boxes=torch.full((1, 4), torch.nan), hints=torch.full((1, 24, 24), torch.nan)
    )
    assert_same(decode(network, features, other), decode(network, features, plain))


def test_a_box_is_two_points_with_labels_of_their_own(network, features):
    """Corners and points are placed alike: a box equals points with labels 2 and 3."""
    box = asked(PADDED, **BOX)
    x0, y0, x1, y1 = BOX["box"]
    corners = asked(PADDED, points=[(x0, y0), (x1, y1)], labels=[2, 3])
    assert_same(decode(network, features, corners), decode(network, features, box))


def test_each_kind_of_prompt_matters(network, features):
    """Moving a point, switching its label, the box or the hint changes the answer."""
    plain = asked(PADDED, **POINTS, **BOX, hint=True)
    changed = [
        plain._replace(points=plain.points.flip(2)),
        plain._replace(labels=1 - plain.labels),
        plain._replace(boxed=~plain.boxed),
        plain._replace(hinted=~plain.hinted),
    ]
    first = decode(network, features, plain).logits
    others = [decode(network, features, prompts).logits for prompts in changed]
    assert all((first - other).abs().max() > 1e-3 for other in others)


def test_nothing_said_of_no_object_is_answered_by_nothing(network, features):
    """No prompts, no answers, and no error."""
    none = PromptTensors(*(each[:0] for each in asked(PADDED, **POINT)))
    answers = decode(network, features, none)
    assert [tuple(each.shape) for each in answers] == [(0, 4, 24, 24), (0, 4), (0,)]


def test_images_of_a_batch_do_not_mix(network):
    """An image is encoded among others as alone."""
    images = torch.randn(3, 3, 96, 96, generator=torch.Generator().manual_seed(5))
    with torch.inference_mode():
        together = network.encode(images)
        alone = network.encode(images[1:2])
    for many, one in zip(together.image(1).grids, alone.grids, strict=True):
        assert_close(many, one, atol=ROUNDING, rtol=0)


def test_half_precision_answers_nearly_the_same(network, features):
    """In bfloat16 points stay where they are, and logits come in float32, near the full ones."""
    half = small_sam2(PADDED).bfloat16()
    assert half.prompt_encoder.positions.frequencies.dtype == torch.float32
    prompts = asked(PADDED, **POINTS, **BOX)
    rough = decode(
        half, features._replace(grids=tuple(g.bfloat16() for g in features.grids)), prompts
    )
    exact = decode(network, features, prompts)
    assert rough.logits.dtype == torch.float32
    assert (rough.logits - exact.logits).abs().mean() < 0.05 * exact.logits.abs().mean()


def test_masks_of_half_precision_are_those_of_full(network):
    """From pixels to masks in bfloat16: most cells agree, and scores stay in float32."""
    half = small_sam2(PADDED).bfloat16()
    pixels = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    prompts = together(*(asked(PADDED, **kind) for kind in KINDS.values()))
    with torch.inference_mode():
        exact = network.decode(network.encode(pixels), prompts)
        rough = half.decode(half.encode(pixels.bfloat16()), prompts)
    assert rough.scores.dtype == rough.presence.dtype == torch.float32
    assert_close(rough.scores, exact.scores, atol=0.02, rtol=0)
    assert ((rough.logits > 0) == (exact.logits > 0)).float().mean() > 0.98


@pytest.mark.parametrize(
    ("config", "millions"),
    [
        (sizes.TINY, 26.85),
        (sizes.SMALL, 33.95),
        (sizes.BASE_PLUS, 68.68),
        (sizes.LARGE, 212.15),
    ],
)
def test_published_sizes_have_as_many_parameters(config, millions):
    """The trunks count what the released ones do, and all share a decoder of 4.22 million."""
    with torch.device("meta"):
        network = Sam2Network(config)
    assert count(network.trunk) / 1e6 == pytest.approx(millions, abs=0.01)
    assert count(network.mask_decoder) / 1e6 == pytest.approx(4.22, abs=0.01)


def test_sizes_that_make_no_network_are_refused():
    """Windows that do not tile the first map, cannot be halved, or heads that do not fit."""
    with pytest.raises(ConfigError, match="image side must be a multiple of 32 and of 32, got 80"):
        replace(PADDED, image_side=80)
    with pytest.raises(ConfigError, match="cannot be halved"):
        HieraConfig(windows=(8, 4, 7, 7))
    with pytest.raises(ConfigError, match="not a multiple of heads"):
        HieraConfig(width=97, heads=2)
    with pytest.raises(ConfigError, match="twice heads"):
        replace(PADDED, heads=5)


def count(module):
    return sum(each.numel() for each in module.parameters())
