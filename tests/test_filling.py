"""Polygons to runs: the rule, its slow twin, and other people's rasterisers."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask
from skimage.draw import polygon2mask

from promptseg import filling
from promptseg.errors import MaskError
from promptseg.filling import fill, fill_any
from promptseg.geometry import Size
from promptseg.masks import RunLength, union
from promptseg.polygons import join, untangle

modest = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
sides = st.integers(1, 13)
masks = st.tuples(sides, sides).flatmap(lambda shape: arrays(np.bool_, shape))
# Eighths make centres, corners and edges meet; the others do not.
coordinates = st.one_of(st.integers(-24, 128).map(lambda n: n / 8), st.floats(-5, 17))
rings = st.lists(st.tuples(coordinates, coordinates), min_size=1, max_size=7).map(np.array)
SIZE = Size(11, 13)


def filled(rings, size=SIZE):
    return RunLength(size, fill(rings, size))


def slowly(rings, size):
    """Ask every centre how many edges lie above it."""
    mask = np.zeros(size, bool)
    for row, column in np.ndindex(*size):
        x, y = column + 0.5, row + 0.5
        for ring in rings:
            for one, two in zip(ring, np.roll(ring, -1, axis=0), strict=True):
                (x0, y0), (x1, y1) = sorted([tuple(one), tuple(two)])
                if x0 <= x < x1:
                    mask[row, column] ^= y0 + (x - x0) * ((y1 - y0) / (x1 - x0)) <= y
    return mask


def test_a_triangle_by_hand():
    """A pixel is inside where its centre is; the centres on the slope belong to those below."""
    mask = filled([np.array([(0, 0), (3, 3), (0, 3)])], Size(3, 5)).to_mask()
    assert mask.astype(int).tolist() == [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0]]


def test_two_rings_are_even_odd():
    """A ring inside another is a hole."""
    outer = np.array([(0, 0), (5, 0), (5, 5), (0, 5)])
    assert filled([outer, outer * 0.6 + 1], Size(5, 5)).area == 25 - 9


def test_what_leaves_the_image_is_cut_off():
    """A ring round the image fills it, one beside it does nothing, no ring neither."""
    square = np.array([(-7, -7), (17, -7), (17, 17), (-7, 17)])
    assert filled([square]).area == 11 * 13
    assert filled([square + 100]).area == 0
    assert filled([]).area == 0


@settings(modest, max_examples=40)
@given(st.lists(rings, max_size=3))
def test_the_rule_is_that_of_the_slow_twin(rings):
    """Any rings, crossing, degenerate, beyond the image, fill the same centres."""
    np.testing.assert_array_equal(filled(rings).to_mask(), slowly(rings, SIZE))


@modest
@given(st.lists(st.lists(rings, max_size=3), min_size=1, max_size=3))
def test_shapes_are_put_together(shapes):
    """Each is even-odd by itself, and what is in any of them is inside."""
    together = RunLength(SIZE, fill_any(shapes, SIZE))
    assert together == union([filled(shape) for shape in shapes])


@modest
@given(masks)
def test_tracing_is_undone_exactly(mask):
    """Outlines, cut apart where they touch or joined to one by seams, fill the mask."""
    run = RunLength.from_mask(mask)
    polygons = run.polygons()
    clean = [untangle(polygon) for polygon in polygons]
    for each in (polygons, clean):
        outlines = [ring for one in each for ring in (one.exterior, *one.holes)]
        assert filled(outlines, run.size) == run
    assert filled([join(polygons)], run.size) == run


@modest
@given(masks)
def test_untangled_polygons_are_valid_for_shapely(mask):
    """Rings are simple, exteriors counterclockwise by the numbers, areas those of the mask."""
    run = RunLength.from_mask(mask)
    polygons = [untangle(polygon) for polygon in run.polygons()]
    shape = shapely.MultiPolygon([(each.exterior, each.holes) for each in polygons])
    assert shape.is_valid, shapely.is_valid_reason(shape)
    assert shape.area == run.area
    for part in shape.geoms:
        assert part.exterior.is_ccw
        assert not any(hole.is_ccw for hole in part.interiors)


@given(coordinates, coordinates)
def test_polygons_that_share_an_edge_share_no_pixel(left, right):
    """Two halves of the image cut anywhere cover each pixel once."""
    cut = [(left, 0), (right, 11)]
    one = filled([np.array([(-20, 0), *cut, (-20, 11)])])
    two = filled([np.array([(30, 0), *cut, (30, 11)])])
    assert one.area + two.area == 11 * 13
    assert one.intersection(two) == 0


def test_portions_change_nothing(monkeypatch):
    """Crossings are worked on in portions, which memory holds however complex a ring is."""
    random = np.random.default_rng(3)
    ring = random.uniform(-3, 17, (31, 2))
    whole = filled([ring])
    monkeypatch.setattr(filling, "AT_ONCE", 7)
    assert filled([ring]) == whole


@pytest.mark.parametrize("seed", range(5))
def test_other_rasterisers_agree_but_at_the_edge(seed):
    """pycocotools and scikit-image differ from us, if at all, in pixels that the outline passes."""
    random = np.random.default_rng(seed)
    angles = np.sort(random.uniform(0, 2 * np.pi, 17))
    spokes = random.uniform(7, 23, 17)
    ring = np.stack([29 + spokes * np.cos(angles), 23 + spokes * np.sin(angles)], axis=1)
    size = Size(47, 59)
    ours = filled([ring], size).to_mask()
    codes = coco_mask.frPyObjects([ring.ravel().tolist()], *size)
    theirs = coco_mask.decode(coco_mask.merge(codes)).astype(bool)
    skimage = polygon2mask(size, ring[:, ::-1] - 0.5)
    outline = shapely.LinearRing(ring)
    for other in (theirs, skimage):
        for row, column in np.argwhere(ours != other):
            assert outline.distance(shapely.Point(column + 0.5, row + 0.5)) <= 1
    assert abs(ours.sum() - shapely.Polygon(ring).area) <= outline.length / 2


@pytest.mark.parametrize(
    ("ring", "words"),
    [
        ([(0, 0), (np.nan, 1), (1, 1)], "got (nan, 1)"),
        ([(0, 0), (1e300, 1), (1, 1)], "within 1e+09 pixels, got (1e+300, 1)"),
        ([0, 1, 2], "shape (3,)"),
    ],
)
def test_corners_that_are_nowhere_are_refused(ring, words):
    """NaN, distances beyond sense, and lists that are no pairs."""
    with pytest.raises(MaskError) as caught:
        filled([np.array(ring)])
    assert words in str(caught.value)
