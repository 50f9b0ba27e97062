"""Masks made fit for use, against dense twins on random masks and answers worked by hand."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import promptseg
from promptseg.errors import ConfigError, MaskError
from promptseg.geometry import Size
from promptseg.masks import RunLength
from promptseg.options import TidyOptions
from promptseg.results import OPTIONAL, Masks
from promptseg.tidying import detect_overlaps, separate, suppress, tidy

SIZE = Size(11, 13)
modest = settings(max_examples=60, deadline=None)
shares = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])


@st.composite
def stacks(draw):
    """Rectangles with a few pixels turned over: some nested, some doubled, some empty."""
    chance = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    stack = np.zeros((draw(st.integers(0, 9)), *SIZE), bool)
    for mask in stack:
        (y0, y1), (x0, x1) = (np.sort(chance.integers(0, side + 1, 2)) for side in SIZE)
        mask[y0:y1, x0:x1] = True
    if len(stack) > 2:
        stack[1] = stack[0]
    return stack ^ (chance.random(stack.shape) < 0.03)


def plain_suppress(stack, scores, max_iou, max_containment):
    """Compare pixels, mask by mask: the obvious twin of `suppress`."""
    kept = []
    for index in sorted(range(len(stack)), key=lambda index: -scores[index]):
        mask = stack[index]
        for other in kept:
            common = (mask & stack[other]).sum()
            iou = common / max((mask | stack[other]).sum(), 1)
            if iou > max_iou or common / max(mask.sum(), 1) > max_containment:
                break
        else:
            kept.append(index)
    return sorted(kept)


def plain_separate(stack, ranked):
    """Hand out pixels in turn: the obvious twin of `separate`."""
    apart, taken = np.zeros_like(stack), np.zeros(SIZE, bool)
    for index in ranked:
        apart[index] = stack[index] & ~taken
        taken |= stack[index]
    return apart


def bars(*spans):
    """Masks of whole columns, from the first to the one before the second."""
    stack = np.zeros((len(spans), *SIZE), bool)
    for mask, (left, right) in zip(stack, spans, strict=True):
        mask[:, left:right] = True
    return stack


@modest
@given(stacks(), st.data(), shares, shares)
def test_doubles_go_as_a_dense_comparison_says(stack, data, max_iou, max_containment):
    """The very same masks stay, ties and empty ones included, whatever the thresholds."""
    drawn = st.sampled_from([0.25, 0.5, 0.75])
    scores = data.draw(st.lists(drawn, min_size=len(stack), max_size=len(stack)))
    kept = suppress(
        Masks.from_numpy(stack).runs, scores, max_iou=max_iou, max_containment=max_containment
    )
    assert kept.tolist() == plain_suppress(stack, scores, max_iou, max_containment)


@modest
@given(stacks(), shares)
def test_overlaps_are_those_of_pixels(stack, threshold):
    """Each pair in order, its intersection over union, and how much of either lies in the other."""
    expected = []
    for first in range(len(stack)):
        for second in range(first + 1, len(stack)):
            common = (stack[first] & stack[second]).sum()
            iou = common / max((stack[first] | stack[second]).sum(), 1)
            if iou > threshold:
                inside = common / stack[first].sum(), common / stack[second].sum()
                expected.append((first, second, iou, *inside))
    assert detect_overlaps(Masks.from_numpy(stack), threshold) == expected


@modest
@given(stacks(), st.randoms(use_true_random=False))
def test_pixels_are_handed_out_in_turn(stack, chance):
    """No pixel is claimed twice, none is lost, and the first in line has it."""
    ranked = list(range(len(stack)))
    chance.shuffle(ranked)
    apart = separate(Masks.from_numpy(stack).runs, ranked)
    expected = plain_separate(stack, ranked)
    assert [mask.area for mask in apart] == expected.sum(axis=(1, 2)).tolist()
    for mask, dense in zip(apart, expected, strict=True):
        np.testing.assert_array_equal(mask.to_mask(), dense)


def test_overlaps_worked_by_hand():
    """Bars of four and six columns share two of eight, a half of one and a third of the other."""
    masks = Masks.from_numpy(bars((0, 4), (2, 8), (9, 13)))
    [pair] = detect_overlaps(masks, 0.2)
    first, second, iou, *_ = pair
    assert (first, second, iou) == (0, 1, 0.25)
    assert (pair.first_inside, pair.second_inside) == (0.5, pytest.approx(1 / 3))
    assert detect_overlaps(masks) == []
    assert detect_overlaps(masks, 0.25) == []


def test_what_lies_in_a_better_mask_goes():
    """A part goes for the whole when the whole is better, and stays when it is not."""
    whole_and_part = Masks.from_numpy(bars((0, 12), (3, 5)), scores=[0.75, 0.5])
    options = TidyOptions(max_containment=0.5)
    assert tidy(whole_and_part, options).areas.tolist() == [12 * 11]
    better = replace(whole_and_part, scores=np.array([0.5, 0.75]))
    assert tidy(better, options).areas.tolist() == [12 * 11, 2 * 11]
    assert len(tidy(whole_and_part, TidyOptions(max_iou=0.5))) == 2


@pytest.mark.parametrize(
    ("overlap", "spans"),
    [
        ("allow", [(0, 8), (6, 10), (9, 13)]),
        ("score", [(0, 8), (8, 9), (9, 13)]),
        ("area", [(0, 6), (6, 10), (10, 13)]),
        ("order", [(0, 8), (8, 10), (10, 13)]),
    ],
)
def test_a_policy_says_whose_a_pixel_is(overlap, spans):
    """Bars in a row, scored 0.5, 0.25 and 0.75; of the two of four columns the earlier wins."""
    masks = Masks.from_numpy(bars((0, 8), (6, 10), (9, 13)), scores=[0.5, 0.25, 0.75])
    tidied = tidy(masks, TidyOptions(overlap=overlap))
    np.testing.assert_array_equal(tidied.to_numpy(), bars(*spans))
    assert tidied.scores.tolist() == [0.5, 0.25, 0.75]


def test_a_mask_that_others_cover_is_left_out():
    """Nothing is left of it, so it is no mask any more; the others keep their rows."""
    masks = Masks.from_numpy(bars((0, 7), (2, 5), (5, 9)), scores=[0.75, 0.5, 0.25])
    tidied = tidy(masks, TidyOptions(overlap="order"))
    assert tidied.objects.tolist() == [0, 2]
    assert tidied.areas.tolist() == [77, 22]


def test_thresholds_are_reached_by_what_equals_them():
    """Below goes, equal stays; stability counts only where it is known."""
    masks = Masks.from_numpy(bars((0, 2), (3, 5), (6, 8)), scores=[0.9, 0.5, 0.4])
    assert tidy(masks, TidyOptions(min_score=0.9)).objects.tolist() == [0]
    assert tidy(masks, TidyOptions(min_score=0.5)).objects.tolist() == [0, 1]
    assert len(tidy(masks, TidyOptions(min_stability=1.0))) == 3
    known = replace(masks, stability=np.array([0.1, 0.7, 0.8]))
    assert tidy(known, TidyOptions(min_stability=0.7)).objects.tolist() == [1, 2]
    assert len(tidy(known, TidyOptions(min_stability=0.7, min_score=0.6))) == 0


def test_the_best_is_kept_where_all_would_go():
    """It is marked; where one passes, nothing else is kept for its sake."""
    masks = Masks.from_numpy(bars((0, 0), (3, 5), (6, 8)), scores=[0.9, 0.4, 0.5])
    [best] = tidy(masks, TidyOptions(min_score=0.95, keep_best=True))
    assert best.objects.tolist() == [2]
    assert best.confident.tolist() == [False]
    [passing] = tidy(masks, TidyOptions(min_score=0.5, keep_best=True))
    assert passing.confident.tolist() == [True]
    assert len(tidy(masks, TidyOptions(min_score=0.95))) == 0
    assert len(tidy(masks[:1], TidyOptions(min_score=0.95, keep_best=True))) == 0


def test_each_mask_is_cleaned_in_order():
    """A hole is filled before specks are dropped, so that a ring with a dot is one region."""
    mask = np.zeros((1, *SIZE), bool)
    mask[0, 1:8, 1:8] = True
    mask[0, 3:6, 3:6] = False
    mask[0, 4, 4] = mask[0, 9, 11] = True
    masks = Masks.from_numpy(mask)
    assert tidy(masks, TidyOptions(fill_holes=8, drop_specks=1)).areas.tolist() == [49]
    assert tidy(masks, TidyOptions(drop_specks=1)).areas.tolist() == [40]
    smoothed = tidy(masks, TidyOptions(fill_holes=8, drop_specks=1, smooth=1))
    assert smoothed.areas.tolist() == [45]


def test_every_column_follows():
    """Optional columns are those of the masks that stay."""
    masks = Masks.from_numpy(bars((0, 5), (0, 5), (6, 9)), scores=[0.25, 0.5, 0.75])
    rows = {
        "stability": np.array([0.1, 0.2, 0.3], np.float32),
        "points": np.arange(6.0).reshape(3, 2),
        "crops": np.arange(12.0).reshape(3, 4),
        "labels": np.array(["one", "two", "three"]),
        "predicted_boxes": np.arange(12.0).reshape(3, 4),
        "logits": np.arange(18, dtype=np.float32).reshape(3, 2, 3),
    }
    assert set(rows) == set(OPTIONAL)
    full = replace(masks, complete=False, **rows)
    tidied = tidy(full, TidyOptions(max_iou=0.5))
    assert tidied.objects.tolist() == [1, 2]
    assert not tidied.complete
    for name, column in rows.items():
        np.testing.assert_array_equal(getattr(tidied, name), column[1:])


@modest
@given(stacks())
def test_by_default_nothing_is_changed(stack):
    """The very same masks come back, empty ones too."""
    masks = Masks.from_numpy(stack)
    assert tidy(masks, TidyOptions()) is masks
    assert tidy(masks, TidyOptions(keep_best=True)) is masks


@pytest.mark.parametrize("options", [{"fill_holes": 3}, {"overlap": "area"}, {"max_iou": 0.5}])
def test_no_masks_stay_no_masks(options):
    """There is nothing to do."""
    assert len(tidy(Masks.empty(SIZE), TidyOptions(**options))) == 0
    assert detect_overlaps(Masks.empty(SIZE)) == []


@modest
@given(stacks())
def test_tidying_twice_is_tidying_once(stack):
    """What is free of doubles, holes, specks and overlaps stays as it is."""
    options = TidyOptions(max_iou=0.5, max_containment=0.75, overlap="order")
    once = tidy(Masks.from_numpy(stack), options)
    assert tidy(once, options).runs == once.runs


def test_what_does_not_fit_is_refused():
    """Other types, thresholds out of range, scores and sizes that do not match: one sentence."""
    masks = Masks.from_numpy(bars((0, 5)))
    other = RunLength.from_mask(np.ones((7, 5), bool))
    with pytest.raises(ConfigError, match="`options` must be `TidyOptions`, got dict"):
        tidy(masks, {})
    for act in (detect_overlaps, lambda each: tidy(each, TidyOptions())):
        with pytest.raises(MaskError, match="`masks` must be `Masks`, got ndarray") as caught:
            act(bars((0, 5)))
        assert "from_numpy" in caught.value.hint
    for value in (-0.5, 1.5, float("nan"), "high", True):
        with pytest.raises(ConfigError, match="`iou_threshold` must be a number in 0"):
            detect_overlaps(masks, value)
        with pytest.raises(ConfigError, match="`max_iou` must be a number in 0"):
            suppress(masks.runs, [1], max_iou=value)
    with pytest.raises(MaskError, match=r"1 masks, but the scores have shape \(2,\)"):
        suppress(masks.runs, [1, 2])
    with pytest.raises(MaskError, match="different sizes"):
        suppress([*masks.runs, other], [1, 2], max_iou=0.5)
    with pytest.raises(MaskError, match="different sizes"):
        separate([*masks.runs, other], [0, 1])


def test_the_public_name_is_the_function():
    """Importing the module that has it does not put itself in its place."""
    assert promptseg.tidy is tidy
    assert promptseg.detect_overlaps is detect_overlaps
    assert {entry.name for entry in fields(promptseg.TidyOptions)} >= {"fill_holes", "overlap"}
