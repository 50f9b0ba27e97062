"""Tiles cover an image, and what is in a view is where it is in the image."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from promptseg.errors import ConfigError
from promptseg.geometry import Box, PixelBox, Size
from promptseg.masks import RunLength
from promptseg.prompts import MaskHint, Points, Prompt
from promptseg.tiles import (
    Sides,
    Tiling,
    View,
    around,
    common,
    cover,
    cut_sides,
    extent,
    first_view,
    moved,
    seen,
    whole_view,
    wider_view,
)

SIZES = st.builds(Size, st.integers(1, 60), st.integers(1, 60))
MASKS = arrays.arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9)))
TILING = Tiling(side=16, overlap=4)


@st.composite
def tilings(draw):
    side = draw(st.integers(2, 30))
    return Tiling(side=side, overlap=draw(st.integers(1, side // 2)))


def test_tiles_are_evenly_spread():
    """29 pixels take three tiles of 13 that overlap by 5, where 3 is asked for."""
    tiles = cover(Size(11, 29), Tiling(side=13, overlap=3))
    assert tiles == [(0, 0, 13, 11), (8, 0, 21, 11), (16, 0, 29, 11)]


@given(SIZES, tilings())
def test_tiles_cover_the_image(size, tiling):
    """Every pixel is in a tile; tiles are of one size, and neighbours overlap enough."""
    tiles = cover(size, tiling)
    covered = np.zeros(size, dtype=np.bool_)
    for x0, y0, x1, y1 in tiles:
        assert 0 <= x0 < x1 <= size.width
        assert 0 <= y0 < y1 <= size.height
        covered[y0:y1, x0:x1] = True
    assert covered.all()
    assert {tile.size for tile in tiles} == {Size(*(min(each, tiling.side) for each in size))}
    for starts in ({tile.x0 for tile in tiles}, {tile.y0 for tile in tiles}):
        assert all(np.diff(sorted(starts)) <= tiling.side - tiling.overlap)


@given(SIZES, tilings())
def test_tiles_are_few(size, tiling):
    """One tile less along a side would leave a gap or overlap by less than is asked for."""
    tiles = cover(size, tiling)
    for starts, length in (
        ({tile.x0 for tile in tiles}, size.width),
        ({tile.y0 for tile in tiles}, size.height),
    ):
        fewer = len(starts) - 1
        assert fewer == 0 or fewer * (tiling.side - tiling.overlap) + tiling.overlap < length


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"side": 1, "overlap": 1}, "`side` is at least 2, got 1"),
        ({"side": 16, "overlap": 9}, "1 to half the side of a tile, got 9 of 16"),
        ({"overlap": 0}, "1 to half the side of a tile, got 0 of 2048"),
        ({"side": 20.5}, r"`side` must be a whole number, got 20\.5"),
        ({"side": True}, "`side` must be a whole number, got True"),
        ({"join": 0}, "`join` is above 0 and at most 1, got 0"),
        ({"repeat": float("nan")}, "`repeat` is above 0 and at most 1, got nan"),
        ({"repeat": "much"}, "`repeat` is above 0 and at most 1, got 'much'"),
        ({"fragments": 1}, "`fragments` must be true or false, got 1"),
    ],
)
def test_a_wrong_tiling_is_refused(options, message):
    """What cannot cover an image, or is of the wrong kind, is named."""
    with pytest.raises(ConfigError, match=message):
        Tiling(**options)


@given(MASKS, st.integers(-9, 9), st.integers(-9, 9), SIZES)
def test_moving_runs_is_moving_pixels(mask, left, top, size):
    """A mask moved by its runs is the mask moved pixel by pixel and cut off at the edges."""
    dense = np.zeros(size, dtype=np.bool_)
    for y, x in np.argwhere(mask):
        if 0 <= y + top < size.height and 0 <= x + left < size.width:
            dense[y + top, x + left] = True
    run = moved(RunLength.from_mask(mask), left=left, top=top, size=size)
    assert run == RunLength.from_mask(dense)


@given(MASKS, st.data())
def test_a_window_shows_its_part_of_a_mask(mask, data):
    """What a window shows is the slice of the dense mask."""
    y0, y1 = sorted(data.draw(st.sets(st.integers(0, mask.shape[0]), min_size=2, max_size=2)))
    x0, x1 = sorted(data.draw(st.sets(st.integers(0, mask.shape[1]), min_size=2, max_size=2)))
    window = PixelBox(x0, y0, x1, y1)
    assert seen(RunLength.from_mask(mask), window) == RunLength.from_mask(mask[y0:y1, x0:x1])


def test_moving_costs_runs_and_not_pixels():
    """A mask of a square kilometre's pixels is moved where its image would not fit in memory."""
    run = RunLength.from_mask(np.ones((3, 5), dtype=np.bool_))
    far = moved(run, left=999_000, top=998_000, size=Size(1_000_000, 1_000_000))
    assert far.area == 15
    assert far.box == (999_000, 998_000, 999_005, 998_003)


def test_windows_meet_or_do_not():
    """What two windows share is a window, or nothing where they only touch."""
    assert common(PixelBox(0, 0, 7, 5), PixelBox(3, 2, 11, 13)) == (3, 2, 7, 5)
    assert common(PixelBox(0, 0, 7, 5), PixelBox(7, 0, 11, 5)) is None
    assert around([PixelBox(0, 3, 7, 5), PixelBox(3, 2, 11, 4)]) == (0, 2, 11, 5)


def test_a_mask_is_cut_off_where_the_image_goes_on():
    """Ending at the window's side counts, at the image's own it does not."""
    size, window = Size(40, 50), PixelBox(0, 10, 20, 40)
    assert cut_sides(PixelBox(0, 10, 20, 40), window, size) == (0, 1, 1, 0)
    assert cut_sides(PixelBox(1, 11, 19, 40), window, size) == (0, 0, 0, 0)


def test_a_near_miss_counts_as_cut_off():
    """In a tile of 256 a mask that ends a pixel before the side is cut off, two before is not."""
    size, window = Size(256, 999), PixelBox(300, 0, 556, 256)
    assert cut_sides(PixelBox(301, 7, 555, 9), window, size) == (1, 0, 1, 0)
    assert cut_sides(PixelBox(302, 7, 554, 9), window, size) == (0, 0, 0, 0)


def test_a_prompt_moves_into_a_view():
    """Points and box move with the window and shrink with the factor; outside is left out."""
    view = View(PixelBox(10, 20, 43, 61), factor=4)
    points = Points([(14, 22), (42.9, 60), (9, 30)], [1, 0, 1])
    inside = view.prompt(Prompt(points=points, box=Box(14, 10, 30, 100)))
    assert view.size == (11, 9)
    np.testing.assert_array_equal(inside.points.coordinates, [(1, 0.5), (8.225, 10)])
    np.testing.assert_array_equal(inside.points.labels, [1, 0])
    assert inside.box == Box(1, 0, 5, 11)
    np.testing.assert_array_equal(
        view.points_to_image(inside.points.coordinates), [(14, 22), (42.9, 60)]
    )
    np.testing.assert_array_equal(
        view.boxes_to_image(np.array([[1.0, 0, 9, 11]])), [(14, 20, 43, 61)]
    )


def test_a_hint_is_averaged_like_the_image():
    """Half of a pixel is enough, less is not; the last pixel is of what is left there."""
    mask = np.zeros((5, 7), dtype=np.bool_)
    mask[0, 2:4] = mask[2, 4] = mask[4, 6] = True
    view = View(PixelBox(2, 0, 7, 5), factor=2)
    hint = view.prompt(Prompt(hint=MaskHint(mask))).hint
    np.testing.assert_array_equal(hint.mask, [[1, 0, 0], [0, 0, 0], [0, 0, 1]])


def test_a_thin_hint_does_not_vanish():
    """Where no pixel is covered by half, every pixel that is touched says yes."""
    mask = np.zeros((6, 6), dtype=np.bool_)
    mask[4, 1] = True
    hint = whole_view(Size(6, 6), Tiling(side=2, overlap=1)).prompt(Prompt(hint=MaskHint(mask)))
    np.testing.assert_array_equal(hint.hint.mask, [[0, 0], [1, 0]])


def test_what_is_on_the_object_decides_where_to_look():
    """Included points, box and hint have an extent; excluded points only where nothing else is."""
    size, mask = Size(50, 70), np.zeros((50, 70), dtype=np.bool_)
    mask[30:33, 40] = True
    points = Points([(3.5, 4.5), (60, 1)], [1, 0])
    assert extent(Prompt(points=points), size) == (3, 4, 4, 5)
    assert extent(Prompt(points=points, box=Box(-9, 2, 5.5, 20)), size) == (0, 2, 6, 20)
    assert extent(Prompt(hint=MaskHint(mask)), size) == (40, 30, 41, 33)
    assert extent(Prompt(points=Points([(60, 1)], [0])), size) == (60, 1, 61, 2)


def test_the_first_view_is_a_tile_round_the_prompt():
    """It begins at a quarter of a tile, inside the image, at the image's own resolution."""
    views = [
        first_view(Prompt(points=Points([point])), Size(90, 110), TILING)
        for point in [(50.5, 40.5), (51.5, 40.5), (1, 1), (109, 89)]
    ]
    assert views[0] == views[1] == View(PixelBox(44, 32, 60, 48))
    assert views[2:] == [View(PixelBox(0, 0, 16, 16)), View(PixelBox(94, 74, 110, 90))]


@given(SIZES, tilings(), st.data())
def test_the_first_view_holds_the_prompt(size, tiling, data):
    """Whatever is prompted lies in the view, in at most half of it, and the view in the image."""
    x0, y0 = data.draw(st.integers(0, size.width - 1)), data.draw(st.integers(0, size.height - 1))
    x1, y1 = (
        data.draw(st.integers(begin + 1, end))
        for begin, end in ((x0, size.width), (y0, size.height))
    )
    view = first_view(Prompt(box=Box(x0, y0, x1, y1)), size, tiling)
    window = view.window
    assert 0 <= window.x0 <= x0 < x1 <= window.x1 <= size.width
    assert 0 <= window.y0 <= y0 < y1 <= window.y1 <= size.height
    assert max(view.size) <= tiling.side
    assert (
        view == whole_view(size, tiling)
        or 2 * max(x1 - x0, y1 - y0) <= max(2, view.factor * tiling.side) + 2
    )


def test_a_view_moves_before_it_widens():
    """What is cut off on one side is looked for there, and coarser only where it does not fit."""
    size, view = Size(200, 200), View(PixelBox(80, 80, 96, 96))
    right = Sides(left=False, top=False, right=True, bottom=False)
    moved_on = wider_view(view, PixelBox(92, 84, 96, 88), right, size, TILING)
    assert moved_on == View(PixelBox(88, 80, 104, 96))
    wider = wider_view(view, PixelBox(82, 84, 96, 88), right, size, TILING)
    assert wider.factor == 2
    assert wider.window.x0 <= 82
    assert wider.window.x1 >= 100


@given(SIZES, tilings(), st.data())
def test_the_next_view_shows_more(size, tiling, data):
    """It has what was seen, and beyond each side that cut it off; it is as large or larger."""
    x, y = data.draw(st.integers(0, size.width - 1)), data.draw(st.integers(0, size.height - 1))
    view = first_view(Prompt(points=Points([(x, y)])), size, tiling)
    x0, y0, x1, y1 = view.window
    box = PixelBox(
        data.draw(st.integers(x0, x)),
        data.draw(st.integers(y0, y)),
        data.draw(st.integers(x + 1, x1)),
        data.draw(st.integers(y + 1, y1)),
    )
    cut = cut_sides(box, view.window, size)
    following = wider_view(view, box, cut, size, tiling)
    window = following.window
    assert window.x0 <= box.x0 < box.x1 <= window.x1 <= size.width
    assert window.y0 <= box.y0 < box.y1 <= window.y1 <= size.height
    assert following.factor >= view.factor
    for side, before, now in zip(cut, view.window, window, strict=True):
        assert not side or before != now


def test_the_widest_view_is_the_whole_image():
    """Once a view would be as long as the image it is the image, no coarser than it must be."""
    everywhere = Sides(left=True, top=True, right=True, bottom=True)
    view = View(PixelBox(0, 0, 16, 16))
    wider = wider_view(view, PixelBox(0, 0, 16, 16), everywhere, Size(20, 31), TILING)
    assert wider == View(PixelBox(0, 0, 31, 20), factor=2)
