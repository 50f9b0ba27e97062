"""The neck of SAM 3: it gives transformers' numbers, and what it folds changes nothing."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional
from torch.testing import assert_close

from promptseg.nn.sam3.config import TrunkConfig
from promptseg.nn.sam3.neck import Neck, spread_out
from promptseg.nn.sam3.vit import Trunk
from seeded import fill

WIDTH, CHANNELS = 24, 8
ROUNDING = 1e-5


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.inference_mode():
        yield


def noise(*shape, seed=17):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def neck():
    return fill(Neck(WIDTH, CHANNELS), 5)


def plain(neck, cells):
    """The same by convolutions, one after the other."""
    grid = cells.permute(0, 3, 1, 2)
    fine = neck.fine.again(functional.gelu(neck.fine.enlarge(grid)))
    levels = [(neck.fine, fine), (neck.middle, neck.middle.enlarge(grid)), (neck.coarse, grid)]
    return [level.mix(level.narrow(map_)).permute(0, 2, 3, 1) for level, map_ in levels]


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5))
def test_three_maps_are_those_of_plain_convolutions(count, height, width):
    """Of any number of maps of any size, at one, two and four times their sides."""
    cells = noise(count, height, width, WIDTH)
    with torch.inference_mode():
        for one, other in zip(neck()(cells), plain(neck(), cells), strict=True):
            assert_close(one, other, atol=ROUNDING, rtol=ROUNDING)


def test_a_neck_gives_the_numbers_of_transformers():
    """Its first three maps; the fourth is made there and not read."""
    pytest.importorskip("transformers")
    from reference_sam3_encoders import reference_vision

    config = TrunkConfig(
        patch=2, width=WIDTH, depth=1, heads=2, hidden=7, window=3, global_blocks=(), background=3
    )
    reference = reference_vision(fill(Trunk(config, side=3), 3), neck())
    cells = noise(2, 3, 5, WIDTH)
    theirs, _ = reference.neck(cells.permute(0, 3, 1, 2))
    for one, other in zip(neck()(cells), theirs[:3], strict=True):
        assert_close(one.permute(0, 3, 1, 2), other, atol=ROUNDING, rtol=ROUNDING)


def test_parts_of_a_cell_are_put_in_reading_order():
    """One cell with four parts, and one beside it."""
    cells = torch.arange(8.0).reshape(1, 1, 2, 4)
    assert spread_out(cells)[0, :, :, 0].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7]]


def test_maps_lie_in_memory_channels_last():
    """So that nobody after it copies them to look at cells."""
    assert all(level.is_contiguous() for level in neck()(noise(2, 3, 5, WIDTH)))


def test_a_neck_in_bfloat16_says_roughly_the_same():
    """In bfloat16 throughout."""
    cells = noise(1, 3, 5, WIDTH)
    for one, other in zip(neck().bfloat16()(cells.bfloat16()), neck()(cells), strict=True):
        assert one.dtype == torch.bfloat16
        assert_close(one.float(), other, atol=0.05, rtol=0.05)


def test_a_neck_can_learn():
    """Every weight has a gradient, those that are folded too."""
    with torch.inference_mode(mode=False):
        learning = neck().requires_grad_()
        sum(level.square().sum() for level in learning(noise(1, 3, 5, WIDTH).clone())).backward()
        assert all(each.grad.abs().sum() > 0 for each in learning.parameters())
