"""Clients of the tutorial get what its service would have answered, had it worked."""

from __future__ import annotations

import numpy as np
import pytest
from adapter_service import error_of, png, recorded, red, serving, unpacked

import promptseg as ps
from fake_finder import FakeBoth

ADDRESS = "/segment"


@pytest.fixture(scope="module")
def client():
    with serving(FakeBoth(), max_points=5, max_objects=4) as client:
        yield client


def ask(client, name, **changed):
    """Send a recorded request about a red image."""
    return client.post(ADDRESS, json=recorded(name, image_base64=png(red())) | changed)


def masks_of(answer):
    """Return the masks of an answer, which are black and white."""
    pixels = [unpacked(text) for text in answer.json()["masks_base64"]]
    assert all(each.dtype == np.uint8 and set(np.unique(each)) <= {0, 255} for each in pixels)
    return [each > 127 for each in pixels]


def test_a_point_gives_its_candidates(client):
    """Two of the three candidates reach the threshold, and come best first."""
    answer = ask(client, "tutorial_point")

    options = ps.SegmentOptions(threshold=0.5, all_candidates=True)
    expected = client.service.model.segment(red(), ps.Points([(4, 4)]), options=options)
    assert answer.json()["scores"] == [0.75, 0.5]
    assert answer.json()["num_masks"] == 2
    assert answer.json()["inference_time_ms"] > 0
    assert np.array_equal(masks_of(answer), expected.to_numpy())


def test_boxes_give_a_mask_each(client):
    """Every box is of an object of its own."""
    answer = ask(client, "tutorial_box")

    expected = client.service.model.segment(red(), [ps.Box(2, 4, 10, 8), ps.Box(0, 0, 4, 4)])
    assert answer.json()["scores"] == [0.75, 0.75]
    assert np.array_equal(masks_of(answer), expected.to_numpy())


def test_boxes_below_the_threshold_come_all_the_same(client):
    """Where no box reaches the threshold, the best of each comes back."""
    assert ask(client, "tutorial_box", confidence_threshold=0.9).json()["num_masks"] == 2


def test_no_more_than_documented_comes_back(client):
    """The answer has the four names that the tutorial's clients read."""
    assert set(ask(client, "tutorial_point").json()) == {
        "masks_base64",
        "scores",
        "num_masks",
        "inference_time_ms",
    }


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"prompt_type": "text"}, "prompt_type"),
        ({"points": None}, "points"),
        ({"points": []}, "points"),
        ({"points": [[1, 2, 3]]}, "points.0"),
        ({"points": [[1, 1]] * 6}, "points"),
        ({"labels": [1, 0]}, "labels"),
        ({"labels": [2]}, "labels.0"),
        ({"prompt_type": "box"}, "boxes"),
        ({"prompt_type": "box", "boxes": [[0, 0, 1, 1]] * 5}, "boxes"),
        ({"confidence_threshold": 1.5}, "confidence_threshold"),
        ({"image_base64": "%%%%"}, "image_base64"),
        ({"label": [1]}, "label"),
    ],
)
def test_a_bad_prompt_is_refused_by_its_field(client, changed, field):
    """Every refusal is a 422 which says which field is to blame, and what to do."""
    error = error_of(ask(client, "tutorial_point", **changed), 422)

    assert error["field"] == field
    assert error["hint"]
