"""Where `everything` looks."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from promptseg.engine import grid
from promptseg.geometry import PixelBox, Size
from promptseg.options import EverythingOptions


def test_crops_are_those_of_the_reference():
    """One layer of a photo of 2250 x 1500, as segment-anything cuts it."""
    [[whole], layer] = grid.crops(Size(1500, 2250), layers=1, overlap=512 / 1500)
    assert whole == (0, 0, 2250, 1500)
    assert layer == [
        (0, 0, 1381, 1006),
        (0, 494, 1381, 1500),
        (869, 0, 2250, 1006),
        (869, 494, 2250, 1500),
    ]


@given(
    height=st.integers(1, 97),
    width=st.integers(1, 97),
    layers=st.integers(0, 3),
    overlap=st.floats(0, 1),
)
def test_crops_have_pixels_and_cover_the_image(height, width, layers, overlap):
    """Of any size and overlap no crop is empty; large ones that overlap by half have no gaps."""
    size = Size(height, width)
    for layer in grid.crops(size, layers=layers, overlap=overlap):
        seen = np.zeros(size, dtype=bool)
        for x0, y0, x1, y1 in layer:
            assert 0 <= x0 < x1 <= width
            assert 0 <= y0 < y1 <= height
            seen[y0:y1, x0:x1] = True
        assert seen.all() or overlap > 0.5 or min(size) < 32


def test_an_image_of_one_pixel_is_not_cut():
    """Its crops would be itself or nothing."""
    assert grid.crops(Size(1, 1), layers=2, overlap=0.3) == [[(0, 0, 1, 1)], [], []]


def test_points_lie_in_the_middles_of_cells():
    """Two points a side, row by row, in pixels of the crop."""
    [points] = grid.grids(EverythingOptions(points_per_side=2))
    assert points.tolist() == [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]
    placed = grid.in_pixels(points, PixelBox(100, 50, 140, 58))
    assert placed.tolist() == [[10, 2], [30, 2], [10, 6], [30, 6]]


def test_layers_have_fewer_points():
    """Each layer divides the points along a side, and one is always left."""
    options = EverythingOptions(points_per_side=5, crop_layers=3, crop_points_downscale=2)
    assert [len(points) for points in grid.grids(options)] == [25, 4, 1, 1]


def test_a_pixel_is_asked_once():
    """On an image of three pixels a grid of many points asks each of them once."""
    [points] = grid.grids(EverythingOptions(points_per_side=16))
    placed = grid.in_pixels(points, PixelBox(0, 0, 3, 1))
    assert sorted(np.floor(placed).tolist()) == [[0, 0], [1, 0], [2, 0]]
