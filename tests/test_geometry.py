from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from promptseg.errors import PromptError
from promptseg.geometry import Box, PixelBox, Placement, Size

# Generating may be slow on a busy machine, which says nothing about what is generated.
modest = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def test_a_size_is_height_then_width_and_says_which_is_which():
    """A size unpacks as (height, width) and prints both with their names."""
    assert tuple(Size(3, 5)) == (3, 5)
    assert str(Size(3, 5)) == "5 x 3 (width x height)"


def test_a_pixel_box_knows_its_size():
    """A half-open box spans x1 - x0 columns and y1 - y0 rows."""
    assert PixelBox(2, 3, 7, 5).size == Size(height=2, width=5)


def test_a_box_keeps_its_corners_as_floats():
    """Whole numbers become floats, in the order given."""
    box = Box.from_sequence([2, 3, 7, 13])
    assert box == Box(2.0, 3.0, 7.0, 13.0)
    np.testing.assert_array_equal(box.as_array(), [2, 3, 7, 13])


@pytest.mark.parametrize(
    ("corners", "part"),
    [
        ((7, 3, 2, 13), "a box needs x0 < x1 and y0 < y1, got (7, 3, 2, 13)"),
        ((2, 13, 7, 3), "a box needs x0 < x1 and y0 < y1, got (2, 13, 7, 3)"),
        ((2, 3, 2, 13), "a box needs x0 < x1 and y0 < y1, got (2, 3, 2, 13)"),
        ((2, math.nan, 7, 13), "a box needs finite numbers, got y0 = nan"),
        ((2, 3, math.inf, 13), "a box needs finite numbers, got x1 = inf"),
        ((2, 3, 7), "a box needs 4 numbers, got 3"),
        ((2, 3, 7, 13, 17), "a box needs 4 numbers, got 5"),
        ((2, 3, "wide", 13), "a box needs numbers, got x1 = 'wide'"),
        ((2, 3, None, 13), "a box needs numbers, got x1 = None"),
    ],
)
def test_a_box_without_an_inside_is_refused(corners, part):
    """A malformed box is refused with what we got, and with the order of its numbers."""
    with pytest.raises(PromptError) as caught:
        Box.from_sequence(corners)
    assert str(caught.value) == part
    assert caught.value.hint == "Boxes are (x0, y0, x1, y1) in pixels of the image you passed"


def test_a_box_may_stick_out_and_is_then_clipped():
    """A box that overlaps the image in part is cut to the image."""
    assert Box(-2, -3, 7, 13).clip(Size(11, 5)) == Box(0, 0, 5, 11)


@pytest.mark.parametrize("corners", [(5, 0, 7, 2), (-3, 0, 0, 2), (0, 11, 2, 13), (0, -2, 2, 0)])
def test_a_box_outside_the_image_is_refused(corners):
    """A box that shares no pixel with the image is refused with both sizes in the sentence."""
    with pytest.raises(PromptError, match="lies outside the image, which is 5 x 11") as caught:
        Box(*corners).require_overlap(Size(11, 5))
    assert str(Box(*corners)) in str(caught.value)
    assert caught.value.hint


def test_a_placement_squashes_each_axis_by_its_own_factor():
    """In a square of 10, an image of 5 wide and 20 high is stretched twice and halved."""
    placement = Placement(Size(height=20, width=5), side=10)
    np.testing.assert_array_equal(placement.points_to_model(np.array([[1.0, 4.0]])), [[2, 2]])
    np.testing.assert_array_equal(
        placement.boxes_to_model(np.array([[1.0, 4.0, 5.0, 20.0]])), [[2, 2, 10, 10]]
    )


@modest
@given(
    st.integers(1, 4001),
    st.integers(1, 4001),
    st.integers(1, 1031),
    st.lists(st.tuples(*[st.floats(-9999, 9999)] * 4), max_size=5),
)
def test_there_and_back_is_the_same_place(height, width, side, rows):
    """Points and boxes moved to the model and back are where they were."""
    placement = Placement(Size(height, width), side)
    boxes = np.array(rows, dtype=np.float64).reshape(-1, 4)
    points = boxes[:, :2]
    np.testing.assert_allclose(
        placement.boxes_to_image(placement.boxes_to_model(boxes)), boxes, atol=1e-9
    )
    np.testing.assert_allclose(
        placement.points_to_image(placement.points_to_model(points)), points, atol=1e-9
    )
