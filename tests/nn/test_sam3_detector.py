"""Slots look for things."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from plain_sam3_finder import plain_attention
from promptseg.nn.sam3 import detector as detector_module
from promptseg.nn.sam3.detector import (
    FARTHEST,
    Bias,
    Detector,
    Looking,
    Scorer,
    Sighting,
    logarithms,
    logit,
    to_corners,
)
from promptseg.nn.sam3.exemplars import Question
from seeded import fill

HEIGHT, WIDTH, CHANNELS, HEADS, SLOTS = 5, 7, 16, 2, 11
ROUNDING = 1e-5


@pytest.fixture(scope="module")
def detector():
    return fill(Detector(CHANNELS, heads=HEADS, hidden=13, layers=3, queries=SLOTS), seed=5)


def noise(*shape, seed=17):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def question_of(count, length=3):
    attended = torch.ones(count, length, dtype=torch.bool)
    return Question(noise(count, length, CHANNELS, seed=length), attended)


def looked(detector, count=2, image=None):
    image = noise(count, HEIGHT, WIDTH, CHANNELS) if image is None else image
    return detector(image, noise(HEIGHT, WIDTH, CHANNELS, seed=3), question_of(len(image)))


@pytest.mark.parametrize("portion", [1, 150, 10**6])
@pytest.mark.parametrize("biased", [1, 3])
def test_a_bias_of_rows_and_columns_is_one_of_cells(portion, biased, monkeypatch):
    """However many heads are worked out at a time, and whether questions share a bias."""
    monkeypatch.setattr(detector_module, "LIKENESSES", portion)
    looking = fill(Looking(CHANNELS, heads=HEADS, inner=CHANNELS), seed=5)
    slots, cells = noise(3, SLOTS, CHANNELS), noise(3, HEIGHT * WIDTH, CHANNELS, seed=2)
    placed = noise(3, HEIGHT * WIDTH, CHANNELS, seed=3)
    rows, columns = noise(biased, HEADS, SLOTS, HEIGHT), noise(biased, HEADS, SLOTS, WIDTH)
    laid_out = (rows[..., None] + columns[..., None, :]).flatten(3)
    plain = plain_attention(looking, slots, placed, cells, bias=laid_out)
    assert_close(looking(slots, placed, cells, Bias(rows, columns)), plain, atol=ROUNDING, rtol=0)


def test_distances_are_told_as_logarithms():
    """An eighth is a third of the way, seven eighths the whole of it, on either side."""
    told = logarithms(torch.tensor([0, 1 / 8, -1 / 8, 7 / 8, -7 / 8]))
    assert_close(told, torch.tensor([0, 1 / 3, -1 / 3, 1, -1]))


def test_a_sigmoid_is_undone_but_at_its_ends():
    """The ends themselves are taken for what is a thousandth away."""
    shares = torch.tensor([0.25, 0.5, 0.75])
    assert_close(logit(shares).sigmoid(), shares)
    assert_close(logit(torch.tensor([1.0, 0.0])), torch.tensor([1, -1]) * math.log(1000))


def test_corners_are_half_a_size_from_the_middle():
    """x y w h to x0 y0 x1 y1."""
    assert to_corners(torch.tensor([0.5, 0.25, 0.5, 1])).tolist() == [0.25, -0.25, 0.75, 0.75]


def test_every_layer_answers_each_question_as_if_alone(detector):
    """Slots are the same for all until they look, and their own from then on."""
    image = noise(2, HEIGHT, WIDTH, CHANNELS)
    places, question = noise(HEIGHT, WIDTH, CHANNELS, seed=3), question_of(2)
    together = detector(image, places, question)
    assert len(together) == 3
    for row in range(2):
        some = slice(row, row + 1)
        alone = detector(image[some], places, Question(*(each[some] for each in question)))
        for mine, theirs in zip(together, alone, strict=True):
            for one, other in zip(mine, theirs, strict=True):
                assert_close(one[some], other, atol=ROUNDING, rtol=0)


def test_layers_refine_boxes_and_do_not_blame_those_before():
    """A layer moves the box of the one before, which it takes as given."""
    learning = Detector(CHANNELS, heads=HEADS, hidden=13, layers=3, queries=SLOTS)
    first, second, _ = looked(learning)
    moved = learning.box_head(second.slots) + logit(first.boxes)
    assert_close(second.boxes, moved.sigmoid(), atol=ROUNDING, rtol=0)
    blamed = torch.autograd.grad(second.boxes.sum(), (first.boxes, first.slots), allow_unused=True)
    assert blamed == (None, None)
    (learned,) = torch.autograd.grad(second.boxes.sum(), learning.slots)
    assert learned.count_nonzero() > 0


def test_boxes_are_float32_in_half_precision(detector):
    """Places are told finely whatever the weights are."""
    half = fill(Detector(CHANNELS, heads=HEADS, hidden=13, layers=1, queries=SLOTS), seed=5)
    half.bfloat16()
    image = noise(1, HEIGHT, WIDTH, CHANNELS).bfloat16()
    question = Question(question_of(1).tokens.bfloat16(), question_of(1).attended)
    (sighting,) = half(image, noise(HEIGHT, WIDTH, CHANNELS, seed=3).bfloat16(), question)
    assert sighting.boxes.dtype == torch.float32
    assert half.present(sighting).dtype == torch.float32
    assert half.scorer(sighting.slots, question).dtype == torch.float32


def test_presence_has_no_bound(detector):
    """It is what the head says, however sure that is."""
    (*_, last) = looked(detector)
    louder = fill(Detector(CHANNELS, heads=HEADS, hidden=13, layers=1, queries=SLOTS), seed=5)
    louder.presence_head.layers[2].weight.mul_(1000)
    louder.presence_head.layers[2].bias.mul_(1000)
    assert_close(louder.present(last), 1000 * detector.present(last), rtol=1e-4, atol=1e-2)
    assert louder.present(last).abs().max() > 20


def test_a_score_hears_what_is_attended_and_has_a_bound():
    """It is the mean of the tokens that count; and 12 at most, or -12 at least."""
    scorer = fill(Scorer(CHANNELS, hidden=13), seed=5)
    slots, tokens = noise(2, SLOTS, CHANNELS), noise(2, 3, CHANNELS, seed=2)
    padded = torch.cat([tokens, torch.full((2, 2, CHANNELS), 1e4)], dim=1)
    attended = torch.tensor([[True] * 3 + [False] * 2] * 2)
    short = scorer(slots, Question(tokens, attended[:, :3]))
    assert_close(scorer(slots, Question(padded, attended)), short, atol=ROUNDING, rtol=0)
    loud = scorer(1e4 * slots, Question(tokens, attended[:, :3]))
    assert {loud.min().item(), loud.max().item()} == {-FARTHEST, FARTHEST}


def test_the_token_of_presence_has_no_place_and_no_bias(detector):
    """Its row of what is added to places and to likenesses is zero."""
    rows, columns = detector._bias(torch.rand(2, SLOTS, 4), HEIGHT, WIDTH)
    assert rows.shape == (2, HEADS, SLOTS + 1, HEIGHT)
    assert columns.shape == (2, HEADS, SLOTS + 1, WIDTH)
    assert rows[:, :, 0].count_nonzero() == columns[:, :, 0].count_nonzero() == 0
    assert isinstance(looked(detector)[0], Sighting)
