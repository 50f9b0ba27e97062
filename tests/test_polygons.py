from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.draw import polygon2mask
from skimage.measure import label

from promptseg.geometry import Size
from promptseg.masks import RunLength
from promptseg.polygons import join, untangle

# Generating may be slow on a busy machine, which says nothing about what is generated.
modest = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
sides = st.integers(1, 13)
masks = st.tuples(sides, sides).flatmap(lambda shape: arrays(np.bool_, shape))


def fill(ring, shape):
    """Fill a ring by the even-odd rule: every upright edge flips all pixels to its right."""
    filled = np.zeros(shape, bool)
    for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        if x0 == x1:
            filled[min(y0, y1) : max(y0, y1), x0:] ^= True
    return filled


def doubled_area(ring):
    """Return twice the signed area: positive where the ring runs clockwise on the screen."""
    x, y = ring.T
    return int((x * np.roll(y, -1) - y * np.roll(x, -1)).sum())


def rings(polygon):
    return [polygon.exterior, *polygon.holes]


def test_one_pixel_has_four_corners():
    """The outline of a pixel goes round its edges, clockwise from the upper left."""
    mask = np.zeros((3, 5), bool)
    mask[1, 2] = True
    (polygon,) = RunLength.from_mask(mask).polygons()
    np.testing.assert_array_equal(polygon.exterior, [[2, 1], [3, 1], [3, 2], [2, 2]])
    assert polygon.holes == ()


def test_a_ring_keeps_its_hole():
    """A hole belongs to its exterior and runs the other way."""
    mask = np.ones((3, 3), bool)
    mask[1, 1] = False
    (polygon,) = RunLength.from_mask(mask).polygons()
    np.testing.assert_array_equal(polygon.exterior, [[0, 0], [3, 0], [3, 3], [0, 3]])
    np.testing.assert_array_equal(polygon.holes[0], [[1, 1], [1, 2], [2, 2], [2, 1]])


def test_pixels_that_touch_at_a_corner_are_two_regions():
    """Regions are 4-connected, so diagonal neighbours have an outline each."""
    first, second = RunLength.from_mask(np.eye(2, dtype=bool)).polygons()
    assert len(first.exterior) == len(second.exterior) == 4
    first, second = RunLength.from_mask(~np.eye(2, dtype=bool)).polygons()
    assert len(first.exterior) == len(second.exterior) == 4


def test_an_island_in_a_hole_is_a_polygon_of_its_own():
    """Nested rings: each hole goes to the region round it, not to the outermost."""
    mask = np.ones((9, 9), bool)
    mask[1:8, 1:8] = False
    mask[2:7, 2:7] = True
    mask[3:6, 3:6] = False
    mask[4, 4] = True
    polygons = RunLength.from_mask(mask).polygons()
    assert [len(polygon.holes) for polygon in polygons] == [1, 1, 0]
    assert [polygon.exterior[0].tolist() for polygon in polygons] == [[0, 0], [2, 2], [4, 4]]


def test_a_second_hole_right_of_the_first_finds_the_same_exterior():
    """A hole whose left neighbour is a hole shares its exterior."""
    mask = np.ones((5, 7), bool)
    mask[1:4, 1:3] = mask[2, 4] = False
    (polygon,) = RunLength.from_mask(mask).polygons()
    assert len(polygon.holes) == 2


def test_an_empty_mask_has_no_polygons():
    """Nothing inside, nothing to trace."""
    assert RunLength.from_mask(np.zeros((3, 5), bool)).polygons() == []


def test_polygons_lie_where_the_crop_lies():
    """Corners are in pixels of the image, not of the crop."""
    code = RunLength.from_crop(np.ones((1, 1), bool), left=7, top=11, size=Size(17, 13))
    np.testing.assert_array_equal(code.polygons()[0].exterior[0], [7, 11])


@modest
@given(masks)
def test_rasterising_gives_the_mask_back(mask):
    """Exteriors less holes fill exactly the mask, with a polygon for each 4-connected region."""
    filled = np.zeros(mask.shape, int)
    polygons = RunLength.from_mask(mask).polygons()
    for polygon in polygons:
        region = fill(polygon.exterior, mask.shape)
        for hole in polygon.holes:
            inner = fill(hole, mask.shape)
            assert (region & inner).sum() == inner.sum()
            region &= ~inner
        assert label(region, connectivity=1).max() == 1
        filled += region
    np.testing.assert_array_equal(filled, mask)
    assert len(polygons) == label(mask, connectivity=1).max()


@modest
@given(masks)
def test_exteriors_run_clockwise_and_no_corner_is_idle(mask):
    """On the screen exteriors are clockwise and holes are not; every corner turns."""
    for polygon in RunLength.from_mask(mask).polygons():
        assert doubled_area(polygon.exterior) > 0
        assert all(doubled_area(hole) < 0 for hole in polygon.holes)
        for ring in rings(polygon):
            steps = np.roll(ring, -1, axis=0) - ring
            level = steps[:, 1] == 0
            assert ((steps == 0).sum(axis=1) == 1).all()
            assert (level != np.roll(level, 1)).all()


@pytest.mark.parametrize("radius", [5, 11])
def test_another_rasteriser_agrees(radius):
    """scikit-image fills the outline of a disc to the same disc."""
    y, x = np.mgrid[:29, :31]
    disc = (y - 13) ** 2 + (x - 15) ** 2 <= radius**2
    (polygon,) = RunLength.from_mask(disc).polygons()
    np.testing.assert_array_equal(polygon2mask(disc.shape, polygon.exterior[:, ::-1] - 0.5), disc)


def test_a_ring_that_touches_itself_is_cut_apart():
    """A region that goes round a hole and meets itself at a corner has the hole as its own ring."""
    mask = np.ones((3, 3), bool)
    mask[1, 1] = mask[2, 2] = False
    (polygon,) = RunLength.from_mask(mask).polygons()
    assert polygon.holes == ()
    clean = untangle(polygon)
    assert sorted(map(tuple, clean.exterior.tolist())) == [
        (0, 0), (0, 3), (2, 2), (2, 3), (3, 0), (3, 2),
    ]  # fmt: skip
    assert sorted(map(tuple, clean.holes[0].tolist())) == [(1, 1), (1, 2), (2, 1), (2, 2)]


def test_a_seam_is_walked_there_and_back():
    """A hole is joined to the nearest corner of its exterior; nothing joins to nothing."""
    mask = np.ones((3, 5), bool)
    mask[1, 1] = False
    joined = join(RunLength.from_mask(mask).polygons())
    assert joined.tolist() == [
        [0, 0], [1, 1], [1, 2], [2, 2], [2, 1], [1, 1], [0, 0], [5, 0], [5, 3], [0, 3],
    ]  # fmt: skip
    assert join([]).shape == (0, 2)
