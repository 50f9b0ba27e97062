"""Regions of masks on their runs, against scikit-image on pixels and against votes by hand."""

from __future__ import annotations

from inspect import signature

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.measure import label
from skimage.morphology import remove_small_holes, remove_small_objects

from promptseg import options, regions
from promptseg.errors import ConfigError
from promptseg.geometry import Size
from promptseg.masks import RunLength
from promptseg.regions import components, drop_specks, fill_holes, smooth

modest = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
sides = st.integers(1, 17)
masks = st.tuples(sides, sides).flatmap(lambda shape: arrays(np.bool_, shape))
connectivities = st.sampled_from([4, 8])
# scikit-image counts steps along axes: 1 is across an edge, 2 across a corner too.
STEPS = {4: 1, 8: 2}


def at_most(act, most, older):
    """Say how many pixels at most as this scikit-image wants it: before 0.26, as fewer than."""
    return {"max_size": most} if "max_size" in signature(act).parameters else {older: most + 1}


def drawn(*rows):
    """Make a mask of rows of text, `#` inside."""
    return np.array([[letter == "#" for letter in row] for row in rows])


def of(mask):
    return RunLength.from_mask(mask)


def majority(mask, reach):
    """Look at every pixel's window: the obvious twin of the vote."""
    framed = np.pad(mask, reach, mode="edge")
    side = 2 * reach + 1
    windows = np.lib.stride_tricks.sliding_window_view(framed, (side, side))
    return windows.sum(axis=(2, 3)) > side * side / 2


@modest
@given(masks, st.integers(0, 23), connectivities)
def test_holes_are_filled_as_scikit_image_fills_them(mask, most, connectivity):
    """The same pixels, for either connectivity of the outside; an empty mask has no holes."""
    size = at_most(remove_small_holes, most, "area_threshold")
    expected = remove_small_holes(mask, connectivity=STEPS[connectivity], **size)
    filled = fill_holes(of(mask), most, connectivity=connectivity)
    np.testing.assert_array_equal(filled.to_mask(), expected & mask.any())


@modest
@given(masks, st.integers(0, 23), connectivities)
def test_specks_are_dropped_as_scikit_image_drops_them(mask, most, connectivity):
    """The same pixels, but that the largest region stays where scikit-image leaves none."""
    size = at_most(remove_small_objects, most, "min_size")
    expected = remove_small_objects(mask, connectivity=STEPS[connectivity], **size)
    dropped = drop_specks(of(mask), most, connectivity=connectivity)
    if expected.any() or not mask.any():
        np.testing.assert_array_equal(dropped.to_mask(), expected)
    else:
        areas = [each.area for each in components(of(mask), connectivity=connectivity)]
        assert dropped == components(of(mask), connectivity=connectivity)[np.argmax(areas)]


@modest
@given(masks, connectivities)
def test_components_are_scikit_images(mask, connectivity):
    """Every region is one of scikit-image's labels; they come column by column."""
    labels = label(mask.T, connectivity=STEPS[connectivity]).T
    found = components(of(mask), connectivity=connectivity)
    assert len(found) == labels.max()
    for number, each in enumerate(found, start=1):
        np.testing.assert_array_equal(each.to_mask(), labels == number)


def test_regions_that_wind_are_one():
    """A spiral and a comb, whose parts meet late, are found whole."""
    spiral = np.zeros((31, 31), bool)
    for turn in range(0, 15, 2):
        ring = np.zeros_like(spiral)
        ring[turn : 31 - turn, turn : 31 - turn] = True
        ring[turn + 1 : 30 - turn, turn + 1 : 30 - turn] = False
        spiral |= ring
        spiral[turn + 1, turn] = False
        spiral[turn + 2, turn + 1 : turn + 3] = turn < 13
    comb = np.zeros((29, 31), bool)
    comb[:, ::2] = comb[-1] = True
    for mask in (spiral, comb, comb[:, ::-1], comb[::-1]):
        for connectivity in (4, 8):
            expected = label(mask, connectivity=STEPS[connectivity]).max()
            assert len(components(of(mask), connectivity=connectivity)) == expected


def test_the_default_wall_is_closed_by_corners():
    """A ring of 8-connected pixels holds a hole: its outside is 4-connected; 8 let it leak."""
    ring = of(np.pad(drawn("..#..", ".#.#.", "#...#", ".#.#.", "..#.."), 1))
    assert fill_holes(ring, 5).area == 13
    assert fill_holes(ring, 4) == ring
    assert fill_holes(ring, 40, connectivity=8) == ring


def test_a_corner_that_the_image_closes_is_a_hole():
    """One pixel of outside, cut off by the mask and the edge of the image, is filled."""
    assert fill_holes(of(drawn(".#...", "#....", ".....")), 1).area == 3


def test_the_largest_region_stays():
    """However small: two pixels beside one; of equals the first column by column."""
    assert drop_specks(of(drawn("#....", "....#", "....#")), 100).to_mask()[:, 4].sum() == 2
    assert drop_specks(of(drawn("..#..", ".....", "#...#")), 100).box == (0, 2, 1, 3)


def test_an_empty_mask_stays_empty():
    """There is nothing to fill, to drop or to smooth, and a full one stays full."""
    for mask in (of(np.zeros((3, 5), bool)), of(np.ones((3, 5), bool))):
        for act in (fill_holes, drop_specks, smooth):
            assert act(mask, 2) == mask
    assert components(of(np.zeros((3, 5), bool))) == []


@modest
@given(masks, st.integers(1, 4))
def test_smoothing_is_a_vote(mask, reach):
    """Where the vote moves no large piece and loses no region, each pixel is as it says."""
    voted = majority(mask, reach)
    window = (2 * reach + 1) ** 2
    pieces = [label(part, connectivity=2) for part in (mask & ~voted, voted & ~mask)]
    sizes = np.concatenate([np.bincount(piece.ravel())[1:] for piece in pieces])
    each = label(mask, connectivity=2)
    lost = set(np.unique(each[mask])) - set(np.unique(each[mask & voted]))
    smoothed = smooth(of(mask), reach).to_mask()
    if (sizes <= window).all() and not lost:
        np.testing.assert_array_equal(smoothed, voted)
    for number in lost:
        assert smoothed[each == number].all()


def test_bands_are_seamless(monkeypatch):
    """Some columns at a time, the answer is that of all at once."""
    mask = of(np.random.default_rng(0).random((37, 53)) < 0.55)
    whole = smooth(mask, 2)
    monkeypatch.setattr(regions, "BAND_PIXELS", 37 * 5)
    assert smooth(mask, 2) == whole


@pytest.mark.parametrize("reach", [1, 3, 8])
def test_straight_edges_stay(reach):
    """Upright and level ones from edge to edge of the image, slanted ones within it."""
    y, x = np.mgrid[:41, :43]
    for mask in (x < 20, y < 17):
        np.testing.assert_array_equal(smooth(of(mask), reach).to_mask(), mask)
    inner = slice(reach, -reach)
    for mask in (x + y < 40, x < y):
        smoothed = smooth(of(mask), reach).to_mask()
        np.testing.assert_array_equal(smoothed[inner, inner], mask[inner, inner])


def test_stairs_go():
    """A slope in steps of eight pixels comes close to the slope itself, and keeps its area."""
    y, x = np.mgrid[:97, :101]
    middle = slice(16, -16)
    # Stairs lie half a step beside the slope.
    slope, stairs = (y + 4 < x)[middle, middle], y // 8 < x // 8
    rough, smoothed = stairs[middle, middle], smooth(of(stairs), 8).to_mask()[middle, middle]
    assert (smoothed ^ slope).sum() < 0.3 * (rough ^ slope).sum()
    assert smoothed.sum() == pytest.approx(rough.sum(), rel=0.02)


def test_spurs_and_notches_go():
    """A bump and a dent of two pixels go, and the block stays but for its corners."""
    block = np.zeros((43, 47), bool)
    block[10:33, 10:37] = True
    rough = block.copy()
    rough[20:22, 37:39], rough[20:22, 10:12] = True, False
    smoothed = smooth(of(rough), 4).to_mask()
    assert smoothed[15:28, 10:37].all()
    assert not smoothed[15:28, 37:].any()
    assert smoothed.sum() == pytest.approx(block.sum(), rel=0.06)


def test_nothing_thin_is_lost():
    """A tail, a gap between fingers, and a region of two pixels stay as they are."""
    mask = np.zeros((43, 97), bool)
    mask[5:38, 5:40] = True
    mask[20, 40:90] = True
    mask[5:33, 20] = False
    mask[2:4, 93] = True
    smoothed = smooth(of(mask), 2).to_mask()
    assert smoothed[20, 42:90].all()
    assert not smoothed[8:28, 20].any()
    assert smoothed[2:4, 93].all()


def test_cost_is_that_of_runs():
    """A square in the middle of an image of 4 * 10^16 pixels is worked on at once."""
    size = Size(200_000_000, 200_000_000)
    square = of(drawn("###.#", "#.#..", "###.."))
    mask = RunLength.from_crop(square.to_mask(), left=10**6, top=10**6, size=size)
    assert drop_specks(mask, 1).area == 8
    assert smooth(drop_specks(mask, 1), 1).area > 0
    assert mask.area == 9


@pytest.mark.parametrize("value", [-1, 1.5, True, "3", None])
def test_pixels_are_counted_in_whole_numbers(value):
    """Anything else is refused by name."""
    for act, name in ((fill_holes, "most"), (drop_specks, "most"), (smooth, "reach")):
        with pytest.raises(ConfigError, match=f"`{name}`"):
            act(of(np.ones((3, 5), bool)), value)


def test_what_makes_no_sense_is_refused():
    """Six neighbours, and a reach beyond what can be counted; options know the same bound."""
    with pytest.raises(ConfigError, match="`connectivity` must be 4 or 8, got 6"):
        components(of(np.ones((3, 5), bool)), connectivity=6)
    with pytest.raises(ConfigError, match="`reach` is 0 to 127 pixels, got 128"):
        smooth(of(np.ones((3, 5), bool)), 128)
    assert options.MOST_SMOOTH == regions.MOST_REACH
