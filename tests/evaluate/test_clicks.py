"""The simulated annotator, worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from promptseg.evaluate.clicks import Click, first_click, next_click

PLUS = """
..........
....##....
....##....
..######..
..######..
....##....
....##....
"""
MASKS = arrays(bool, st.tuples(st.integers(1, 13), st.integers(1, 17)))


def drawn(text):
    return np.array([[sign == "#" for sign in line] for line in text.split()])


def depth_of(region, x, y):
    """The distance from a pixel to the nearest that is not of the region, the slow way."""
    outside = np.argwhere(~np.pad(region, 1)) - 1
    return np.hypot(outside[:, 0] - y, outside[:, 1] - x).min()


def test_the_first_click_is_the_middle_of_a_square():
    """The middle of 5 x 5 pixels is the third of each side."""
    mask = np.zeros((11, 13), bool)
    mask[2:7, 3:8] = True
    assert first_click(mask) == Click(5, 4, 1)


def test_the_first_click_is_where_the_bars_of_a_plus_cross():
    """The heart of the plus lies two pixels deep, its arms one."""
    assert first_click(drawn(PLUS)) == Click(4, 3, 1)


def test_the_edge_of_the_image_is_an_edge():
    """In a mask that fills the image the deepest pixel is the middle one."""
    assert first_click(np.ones((7, 7), bool)) == Click(3, 3, 1)


def test_an_empty_mask_has_no_click():
    """There is nowhere to click."""
    assert first_click(np.zeros((5, 7), bool)) is None


def test_a_perfect_mask_has_no_next_click():
    """Where nothing is wrong there is nothing to say."""
    assert next_click(drawn(PLUS), drawn(PLUS)) is None


def test_two_blobs_are_clicked_the_larger_first():
    """With the small one found the large one is missing; with both, and a spill, the spill."""
    truth = drawn("""
        .............
        .###...#####.
        .###...#####.
        .###...#####.
        .......#####.
        .......#####.
    """)
    small, large = truth.copy(), truth.copy()
    small[:, 6:] = False
    large[:, :5] = False
    assert next_click(truth, small) == Click(9, 3, 1)
    assert next_click(truth, large) == Click(2, 2, 1)
    spilt = truth.copy()
    spilt[:, :5] = True
    # What is too much hangs together round the left blob and beats nothing missing.
    click = next_click(truth, spilt)
    assert click is not None
    assert click.label == 0
    assert not truth[click.y, click.x]


def test_the_larger_error_wins_and_a_tie_goes_to_what_is_missing():
    """Six pixels too much beat four missing; four against four, the missing are clicked.

    A strip is one pixel deep everywhere, so the first of its pixels is clicked.
    """
    truth = drawn("####......")
    mask = drawn("....######")
    assert next_click(truth, mask) == Click(4, 0, 0)
    assert next_click(truth, drawn("......####")) == Click(0, 0, 1)


def test_a_diagonal_hangs_together():
    """Pixels that touch at a corner are one region."""
    truth = np.eye(7, dtype=bool)
    truth[0, 3:6] = True
    assert next_click(truth, np.zeros((7, 7), bool)) == Click(0, 0, 1)


@given(mask=MASKS)
def test_no_pixel_is_deeper_than_the_first_click(mask):
    """The click lies in the mask, as deep as the slow search says any pixel does."""
    click = first_click(mask)
    if click is None:
        assert not mask.any()
        return
    assert mask[click.y, click.x]
    deepest = max(depth_of(mask, x, y) for y, x in np.argwhere(mask))
    assert depth_of(mask, click.x, click.y) == pytest.approx(deepest, abs=1e-5)


@given(masks=arrays(bool, st.tuples(st.just(2), st.integers(1, 13), st.integers(1, 17))))
def test_the_next_click_is_always_on_an_error_and_says_which(masks):
    """A click with label 1 lies on a missing pixel, one with label 0 on a surplus one."""
    truth, mask = masks
    click = next_click(truth, mask)
    if click is None:
        assert (truth == mask).all()
    else:
        assert truth[click.y, click.x] == bool(click.label)
        assert mask[click.y, click.x] != bool(click.label)


def test_views_of_any_layout_are_read_right():
    """A mask that is a slice or a transpose gives the click of its copy."""
    wide = np.zeros((23, 29), bool)
    wide[4:11, 6:19] = True
    for view in (wide.T, wide[::2, 1::3], np.asfortranarray(wide)):
        assert first_click(view) == first_click(view.copy())
        assert next_click(view, ~view) == next_click(view.copy(), ~view.copy())
