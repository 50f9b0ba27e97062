"""Masks are made at image size, of what was chosen."""

from __future__ import annotations

import numpy as np

from promptseg.engine.candidates import Candidates, Choice
from promptseg.engine.postprocess import to_masks
from promptseg.geometry import Size
from promptseg.options import SegmentOptions

SCORES = np.array([0.25, 0.75, 0.5], dtype=np.float32)


def test_masks_carry_where_they_come_from():
    """Rows name the prompt and the candidate; logits are clamped only in what is handed back."""
    logits = np.full((3, 5, 7), -50, dtype=np.float32)
    logits[1] = 50
    candidates = Candidates(logits, SCORES, np.float32(0.5))
    choice = Choice(np.array([1, 2, 0]), confident=True)
    masks = to_masks(candidates, choice, Size(11, 13), SegmentOptions(logits=True), place=4)
    assert masks.objects.tolist() == [4, 4, 4]
    assert masks.candidates.tolist() == [1, 2, 0]
    assert masks.scores.tolist() == [0.75, 0.5, 0.25]
    assert masks.presence.tolist() == [0.5, 0.5, 0.5]
    assert masks.areas.tolist() == [143, 0, 0]
    assert masks.confident.tolist() == [True, True, True]
    assert [np.unique(each).tolist() for each in masks.logits] == [[32], [-32], [-32]]


def test_logits_stay_behind_unless_asked_for():
    """By default nothing low-resolution comes back."""
    candidates = Candidates(np.zeros((3, 5, 7), np.float32), SCORES, np.float32(0.5))
    choice = Choice(np.array([1]), confident=False)
    masks = to_masks(candidates, choice, Size(11, 13), SegmentOptions(), place=0)
    assert masks.logits is None
    assert masks.confident.tolist() == [False]
