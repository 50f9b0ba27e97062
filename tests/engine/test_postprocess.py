"""Masks are made at image size, of what was chosen."""

from __future__ import annotations

import numpy as np

from promptseg.engine.candidates import Candidates, Choice
from promptseg.engine.postprocess import to_masks
from promptseg.geometry import Size
from promptseg.options import SegmentOptions, TidyOptions
from promptseg.prompts import Points, Prompt
from promptseg.requests import SegmentRequest

SCORES = np.array([0.25, 0.75, 0.5], dtype=np.float32)


def test_masks_carry_where_they_come_from():
    """Rows name the prompt and the candidate; logits are clamped only in what is handed back."""
    logits = np.full((3, 5, 7), -50, dtype=np.float32)
    logits[1] = 50
    candidates = Candidates(logits, SCORES, np.float32(0.5))
    choice = Choice(np.array([1, 2, 0]), confident=True)
    options = SegmentOptions(logits=True)
    masks = to_masks(candidates, choice, Size(11, 13), options, place=4, offset=1.0)
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
    masks = to_masks(candidates, choice, Size(11, 13), SegmentOptions(), place=0, offset=1.0)
    assert masks.logits is None
    assert masks.confident.tolist() == [False]


def test_stability_is_that_of_the_logits():
    """Of five cells above -1, three are above 1, and none is above 2."""
    logits = np.full((3, 5, 7), -50, dtype=np.float32)
    logits[0, 0, :3], logits[0, 1, :2] = 1.5, 0.5
    candidates = Candidates(logits, SCORES, np.float32(0.5))
    choice = Choice(np.array([0, 1]), confident=True)
    masks = to_masks(candidates, choice, Size(11, 13), SegmentOptions(), place=0, offset=1.0)
    np.testing.assert_allclose(masks.stability, [0.6, 1.0])
    masks = to_masks(candidates, choice, Size(11, 13), SegmentOptions(), place=0, offset=2.0)
    assert masks.stability.tolist() == [0.0, 1.0]


def test_the_masks_of_a_request_are_tidied_together(segmenter, white):
    """The same point asked twice is one object too many; the other request keeps both."""
    points = [Points([(7, 14)]), Points([(7, 14)])]
    tidied = SegmentOptions(tidy=TidyOptions(max_iou=0.5))
    one, both = segmenter.segment(
        [SegmentRequest.of(white, points, tidied), SegmentRequest.of(white, points)]
    )
    assert one.objects.tolist() == [0]
    assert both.objects.tolist() == [0, 1]
    again = segmenter.answer(
        segmenter.encoder.encode([white])[0], [Prompt(points=each) for each in points], tidied
    )
    assert again.runs == one.runs


def test_nothing_may_be_left_of_an_answer(segmenter, white):
    """Below a least score there is no mask, unless the best is to be kept."""
    point = Points([(7, 14)])
    poor = SegmentOptions(tidy=TidyOptions(min_score=0.9))
    kept = SegmentOptions(tidy=TidyOptions(min_score=0.9, keep_best=True))
    nothing, best = segmenter.segment(
        [SegmentRequest.of(white, point, poor), SegmentRequest.of(white, point, kept)]
    )
    assert len(nothing) == 0
    assert best.scores.tolist() == [0.75]
    assert best.confident.tolist() == [False]
