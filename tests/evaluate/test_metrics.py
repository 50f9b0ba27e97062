"""The numbers, worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from promptseg.errors import ConfigError
from promptseg.evaluate.metrics import Trace, clicks_to_reach, iou, summarise


def trace(domain, *clicks, box=0.5, best=None, cap=20):
    return Trace(
        id=f"{domain}-{clicks}",
        domain=domain,
        cap=cap,
        clicks=clicks,
        best_clicks=best or clicks,
        box=box,
        best_box=box,
    )


def test_overlap_by_hand():
    """Three pixels against three with two in common are 2 of 4; nothing against nothing is 1."""
    one, other = np.zeros((2, 2, 5), bool)
    one[0, :3] = other[0, 1:4] = True
    assert iou(one, other) == 0.5
    assert iou(one, ~one) == 0
    assert iou(np.zeros_like(one), np.zeros_like(one)) == 1


def test_the_first_click_that_reaches_the_level_counts():
    """A later fall does not matter, and never reaching it costs the cap."""
    assert clicks_to_reach([0.5, 0.85, 0.7], 0.8) == 2
    assert clicks_to_reach([0.8], 0.8) == 1
    assert clicks_to_reach([0.1, 0.2], 0.8) == 20
    assert clicks_to_reach([0.1, 0.2], 0.8, cap=5) == 5


def test_domains_count_the_same_however_many_masks_they_have():
    """Masks 0.2 and 0.4 in one domain and 0.9 in another: (0.3 + 0.9) / 2."""
    summary = summarise([trace("a", 0.2), trace("b", 0.9), trace("a", 0.4)])
    assert summary.domains["a"].click_1 == pytest.approx(0.3)
    assert summary.mean.click_1 == pytest.approx(0.6)
    assert summary.masks == {"a": 2, "b": 1}


def test_a_trace_that_ends_early_keeps_its_last_overlap():
    """After a perfect second click the third and the fifth are perfect too."""
    scores = summarise([trace("a", 0.5, 1.0, box=0.25)]).mean
    assert (scores.click_1, scores.click_3, scores.click_5, scores.box) == (0.5, 1.0, 1.0, 0.25)
    assert (scores.noc_80, scores.noc_85, scores.noc_90) == (2, 2, 2)


def test_the_best_candidate_is_told_apart_from_the_choice():
    """The choice counts for clicks to a level; the best stands beside it."""
    scores = summarise([trace("a", 0.5, 0.6, best=(0.9, 0.95))]).mean
    assert (scores.click_1, scores.best_click_1) == (0.5, 0.9)
    assert scores.noc_80 == 20


def test_fewer_clicks_give_no_number_of_clicks():
    """A method that was given 5 clicks cannot be said to need 20."""
    scores = summarise([trace("a", *[0.5] * 5, cap=5)]).mean
    assert scores.noc_80 is None
    assert scores.click_5 == 0.5


def test_the_mean_of_nothing_is_refused():
    """Without masks there is nothing to say."""
    with pytest.raises(ConfigError, match="no masks"):
        summarise([])
