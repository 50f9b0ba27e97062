from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco

from promptseg.errors import MaskError
from promptseg.geometry import PixelBox, Size
from promptseg.masks import RunLength, overlaps, union

# Generating may be slow on a busy machine, which says nothing about what is generated.
modest = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
sides = st.integers(1, 13)
masks = st.tuples(sides, sides).flatmap(lambda shape: arrays(np.bool_, shape))
pairs = st.tuples(sides, sides).flatmap(
    lambda shape: st.tuples(arrays(np.bool_, shape), arrays(np.bool_, shape))
)


def dense_overlap(mask, other):
    """Count pixels: the obvious twin of `overlaps`."""
    together = (mask | other).sum()
    return (mask & other).sum() / together if together else 0.0


def test_runs_go_down_the_columns_and_begin_outside():
    """Three rows by two columns, worked by hand."""
    mask = np.array([[0, 1], [1, 1], [1, 0]], dtype=bool)
    np.testing.assert_array_equal(RunLength.from_mask(mask).counts, [1, 4, 1])
    np.testing.assert_array_equal(RunLength.from_mask(~mask).counts, [0, 1, 4, 1])


@pytest.mark.parametrize(("value", "counts"), [(False, [15]), (True, [0, 15])])
def test_an_even_mask_has_one_run(value, counts):
    """All outside is one run; all inside is an empty run and one more."""
    code = RunLength.from_mask(np.full((3, 5), value))
    np.testing.assert_array_equal(code.counts, counts)
    assert code.area == 15 * value
    assert code.box == (PixelBox(0, 0, 5, 3) if value else PixelBox(0, 0, 0, 0))


@modest
@given(masks)
def test_there_and_back_is_the_same_mask(mask):
    """A mask coded and decoded is itself, and its area and box are those of its pixels."""
    code = RunLength.from_mask(mask)
    np.testing.assert_array_equal(code.to_mask(), mask)
    assert code.area == mask.sum()
    y, x = np.nonzero(mask)
    assert code.box == ((x.min(), y.min(), x.max() + 1, y.max() + 1) if y.size else (0, 0, 0, 0))


@modest
@given(masks, st.integers(0, 5), st.integers(0, 5), st.integers(0, 3), st.integers(0, 3))
def test_a_crop_is_coded_as_the_mask_it_is_part_of(crop, left, top, right, bottom):
    """Coding a crop gives the very runs of the whole mask, wherever the crop lies."""
    whole = np.pad(crop, ((top, bottom), (left, right)))
    code = RunLength.from_crop(crop, left=left, top=top, size=Size(*whole.shape))
    assert code == RunLength.from_mask(whole)
    part = code.to_crop()
    np.testing.assert_array_equal(
        part.mask, whole[code.box.y0 : code.box.y1, code.box.x0 : code.box.x1]
    )
    assert (part.left, part.top) == code.box[:2]


def test_a_crop_of_nothing_is_an_empty_mask():
    """A crop without rows or columns marks nothing."""
    for shape in ((0, 3), (3, 0), (0, 0)):
        code = RunLength.from_crop(np.zeros(shape, bool), left=1, top=1, size=Size(5, 7))
        assert code.area == 0
        assert code.to_crop().mask.shape == (0, 0)


@modest
@given(masks)
def test_pycocotools_reads_what_we_write_and_we_read_what_it_writes(mask):
    """The compressed string is the same, letter for letter, both ways."""
    ours = RunLength.from_mask(mask)
    theirs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert ours.to_coco() == {"size": list(mask.shape), "counts": theirs["counts"].decode()}
    np.testing.assert_array_equal(coco.decode(ours.to_coco()), mask)
    assert RunLength.from_coco(theirs) == ours
    assert RunLength.from_coco({"size": mask.shape, "counts": ours.counts.tolist()}) == ours


@modest
@given(pairs)
def test_intersection_and_union_agree_with_pixels(pair):
    """What the runs say of two masks is what their pixels say."""
    one, other = map(RunLength.from_mask, pair)
    assert one.intersection(other) == other.intersection(one) == (pair[0] & pair[1]).sum()
    assert one.union(other) == RunLength.from_mask(pair[0] | pair[1])
    assert one.difference(other) == RunLength.from_mask(pair[0] & ~pair[1])
    assert one.complement() == RunLength.from_mask(~pair[0])


@modest
@given(pairs)
def test_a_mask_is_its_stretches(pair):
    """Upright stretches code back to the mask, and know how much of each another mask covers."""
    one, other = map(RunLength.from_mask, pair)
    assert RunLength.from_stretches(one.stretches, one.size) == one
    x, top, bottom = one.stretches
    expected = [pair[1][a:b, column].sum() for column, a, b in zip(x, top, bottom, strict=True)]
    np.testing.assert_array_equal(other.shares(one.stretches), expected)


@modest
@given(masks, st.integers(0, 12), st.integers(0, 12), st.integers(0, 13), st.integers(0, 13))
def test_a_window_is_the_part_of_the_mask_in_a_box(mask, left, top, width, height):
    """The pixels of any box of the image, also one that is empty or holds nothing."""
    box = PixelBox(left, top, min(left + width, mask.shape[1]), min(top + height, mask.shape[0]))
    if box.x0 <= box.x1 and box.y0 <= box.y1:
        np.testing.assert_array_equal(
            RunLength.from_mask(mask).to_window(box), mask[box.y0 : box.y1, box.x0 : box.x1]
        )


def test_what_many_masks_have_in_common_with_one_is_counted_at_once():
    """Empty ones share nothing, and no masks are no counts."""
    stack = np.zeros((4, 3, 5), bool)
    stack[0, :, :3] = stack[1, 1:, 1:] = stack[3] = True
    codes = [RunLength.from_mask(mask) for mask in stack]
    assert codes[0].intersections(codes).tolist() == [9, 4, 0, 9]
    assert codes[2].intersections(codes).tolist() == [0, 0, 0, 0]
    assert codes[0].intersections([]).tolist() == []


@modest
@given(st.integers(0, 4), st.integers(0, 4), st.tuples(sides, sides), st.integers(0, 2**32 - 1))
def test_overlaps_agree_with_a_dense_product(count, others, shape, seed):
    """Every entry of the matrix is the intersection over union of the pixels."""
    stack = np.random.default_rng(seed).random((count + others, *shape)) < 0.3
    codes = [RunLength.from_mask(mask) for mask in stack]
    expected = [[dense_overlap(one, other) for other in stack[count:]] for one in stack[:count]]
    np.testing.assert_allclose(
        overlaps(codes[:count], codes[count:]), np.reshape(expected, (count, others))
    )


def test_masks_whose_boxes_do_not_meet_are_not_compared(monkeypatch):
    """Boxes that share no pixel settle it: their runs are left alone."""
    stack = np.zeros((2, 5, 7), bool)
    stack[0, :, :3] = stack[1, :, 3:] = True
    codes = [RunLength.from_mask(mask) for mask in stack]
    monkeypatch.setattr(RunLength, "intersections", None)
    np.testing.assert_array_equal(overlaps(codes[:1], codes[1:]), [[0.0]])


def test_union_of_many_joins_what_touches():
    """Three stripes that touch are one run."""
    stack = np.zeros((3, 2, 6), bool)
    for index, stripe in enumerate(stack):
        stripe[:, 2 * index : 2 * index + 2] = True
    merged = union([RunLength.from_mask(stripe) for stripe in stack])
    np.testing.assert_array_equal(merged.counts, [0, 12])


def test_masks_are_values():
    """Masks are equal by their pixels, hash alike, and cannot be changed."""
    code = RunLength(Size(3, 5), np.array([2, 3, 10]))
    assert code == RunLength(Size(3, 5), np.array([2, 3, 10]))
    assert hash(code) == hash(RunLength(Size(3, 5), np.array([2, 3, 10])))
    assert code != RunLength(Size(5, 3), np.array([2, 3, 10]))
    assert code != "mask"
    assert repr(code) == "RunLength(5 x 3 (width x height), area 3, box (0, 0, 2, 3))"
    with pytest.raises(ValueError, match="read-only"):
        code.counts[0] = 1


@pytest.mark.parametrize(
    "counts",
    [[2, 3, 0, 0, 10], [2, 1, 0, 2, 10], [1, 0, 1, 3, 10], [2, 3, 10, 0], [2, 3, 0, 0, 10, 0, 0]],
)
def test_empty_runs_between_others_change_nothing(counts):
    """Other tools may split runs; the same pixels are the same mask."""
    assert RunLength(Size(3, 5), np.array(counts)) == RunLength(Size(3, 5), np.array([2, 3, 10]))


def test_an_empty_first_run_stays_where_the_mask_begins_inside():
    """Runs that begin inside keep the empty run before them, and only one."""
    for counts in ([0, 15], [0, 0, 0, 15], [0, 4, 0, 11], [0, 15, 0]):
        np.testing.assert_array_equal(RunLength(Size(3, 5), np.array(counts)).counts, [0, 15])
    np.testing.assert_array_equal(RunLength(Size(3, 5), np.array([0, 0, 15])).counts, [15])


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (lambda: RunLength(Size(3, 5), np.array([2, 3])), "must sum to 15, got 5"),
        (lambda: RunLength(Size(3, 5), np.array([20, -5])), "a run cannot be negative, got -5"),
        (lambda: RunLength(Size(0, 5), np.array([0])), "a mask needs at least one pixel"),
        (lambda: RunLength.from_mask(np.zeros((3, 5))), "is bool and has two axes, got float64"),
        (lambda: RunLength.from_mask(np.zeros(3, bool)), "has two axes, got shape (3,)"),
        (
            lambda: RunLength.from_crop(np.ones((2, 2), bool), left=4, top=0, size=Size(3, 5)),
            "at (4, 0) leaves a mask of 5 x 3",
        ),
        (
            lambda: RunLength.from_crop(np.ones((2, 2), bool), left=0, top=-1, size=Size(3, 5)),
            "at (0, -1) leaves a mask of 5 x 3",
        ),
        (lambda: union([]), "a union needs at least one mask"),
    ],
)
def test_masks_that_make_no_sense_are_refused(make, part):
    """Runs that do not fill their image, and crops that leave it, are refused with the numbers."""
    with pytest.raises(MaskError) as caught:
        make()
    assert part in str(caught.value)


@pytest.mark.parametrize(
    ("code", "part"),
    [
        ({"counts": "0"}, "needs `size` as [height, width], got None"),
        ({"size": [3], "counts": "0"}, "needs `size` as [height, width], got [3]"),
        ({"size": [3.0, 5.0], "counts": "0"}, "needs `size` as [height, width]"),
        ({"size": [3, 5]}, "needs `counts` as a string or a list of whole numbers, got NoneType"),
        ({"size": [3, 5], "counts": [1.5, 13.5]}, "a list of whole numbers, got list"),
        ({"size": [3, 5], "counts": "?1"}, "must sum to 15, got 16"),
        ({"size": [3, 5], "counts": "`1`"}, "ends in the middle of a number"),
    ],
)
def test_damaged_coco_masks_are_refused(code, part):
    """A damaged record is refused with what is missing or wrong."""
    with pytest.raises(MaskError) as caught:
        RunLength.from_coco(code)
    assert part in str(caught.value)


def test_masks_of_different_sizes_are_not_compared():
    """Intersection, union and overlap need one size, and say both."""
    one, other = (
        RunLength.from_mask(np.ones((3, 5), bool)),
        RunLength.from_mask(np.ones((5, 3), bool)),
    )
    for act in (
        one.intersection,
        one.union,
        one.difference,
        lambda mask: one.intersections([one, mask]),
        lambda mask: overlaps([one], [mask]),
    ):
        with pytest.raises(MaskError, match="different sizes cannot be compared: 5 x 3"):
            act(other)


@pytest.mark.parametrize("counts", [[2**63 - 1, 2**63 - 1, 6], [10**30], [-(10**30), 4]])
def test_runs_too_long_to_add_up_are_refused(counts):
    """A sum that wraps round must not look like the right one."""
    with pytest.raises(MaskError):
        RunLength.from_coco({"size": [2, 2], "counts": counts})
    with pytest.raises(MaskError):
        RunLength.from_coco({"size": [True, 4], "counts": [4]})
