from __future__ import annotations

import math

import numpy as np
import pytest

from promptseg.errors import PromptError
from promptseg.geometry import Box, Size
from promptseg.prompts import MaskHint, Points, Prompt, as_prompt

POINTS_HINT = "Points are [(x, y), ...] in pixels of the image you passed"
LABELS_HINT = "A label is 1 to include the point in the object, 0 to exclude it"


def refusal(make):
    """Return the sentence and the hint with which `make` is refused."""
    with pytest.raises(PromptError) as caught:
        make()
    assert caught.value.hint
    return str(caught.value), caught.value.hint


def test_points_without_labels_all_include():
    """Labels default to 1, coordinates become float64 rows."""
    points = Points([(2, 3), (5, 7)])
    np.testing.assert_array_equal(points.coordinates, [[2.0, 3.0], [5.0, 7.0]])
    np.testing.assert_array_equal(points.labels, [1, 1])
    assert len(points) == 2


@pytest.mark.parametrize("labels", [[1, 0], [True, False], [1.0, 0.0], np.array([1, 0], np.uint8)])
def test_labels_may_be_any_kind_of_0_and_1(labels):
    """Bool, whole and floating 0/1 mean the same."""
    np.testing.assert_array_equal(Points([(2, 3), (5, 7)], labels).labels, [1, 0])


def test_points_are_values():
    """Points are equal by what they say, hash alike, and cannot be changed, even by their maker."""
    mine = np.array([[2.0, 3.0]])
    points = Points(mine, [0])
    mine[0, 0] = 99
    assert points == Points([(2, 3)], [0])
    assert hash(points) == hash(Points([(2, 3)], [0]))
    assert points != Points([(2, 3)])
    assert points != "points"
    with pytest.raises(ValueError, match="read-only"):
        points.coordinates[0, 0] = 1


@pytest.mark.parametrize(
    ("coordinates", "sentence"),
    [
        ([], "a prompt needs at least one point, got none"),
        (np.zeros((0, 2)), "a prompt needs at least one point, got none"),
        ([(2, math.nan)], "points need finite numbers, got (2, nan)"),
        ([(1, 1), (math.inf, 3)], "points need finite numbers, got (inf, 3)"),
        ([2, 3], "points need shape (p, 2), got (2,)"),
        ([(2, 3, 5)], "points need shape (p, 2), got (1, 3)"),
        ([[(2, 3)]], "points need shape (p, 2), got (1, 1, 2)"),
        ([(2, 3), (5,)], "points must form a regular array, got rows of unequal length"),
        ([("2", "3")], "points must be numbers, got str32"),
        (None, "points must be numbers, got object"),
    ],
)
def test_malformed_points_are_refused(coordinates, sentence):
    """Every malformed list of points is refused with what we got and how to write it."""
    assert refusal(lambda: Points(coordinates)) == (sentence, POINTS_HINT)


@pytest.mark.parametrize("label", [2, -1, 0.5, math.nan])
def test_a_label_other_than_0_or_1_is_refused(label):
    """The sentence shows the label, the hint says what labels mean."""
    sentence, hint = refusal(lambda: Points([(2, 3), (5, 7)], [1, label]))
    assert sentence == f"a label must be 0 or 1, got {label:g}"
    assert hint == LABELS_HINT


@pytest.mark.parametrize(
    ("labels", "got"), [([1], "1"), ([1, 0, 1], "3"), ([], "0"), (1, "shape ()")]
)
def test_numbers_of_points_and_labels_that_differ_are_refused(labels, got):
    """Both numbers are in the sentence."""
    sentence, hint = refusal(lambda: Points([(2, 3), (5, 7)], labels))
    assert sentence == f"2 points need 2 labels, got {got}"
    assert hint == "Give one label per point"


def test_labels_that_are_no_numbers_are_refused():
    """Words are not labels."""
    assert refusal(lambda: Points([(2, 3)], ["in"])) == (
        "labels must be numbers, got str64",
        LABELS_HINT,
    )


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int64])
def test_a_hint_of_0_and_1_is_a_mask(dtype):
    """Bool and whole 0/1 are a mask at the image's size."""
    hint = MaskHint(np.eye(3, 5, dtype=dtype))
    assert not hint.is_logits
    assert hint.mask.dtype == np.bool_
    assert not hint.is_empty


def test_a_floating_hint_is_logits():
    """Floating numbers are kept as float32 logits; they mark something where one is positive."""
    hint = MaskHint(np.array([[-3.0, 0.5]]))
    assert hint.is_logits
    assert hint.mask.dtype == np.float32
    assert not hint.is_empty
    assert MaskHint(np.array([[-3.0, 0.0]])).is_empty


def test_hints_are_values():
    """Hints are equal by what they mark and by their kind."""
    assert MaskHint([[True, False]]) == MaskHint([[1, 0]])
    assert hash(MaskHint([[True, False]])) == hash(MaskHint([[1, 0]]))
    assert MaskHint([[1, 1]]) != MaskHint([[1.0, 1.0]])
    assert MaskHint([[1, 1]]) != 1


@pytest.mark.parametrize(
    ("mask", "sentence"),
    [
        (np.zeros((3, 5, 1), bool), "a hint needs two axes, got shape (3, 5, 1)"),
        (np.zeros((0, 5), bool), "a hint needs two axes, got shape (0, 5)"),
        (np.array([[0.5, math.nan]]), "logits of a hint must be finite, got nan or inf"),
        (np.array([[0.5, math.inf]]), "logits of a hint must be finite, got nan or inf"),
        (np.array([[0.5, -1e39]]), "logits of a hint must fit in float32, got -1e+39"),
        (np.array([[0, 255]], np.uint8), "a mask hint holds 0 and 1, got 255"),
        (
            np.array([[0.0, 1.0]], np.float32),
            "a float32 hint counts as logits, but this one holds only 0 and 1",
        ),
        ([["in"]], "a hint must be numbers, got str64"),
    ],
)
def test_a_malformed_hint_is_refused(mask, sentence):
    """Every malformed hint is refused with what we got."""
    assert refusal(lambda: MaskHint(mask))[0] == sentence


def test_a_hint_of_0_and_255_says_how_to_make_it_a_mask():
    """The hint of the error is the code to write."""
    assert refusal(lambda: MaskHint([[0, 255]]))[1] == "For a mask of 0 and 255 pass `mask > 127`"
    assert "mask.astype(bool)" in refusal(lambda: MaskHint([[0.0, 1.0]]))[1]


def test_a_prompt_that_says_nothing_is_refused():
    """Neither points nor box nor hint is no prompt."""
    sentence, hint = refusal(Prompt)
    assert sentence == "a prompt needs points, a box or a hint, got none"
    assert "`Points`, `Box`, `MaskHint`" in hint


@pytest.mark.parametrize("mask", [np.zeros((3, 5), bool), np.full((3, 5), -2.0)])
def test_an_empty_hint_says_nothing_by_itself_but_may_go_with_a_point(mask):
    """A hint that is all background is refused alone and accepted beside a point."""
    sentence, hint = refusal(lambda: Prompt(hint=MaskHint(mask)))
    assert sentence == "a hint that marks no pixel says nothing by itself"
    assert hint.startswith("Add a point or a box")
    assert Prompt(points=Points([(1, 1)]), hint=MaskHint(mask)).hint is not None


def test_a_part_of_another_type_is_refused():
    """A bare list in place of `Points` is refused with what to write."""
    sentence, hint = refusal(lambda: Prompt(points=[(2, 3)]))
    assert sentence == "`points` must be a `Points`, got list"
    assert hint == "Write `Prompt(points=Points(...))`"


def test_one_kind_becomes_a_prompt():
    """Points, a box, a hint and a prompt are wrapped, the last as it is."""
    points, box, hint = Points([(2, 3)]), Box(0, 0, 2, 3), MaskHint([[1]])
    assert as_prompt(points) == Prompt(points=points)
    assert as_prompt(box) == Prompt(box=box)
    assert as_prompt(hint) == Prompt(hint=hint)
    whole = Prompt(points=points, box=box)
    assert as_prompt(whole) is whole


@pytest.mark.parametrize(("value", "name"), [((2, 3), "tuple"), (None, "NoneType")])
def test_what_is_no_prompt_is_refused(value, name):
    """Bare numbers are not guessed at."""
    sentence, hint = refusal(lambda: as_prompt(value))
    assert sentence == f"not a prompt: {name}"
    assert "`Points`, `Box`, `MaskHint`" in hint


@pytest.mark.parametrize("point", [(5, 0), (0, 3), (-0.5, 0), (0, -1), (4.9, 3.0)])
def test_a_point_outside_the_image_is_refused(point):
    """The sentence shows the point and the size of the image."""
    prompt = as_prompt(Points([(1, 1), point]))
    sentence, hint = refusal(lambda: prompt.check(Size(height=3, width=5)))
    x, y = point
    assert sentence == (
        f"the point ({x:g}, {y:g}) lies outside the image, which is 5 x 3 (width x height)"
    )
    assert hint == POINTS_HINT


def test_the_last_pixel_is_inside():
    """A point is inside up to, and not including, the width and the height."""
    as_prompt(Points([(4.99, 2.99), (0, 0)])).check(Size(height=3, width=5))


def test_a_box_outside_is_refused_and_one_that_sticks_out_is_not():
    """Only a box that shares nothing with the image is an error."""
    as_prompt(Box(-2, -2, 99, 99)).check(Size(3, 5))
    sentence, _ = refusal(lambda: as_prompt(Box(5, 0, 7, 2)).check(Size(3, 5)))
    assert sentence == (
        "the box (5, 0, 7, 2) lies outside the image, which is 5 x 3 (width x height)"
    )


def test_a_mask_hint_of_another_size_is_refused_and_logits_are_not():
    """A mask must have the size of the image; logits have that of the model."""
    wrong = np.ones((5, 3), bool)
    sentence, hint = refusal(lambda: as_prompt(MaskHint(wrong)).check(Size(3, 5)))
    assert sentence == (
        "the hint is 3 x 5 (width x height), but the image is 5 x 3 (width x height)"
    )
    assert hint.startswith("Give a mask at the image's own size")
    as_prompt(MaskHint(wrong * 2.5)).check(Size(3, 5))
