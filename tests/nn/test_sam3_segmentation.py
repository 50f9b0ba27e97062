"""From slots to masks."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.testing import assert_close

from plain_sam3_finder import plain_masks, plain_pixels
from promptseg.nn.sam3 import segmentation
from promptseg.nn.sam3.exemplars import Question
from promptseg.nn.sam3.segmentation import Doubling, MaskHead, scale_and_shift
from seeded import fill

HEIGHT, WIDTH, CHANNELS, SLOTS, ROUNDING = 3, 5, 16, 7, 2e-5


@pytest.fixture(scope="module")
def masks():
    return fill(MaskHead(CHANNELS, heads=2, groups=4), seed=5)


def noise(*shape, seed=17):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def finer(count=1):
    return [noise(count, s * HEIGHT, s * WIDTH, CHANNELS, seed=s) for s in (2, 4)]


def asked(count):
    attended = torch.ones(count, 3, dtype=torch.bool)
    attended[0, 1] = False
    image = noise(count, HEIGHT, WIDTH, CHANNELS)
    return image, Question(noise(count, 3, CHANNELS), attended), noise(count, SLOTS, CHANNELS)


def drawn(masks, image, question, levels, slots):
    middle, fine = levels
    prepared = masks.middle.prepare(middle), masks.fine.prepare(fine)
    return masks(image, question, *prepared, slots)


@pytest.mark.parametrize("images", [1, 2])
def test_a_map_is_doubled_and_joined_place_by_place(images):
    """Four kernels of 2 x 2, one for each place within a cell, give what one of 3 x 3 does."""
    doubling = fill(Doubling(CHANNELS, groups=4), seed=5)
    cells, level = noise(2, HEIGHT, WIDTH, CHANNELS), noise(images, 6, 10, CHANNELS)
    enlarged = functional.interpolate(cells.permute(0, 3, 1, 2), scale_factor=2.0)
    plain = doubling.conv(enlarged + level.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    assert_close(doubling(cells, doubling.prepare(level)), plain, atol=ROUNDING, rtol=0)


@pytest.mark.parametrize("portion", [1, 4, 1000])
def test_a_group_norm_is_a_scale_and_a_shift(portion, monkeypatch):
    """Worked out in parts of any size, of cells whose mean is far from zero."""
    monkeypatch.setattr(segmentation, "CELLS", portion)
    norm = fill(nn.Sequential(nn.GroupNorm(4, CHANNELS)), seed=5)[0]
    cells = 3 * noise(2, 11, CHANNELS) + 30
    scale, shift = scale_and_shift(norm, cells)
    plain = norm(cells.transpose(1, 2)).transpose(1, 2)
    assert_close(cells * scale[:, None] + shift[:, None], plain, atol=1e-4, rtol=0)


@pytest.mark.parametrize("portion", [19, 10**6])
@pytest.mark.parametrize("images", [1, 3])
def test_masks_are_those_of_the_plain_head(masks, portion, images, monkeypatch):
    """What is folded into slots, shared by questions or done in parts changes no logit."""
    monkeypatch.setattr(segmentation, "CELLS", portion)
    image, question, slots = asked(3)
    levels = finer(images)
    pixels = plain_pixels(masks, image, question, levels)
    plain = plain_masks(masks, pixels, slots)
    assert_close(
        torch.stack(drawn(masks, image, question, levels, list(slots))),
        plain,
        atol=10 * ROUNDING,
        rtol=0,
    )


def test_only_the_slots_that_are_asked_for_are_drawn(masks):
    """In their order, and each as if all had been."""
    image, question, slots = asked(2)
    everything = drawn(masks, image, question, finer(), list(slots))
    some = drawn(masks, image, question, finer(), [slots[0, [4, 1]], slots[1, [6]]])
    assert_close(some[0], everything[0][[4, 1]], atol=ROUNDING, rtol=0)
    assert_close(some[1], everything[1][[6]], atol=ROUNDING, rtol=0)


def test_logits_are_float32_in_half_precision(masks):
    """What comes of bfloat16 maps is near, and of the same dtype."""
    half = fill(MaskHead(CHANNELS, heads=2, groups=4), seed=5).bfloat16()
    image, question, slots = asked(1)
    exact = drawn(masks, image, question, finer(), list(slots))[0]
    near = drawn(
        half,
        image.bfloat16(),
        Question(question.tokens.bfloat16(), question.attended),
        [level.bfloat16() for level in finer()],
        list(slots.bfloat16()),
    )[0]
    assert near.dtype == torch.float32
    assert (near - exact).abs().mean() < 0.02 * exact.abs().mean()
