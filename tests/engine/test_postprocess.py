"""Candidates are ranked by predicted IoU; the threshold marks, and never loses an object."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from promptseg.engine import postprocess
from promptseg.engine.postprocess import choose
from promptseg.geometry import Size
from promptseg.nn.outputs import MaskLogits
from promptseg.options import SegmentOptions

SCORES = np.array([0.25, 0.75, 0.5], dtype=np.float32)


@pytest.mark.parametrize(
    ("threshold", "every", "kept", "confident"),
    [
        (0.0, False, [1], True),
        (0.75, False, [1], True),
        (0.76, False, [1], False),
        (0.0, True, [1, 2, 0], True),
        (0.5, True, [1, 2], True),
        (0.9, True, [1], False),
    ],
)
def test_the_best_is_kept_and_the_threshold_is_reached_or_not(threshold, every, kept, confident):
    """A score equal to the threshold reaches it; when none does, the best stays, marked."""
    choice = choose(SCORES, SegmentOptions(threshold=threshold, all_candidates=every))
    assert choice.kept.tolist() == kept
    assert choice.confident == confident


def test_of_equal_scores_the_first_wins():
    """The choice does not depend on the sorting algorithm."""
    scores = np.full(17, 0.5, dtype=np.float32)
    assert choose(scores, SegmentOptions(all_candidates=True)).kept.tolist() == list(range(17))


def test_presence_is_a_probability():
    """A presence logit of 0 is one half, in float32 whatever the network's dtype."""
    answers = MaskLogits(
        torch.zeros(2, 3, 5, 7, dtype=torch.bfloat16),
        torch.zeros(2, 3, dtype=torch.bfloat16),
        torch.zeros(2, dtype=torch.bfloat16),
    )
    first, second = postprocess.by_object(answers)
    assert first.presence == second.presence == 0.5
    assert first.logits.dtype == first.scores.dtype == np.float32
    assert first.logits.shape == (3, 5, 7)


def test_masks_carry_where_they_come_from():
    """Rows name the prompt and the candidate; logits are clamped only in what is handed back."""
    logits = np.full((3, 5, 7), -50, dtype=np.float32)
    logits[1] = 50
    candidates = postprocess.Candidates(logits, SCORES, np.float32(0.5))
    options = SegmentOptions(all_candidates=True, logits=True)
    masks = postprocess.to_masks(candidates, Size(11, 13), options, place=4)
    assert masks.objects.tolist() == [4, 4, 4]
    assert masks.candidates.tolist() == [1, 2, 0]
    assert masks.scores.tolist() == [0.75, 0.5, 0.25]
    assert masks.presence.tolist() == [0.5, 0.5, 0.5]
    assert masks.areas.tolist() == [143, 0, 0]
    assert [np.unique(each).tolist() for each in masks.logits] == [[32], [-32], [-32]]


def test_logits_stay_behind_unless_asked_for():
    """By default nothing low-resolution comes back."""
    candidates = postprocess.Candidates(np.zeros((3, 5, 7), np.float32), SCORES, np.float32(0.5))
    assert postprocess.to_masks(candidates, Size(11, 13), SegmentOptions(), place=0).logits is None
