"""Candidates are ranked, and the threshold marks and never loses an object."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from promptseg.engine.candidates import (
    STABLE,
    Candidates,
    by_object,
    choose,
    rank,
    single,
    stability,
)
from promptseg.nn.outputs import MaskLogits
from promptseg.options import SegmentOptions
from promptseg.prompts import Box, MaskHint, Points, Prompt

SHARP = np.array([[1.0, 2.0], [-1.0, -2.0]], dtype=np.float32)
WAVERING = np.array([[1.0, 0.01], [-1.0, -2.0]], dtype=np.float32)
POINT = Prompt(points=Points([(1, 1)]))
BOX = Prompt(box=Box(0, 0, 2, 2))


def candidates(scores, first=SHARP):
    logits = np.stack([first, *[SHARP] * (len(scores) - 1)])
    return Candidates(logits, np.array(scores, np.float32), np.float32(0.5))


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
    options = SegmentOptions(threshold=threshold, all_candidates=every)
    choice = choose(candidates([0.25, 0.75, 0.5]), POINT, options, sure=None)
    assert choice.kept.tolist() == kept
    assert choice.confident == confident


def test_of_equal_scores_the_first_wins():
    """The choice does not depend on the sorting algorithm."""
    assert rank(candidates([0.5] * 17), POINT, sure=None).tolist() == list(range(17))


@pytest.mark.parametrize(
    ("prompt", "first", "expected"),
    [
        (POINT, SHARP, [2, 1, 3, 0]),
        (BOX, SHARP, [0, 2, 1, 3]),
        (BOX, WAVERING, [2, 1, 3, 0]),
        (Prompt(points=Points([(1, 1), (0, 0)])), SHARP, [0, 2, 1, 3]),
        (Prompt(points=Points([(1, 1)]), box=Box(0, 0, 2, 2)), SHARP, [0, 2, 1, 3]),
        (Prompt(points=Points([(1, 1)]), hint=MaskHint(SHARP)), SHARP, [0, 2, 1, 3]),
        (Prompt(hint=MaskHint(SHARP)), SHARP, [0, 2, 1, 3]),
    ],
)
def test_the_sure_candidate_answers_what_leaves_no_doubt(prompt, first, expected):
    """Its score plays no part; a single point, or an outline that wavers, leaves doubt."""
    answer = candidates([0.9, 0.5, 0.6, 0.1], first)
    assert rank(answer, prompt, sure=0).tolist() == expected


def test_the_threshold_goes_by_the_chosen_candidates_own_score():
    """The sure candidate is chosen, below the threshold though another is above it."""
    answer = candidates([0.2, 0.9, 0.1, 0.1])
    choice = choose(answer, BOX, SegmentOptions(threshold=0.5), sure=0)
    assert choice.kept.tolist() == [0]
    assert not choice.confident


def test_where_one_is_wanted_it_is_the_sure_one_while_its_outline_is_sharp():
    """At the bound itself it is still sharp; below, the best of the others answers."""
    scores = np.array([0.9, 0.5, 0.6, 0.6], np.float32)
    cells = np.ones((7, 14), np.float32)
    cells.flat[:2] = 0.01  # 96 of 98 cells are left, which is less than 0.98
    others = np.ones((3, 7, 14), np.float32)
    assert stability(cells) < STABLE
    assert single(np.stack([cells, *others]), scores, sure=0) == 2
    cells.flat[0] = 1
    assert single(np.stack([cells, *others]), scores, sure=0) == 0
    hundred = np.ones((10, 10), np.float32)
    hundred.flat[:2] = 0.01
    assert stability(hundred) == STABLE
    assert single(np.stack([hundred] * 4), scores, sure=0) == 0
    assert single(np.stack([WAVERING] * 4), scores[::-1], sure=3) == 0


def test_stability_is_what_a_stricter_threshold_leaves():
    """Of two cells above -0.05 one is above 0.05; an empty mask is stable."""
    assert stability(WAVERING) == 0.5
    assert stability(SHARP) == stability(-np.abs(SHARP)) == 1.0


def test_presence_is_a_probability():
    """A presence logit of 0 is one half, in float32 whatever the network's dtype."""
    answers = MaskLogits(
        torch.zeros(2, 3, 5, 7, dtype=torch.bfloat16),
        torch.zeros(2, 3, dtype=torch.bfloat16),
        torch.zeros(2, dtype=torch.bfloat16),
    )
    first, second = by_object(answers)
    assert first.presence == second.presence == 0.5
    assert first.logits.dtype == first.scores.dtype == np.float32
    assert first.logits.shape == (3, 5, 7)
