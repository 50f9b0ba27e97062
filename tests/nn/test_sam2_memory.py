"""The memory of SAM 2 on seeded weights: company changes nothing, and what each thing means."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from promptseg.errors import ConfigError
from promptseg.nn.outputs import Past
from promptseg.nn.parts.memory import MemoryConfig, sine_distances
from promptseg.nn.parts.rotary import axial_turns, turned
from promptseg.nn.protocol import Trackable
from promptseg.nn.sam2 import config as sizes
from promptseg.nn.sam2.model import Sam2Network
from promptseg.nn.sam2.video import sam2_of
from small_sam2 import FITTING, PADDED, small_sam2

# Float32 sums in another order.
ROUNDING = 1e-5
CPU = torch.device("cpu")


def noise(*shape, seed=3):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def memory():
    return small_sam2(FITTING).memory


@pytest.fixture(scope="module")
def image():
    return noise(1, 32, 4, 4)


@pytest.fixture(scope="module")
def past():
    """Three frames of which the first was prompted, and two pointers."""
    return Past(
        noise(3, 16, 4, 4, seed=4).bfloat16(),
        torch.tensor([0, 2, 1]),
        noise(2, 32, seed=5),
        torch.tensor([0.6, 0.2]),
    )


@pytest.fixture(scope="module")
def other():
    """One frame, and three pointers."""
    return Past(
        noise(1, 16, 4, 4, seed=6).bfloat16(),
        torch.tensor([0]),
        noise(3, 32, seed=7),
        torch.tensor([1.4, 0.6, 0.1]),
    )


def recall(memory, image, *pasts):
    with torch.inference_mode():
        return memory.recall(image, pasts)


def test_a_turned_cell_by_hand():
    """Cell (row 1, column 2): the first pair turns by 2, the second by 1 radian."""
    turns = axial_turns(4, 2, 3, CPU)
    cells = torch.tensor([1.0, 0, 1, 0]).expand(1, 6, 4)
    assert turned(cells, turns)[0, 5].tolist() == pytest.approx(
        [-0.416147, 0.909297, 0.540302, 0.841471], abs=1e-6
    )
    assert turned(cells, turns)[0, 0].tolist() == [1, 0, 1, 0]


def test_turned_cells_know_only_how_far_apart_they_are():
    """The likeness of two cells is that of two others, as many rows and columns apart."""
    one, other = noise(2, 1, 1, 12).expand(2, 1, 35, 12)
    turns = axial_turns(12, 5, 7, CPU)
    likeness = (turned(one, turns)[0] @ turned(other, turns)[0].T).reshape(5, 7, 5, 7)
    assert_close(likeness[0, 1, 3, 4], likeness[1, 3, 4, 6], atol=1e-5, rtol=0)
    assert (likeness[0, 1, 3, 4] - likeness[0, 1, 4, 3]).abs() > 1e-2


def test_grids_one_after_the_other_are_turned_alike():
    """Every grid of several is turned as it would be alone."""
    turns = axial_turns(8, 2, 3, CPU)
    several = noise(2, 18, 8)
    alone = torch.cat([turned(grid, turns) for grid in several.split(6, dim=1)], dim=1)
    assert torch.equal(turned(several, turns), alone)


def test_distances_by_hand():
    """Sines first, then cosines; neighbours share a wavelength, the next is a hundred times it."""
    waves = sine_distances(torch.tensor([0.0, 0.5]), 8)
    assert waves[0].tolist() == [0] * 4 + [1] * 4
    assert waves[1].tolist() == pytest.approx(
        [0.479426, 0.479426, 0.005, 0.005, 0.877583, 0.877583, 0.9999875, 0.9999875], abs=1e-6
    )


def test_objects_of_one_frame_do_not_mix(memory, image, past, other):
    """An object is recalled and remembered in company as alone, even of one with more memories."""
    both = recall(memory, image, past, other)
    assert_close(both[:1], recall(memory, image, past), atol=ROUNDING, rtol=0)
    assert_close(both[1:], recall(memory, image, other), atol=ROUNDING, rtol=0)

    masks, presence = noise(2, 64, 64).sigmoid(), torch.tensor([1.0, -1.0])
    with torch.inference_mode():
        together = memory.remember(image, masks, presence)
        alone = memory.remember(image, masks[1:], presence[1:])
    assert_close(together[1:].float(), alone.float(), atol=ROUNDING, rtol=2**-7)


def test_one_image_stands_for_as_many(memory, image, past, other):
    """An image given once, looked at once in the first layer, is as good as one for each object."""
    many = recall(memory, image.repeat(2, 1, 1, 1), past, other)
    assert_close(recall(memory, image, past, other), many, atol=ROUNDING, rtol=0)


def test_frames_and_pointers_have_no_order(memory, image, past):
    """Frames with their ages, and pointers with their distances, may come in any order."""
    shuffled = Past(
        past.grids[[2, 0, 1]],
        past.ages[[2, 0, 1]],
        past.pointers.flip(0),
        past.distances.flip(0),
    )
    expected = recall(memory, image, past)
    assert_close(recall(memory, image, shuffled), expected, atol=ROUNDING, rtol=0)


def test_each_part_of_the_past_matters(memory, image, past):
    """What a frame held, where, how long ago, its pointer and the distance of that."""
    changed = [
        past._replace(grids=past.grids.flip(0)),
        past._replace(grids=past.grids.flip(3)),
        past._replace(ages=torch.tensor([0, 3, 1])),
        past._replace(ages=torch.tensor([4, 2, 1])),
        past._replace(pointers=past.pointers.flip(0)),
        past._replace(distances=past.distances + 0.2),
    ]
    first = recall(memory, image, past)
    others = [recall(memory, image, other) for other in changed]
    assert all((first - other).abs().max() > 1e-3 for other in others)


def test_version_2_does_not_say_how_old_pointers_are():
    """Distances change nothing there, and objects that are absent leave no mark."""
    memory = small_sam2(PADDED).memory
    image = noise(1, 48, 6, 6)
    past = Past(
        noise(1, 12, 6, 6).bfloat16(),
        torch.tensor([0]),
        noise(2, 48),
        torch.tensor([0.6, 0.2]),
    )
    far = past._replace(distances=past.distances + 1)
    assert torch.equal(recall(memory, image, past), recall(memory, image, far))
    masks = noise(1, 96, 96).sigmoid()
    with torch.inference_mode():
        here, gone = (
            memory.remember(image, masks, torch.tensor([presence])) for presence in (1.0, -1.0)
        )
    assert torch.equal(here, gone)


def test_an_absent_object_leaves_a_mark(memory, image):
    """Presence of zero or less adds one vector to every cell, and gives the empty pointer."""
    masks = noise(1, 64, 64).sigmoid().expand(3, -1, -1)
    presence = torch.tensor([0.1, 0.0, -3.0])
    tokens = noise(3, 32)
    with torch.inference_mode():
        memories = memory.remember(image, masks, presence)
        pointers = memory.point(tokens, presence)
    assert memories.dtype == torch.bfloat16
    marked = memories[:1] + memory.absence[..., None, None]
    assert_close(memories[1:].float(), marked.expand(2, -1, -1, -1), atol=5e-2, rtol=0)
    assert torch.equal(pointers[1:], memory.no_pointer.expand(2, -1))
    assert_close(pointers[:1], memory.pointer_head(tokens[:1]), atol=ROUNDING, rtol=0)


def test_half_precision_recalls_nearly_the_same(memory, image, past):
    """In bfloat16, a frame is told nearly what it is told in float32, of masks in float32."""
    half = small_sam2(FITTING).bfloat16().memory
    masks = noise(2, 64, 64).sigmoid()
    with torch.inference_mode():
        pairs = [
            (half.recall(image.bfloat16(), [past]), memory.recall(image, [past])),
            (half.hint(masks), memory.hint(masks)),
            (
                half.remember(image.bfloat16(), masks, torch.ones(2)),
                memory.remember(image, masks, torch.ones(2)),
            ),
        ]
    for rough, exact in pairs:
        assert rough.dtype == torch.bfloat16
        assert (rough - exact).abs().mean() < 0.05 * exact.abs().mean()


@pytest.mark.parametrize(
    ("config", "millions"),
    [
        (sizes.TINY, 38.96),
        (sizes.SMALL, 46.06),
        (sizes.BASE_PLUS, 80.85),
        (sizes.LARGE, 224.45),
    ],
)
def test_whole_networks_have_as_many_parameters_as_published(config, millions):
    """All sizes of 2.1 share a memory encoder of 1.38 and an attention of 5.92 million."""
    with torch.device("meta"):
        network = Sam2Network(config)
    assert count(network) / 1e6 == pytest.approx(millions, abs=0.01)
    assert count(network.memory.encoder) / 1e6 == pytest.approx(1.38, abs=0.01)
    assert count(network.memory.attention) / 1e6 == pytest.approx(5.92, abs=0.01)


def test_a_network_of_images_has_no_memory():
    """Without memory there is no such tensor, and no version."""
    config = replace(FITTING, memory=None)
    network = sam2_of(config)
    assert network.memory is None
    assert not isinstance(network, Trackable)
    assert isinstance(small_sam2(FITTING), Trackable)
    assert config.version is None
    assert not any(name.startswith("memory.") for name in network.state_dict())
    assert (FITTING.version, PADDED.version, sizes.TINY.version) == ("2.1", "2", "2.1")


def test_sizes_that_make_no_memory_are_refused():
    """A version that does not exist, and channels that cannot be cut or turned."""
    with pytest.raises(ConfigError, match=r"must be `2` or `2\.1`, got `3`"):
        MemoryConfig(version="3")
    with pytest.raises(ConfigError, match="a multiple of 4, got 6"):
        MemoryConfig(channels=6)
    with pytest.raises(ConfigError, match="channels 32 must be a multiple of those of memory, 20"):
        replace(FITTING, memory=MemoryConfig(channels=20))


def count(module):
    return sum(each.numel() for each in module.parameters())
