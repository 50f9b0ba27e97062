"""J and F as DAVIS has them: worked by hand, and against a slow twin."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from clips import clip
from promptseg.errors import ConfigError, MaskError
from promptseg.evaluate.video import (
    TrackScores,
    boundary_score,
    mean_scores,
    outline,
    score_track,
)


def slow_outline(mask):
    """Pixel by pixel: whether one to the right, below or both is there and differs."""
    height, width = mask.shape
    found = set()
    for y in range(height):
        for x in range(width):
            right, below = min(x + 1, width - 1), min(y + 1, height - 1)
            others = mask[y, right], mask[below, x], mask[below, right]
            if any(other != mask[y, x] for other in others):
                found.add((y, x))
    return found


def slow_boundary_score(mask, truth, tolerance):
    """Each pixel of one outline against each of the other."""
    reach = math.ceil(tolerance * math.sqrt(mask.shape[0] ** 2 + mask.shape[1] ** 2))
    found, true = slow_outline(mask), slow_outline(truth)
    if not found and not true:
        return 1.0
    if not found or not true:
        return 0.0

    def share(ones, others):
        near = [any(math.dist(one, other) <= reach for other in others) for one in ones]
        return sum(near) / len(near)

    precision, recall = share(found, true), share(true, found)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@given(arrays(np.bool_, (2, 7, 11)), st.sampled_from([0.008, 0.1, 0.2]))
def test_outlines_agree_with_the_slow_twin(both, tolerance):
    """On any two masks."""
    mask, truth = both
    assert set(map(tuple, np.argwhere(outline(mask)).tolist())) == slow_outline(mask)
    expected = slow_boundary_score(mask, truth, tolerance)
    assert boundary_score(mask, truth, tolerance=tolerance) == pytest.approx(expected)


def test_things_in_a_clip_agree_with_the_slow_twin():
    """One thing against itself two frames later, at DAVIS's own tolerance."""
    masks = clip(2, length=3).masks[:, 1]
    expected = slow_boundary_score(masks[0], masks[2], 0.008)
    assert 0 < expected < 1
    assert boundary_score(masks[0], masks[2]) == pytest.approx(expected)


def test_a_shift_within_the_tolerance_costs_nothing():
    """On 300 x 400 it is 4 pixels; at 5 the two upright sides are missed, less their ends."""
    truth = np.zeros((300, 400), np.bool_)
    truth[100:200, 100:200] = True
    assert boundary_score(np.roll(truth, 4, axis=1), truth) == 1
    # Each outline has 400 pixels, and of each upright side of 101 those within 4 of the lines
    # that go across stay in reach.
    missed = boundary_score(np.roll(truth, 5, axis=1), truth)
    assert missed == pytest.approx(slow_boundary_score(np.roll(truth, 5, axis=1), truth, 0.008))
    assert 0.5 < missed < 0.6


def test_masks_without_an_outline():
    """Empty against empty is right, empty against something is wrong."""
    empty, some = np.zeros((2, 5, 7), np.bool_)
    some[2, 3] = True
    assert boundary_score(empty, empty) == 1
    assert boundary_score(some, empty) == boundary_score(empty, some) == 0


def test_the_first_and_the_last_frame_do_not_count():
    """Of four frames two do: one right, one half right."""
    truth = np.zeros((4, 20, 30), np.bool_)
    truth[:, 5:15, 5:25] = True
    masks = np.zeros_like(truth)
    masks[1] = truth[1]
    masks[2, 5:15, 5:15] = True
    scores = score_track(list(masks), list(truth))
    assert scores.j == pytest.approx((1 + 0.5) / 2)
    assert scores.f == pytest.approx((1 + boundary_score(masks[2], truth[2])) / 2)
    assert scores.j_and_f == pytest.approx((scores.j + scores.f) / 2)


def test_an_object_that_is_gone_is_rightly_not_found():
    """Where it is not seen, an empty mask is right and any other wrong."""
    truth = [np.zeros((5, 7), np.bool_)] * 3
    assert score_track(truth, truth) == TrackScores(1, 1)
    ghost = np.zeros((5, 7), np.bool_)
    ghost[2, 3] = True
    assert score_track([ghost] * 3, truth) == TrackScores(0, 0)


def test_objects_count_the_same():
    """The mean is over objects, however long their videos are."""
    mean = mean_scores({"dog_1": TrackScores(0.2, 0.4), "cat_1": TrackScores(0.6, 1.0)})
    assert (mean.j, mean.f) == pytest.approx((0.4, 0.7))
    assert mean.j_and_f == pytest.approx(0.55)


def test_what_cannot_be_scored_is_refused():
    """With a sentence each."""
    mask = np.zeros((5, 7), np.bool_)
    with pytest.raises(MaskError, match="3 frames, but 2 masks"):
        score_track([mask] * 2, [mask] * 3)
    with pytest.raises(ConfigError, match="3 are needed, got 2"):
        score_track([mask] * 2, [mask] * 2)
    with pytest.raises(MaskError, match="a mask is"):
        boundary_score(mask, mask.T)
    with pytest.raises(ConfigError, match="no objects"):
        mean_scores({})
