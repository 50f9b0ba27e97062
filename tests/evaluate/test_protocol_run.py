"""The protocol, followed on masks that a script answers with."""

from __future__ import annotations

import numpy as np
import pytest

from promptseg.errors import ConfigError
from promptseg.evaluate import datasets
from promptseg.evaluate.clicks import Click
from promptseg.evaluate.run import evaluate
from promptseg.geometry import Box


def test_a_sequence_by_hand(data_folder, blob, scripted):
    """Half at first, too much at the second click, right at the third; the clicks follow suit."""
    truth, half, double = blob(4, 5, 15, 16), blob(4, 5, 15, 10), blob(4, 5, 26, 16)
    dataset = datasets.load(data_folder(("a/0", "a.png", "cups", truth)))
    predictor = scripted([half, double, truth], box=double)
    result = evaluate(predictor, dataset)
    [trace] = result.traces
    assert trace.clicks == (5 / 11, 0.5, 1.0)
    assert trace.best_clicks == trace.clicks
    assert (trace.box, trace.best_box) == (0.5, 0.5)
    *clicks, box = predictor.asked
    # Middle of the square, then of the missing 11 x 6 and of the surplus 11 x 11 pixels.
    assert clicks[-1].clicks == (Click(9, 10, 1), Click(6, 12, 1), Click(20, 10, 0))
    assert [question.memory for question in clicks] == [None, 1, 2]
    assert box.box == Box(4, 5, 15, 16)
    assert result.summary.mean.click_5 == 1.0
    assert result.summary.mean.noc_90 == 3


def test_a_predictor_that_never_learns_gets_all_its_clicks(data_folder, blob, scripted):
    """Twenty clicks, or as many as it takes, when nothing gets better."""
    truth = blob(4, 5, 15, 16)
    dataset = datasets.load(data_folder(("a/0", "a.png", "cups", truth)))
    for cap in (5, 20):
        predictor = scripted([np.zeros_like(truth)], box=truth, cap=cap)
        [trace] = evaluate(predictor, dataset).traces
        assert trace.clicks == (0.0,) * cap
        assert trace.box == 1.0


def test_clicks_stop_when_nothing_reported_can_change(data_folder, blob, scripted):
    """At 90 % after five clicks every number is known."""
    truth = blob(0, 0, 20, 20)
    good = truth.copy()
    good[0, :10] = False
    dataset = datasets.load(data_folder(("a/0", "a.png", "cups", truth)))
    [trace] = evaluate(scripted([good], box=truth), dataset).traces
    assert len(trace.clicks) == 5


def test_the_objects_of_an_image_are_asked_together(data_folder, blob, scripted):
    """One question list for each click, and boxes at the end, in the order of the masks."""
    first, second = blob(1, 2, 8, 9), blob(20, 20, 27, 27)
    dataset = datasets.load(
        data_folder(("a/0", "a.png", "cups", first), ("a/1", "a.png", "cats", second))
    )
    seen = []
    result = evaluate(
        scripted([first], box=first), dataset, watch=lambda photos: seen.append(1) or photos
    )
    assert [trace.id for trace in result.traces] == ["a/0", "a/1"]
    assert result.traces[0].clicks == (1.0,)
    assert len(result.traces[1].clicks) == 20
    assert result.timing.images == 1
    assert result.timing.answers == 1 + 20 + 2
    assert seen == [1]


def test_fewer_than_five_clicks_are_refused(data_folder, blob, scripted):
    """The protocol reports five clicks, so a predictor must take five."""
    truth = blob(1, 2, 8, 9)
    dataset = datasets.load(data_folder(("a/0", "a.png", "cups", truth)))
    with pytest.raises(ConfigError, match="takes 3"):
        evaluate(scripted([truth], box=truth, cap=3), dataset)
