from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptseg.errors import ConfigError, MaskError
from promptseg.geometry import Size
from promptseg.masks import RunLength
from promptseg.results import Masks

SIZE = Size(5, 7)


def stripes(count):
    """Masks of the first one, two, ... columns."""
    stack = np.zeros((count, *SIZE), bool)
    for index in range(count):
        stack[index, :, : index + 1] = True
    return stack


@pytest.fixture
def masks():
    """Two objects with two candidates each, and one object with one."""
    return Masks(
        size=SIZE,
        runs=tuple(RunLength.from_mask(mask) for mask in stripes(5)),
        scores=np.array([0.2, 0.8, 0.9, 0.7, 0.5]),
        objects=np.array([0, 0, 1, 1, 2]),
        candidates=np.array([0, 1, 0, 1, 0]),
        presence=np.array([0.9, 0.9, 0.8, 0.8, 0.1]),
        confident=np.array([True, True, True, True, False]),
        logits=np.arange(5 * 2 * 3, dtype=np.float32).reshape(5, 2, 3),
    )


@pytest.mark.parametrize(
    ("index", "areas"),
    [
        (0, [5]),
        (-1, [25]),
        (np.int64(2), [15]),
        (slice(1, 4, 2), [10, 20]),
        ([3, 0], [20, 5]),
        (np.array([3, 0]), [20, 5]),
        ([], []),
        ([True, False, False, False, True], [5, 25]),
        (np.zeros(5, bool), []),
    ],
)
def test_masks_are_chosen_as_rows_of_an_array_are(masks, index, areas):
    """Numbers, slices, lists and flags choose masks; all columns follow."""
    chosen = masks[index]
    assert isinstance(chosen, Masks)
    assert chosen.areas.tolist() == areas
    np.testing.assert_array_equal(chosen.logits[:, 0, 0] // 6 * 5 + 5, areas)
    assert len(chosen) == len(chosen.scores) == len(chosen.objects) == len(chosen.confident)


def test_masks_are_filtered_by_a_column(masks):
    """A comparison of a column chooses masks."""
    assert masks[masks.scores > 0.6].objects.tolist() == [0, 1, 1]


@pytest.mark.parametrize("index", [5, -6, [0, 5], (0, 1), [True, False], "best"])
def test_an_index_out_of_range_is_an_index_error(masks, index):
    """What numpy refuses as an index is refused here."""
    with pytest.raises(IndexError):
        masks[index]


def test_iterating_gives_masks_of_length_one(masks):
    """Each mask of a loop is `Masks` too."""
    assert [len(mask) for mask in masks] == [1] * 5
    assert [float(mask.presence[0]) for mask in masks] == pytest.approx([0.9, 0.9, 0.8, 0.8, 0.1])


def test_best_has_the_highest_score(masks):
    """The best of all, and the best of each object in the order of objects."""
    assert masks.best().areas.tolist() == [15]
    assert masks.best_per_object().areas.tolist() == [10, 15, 25]
    assert masks[::-1].best_per_object().areas.tolist() == [10, 15, 25]


def test_of_equal_scores_the_first_is_best():
    """Ties go to the one that came first."""
    masks = Masks.from_numpy(stripes(3), scores=[0.5, 0.5, 0.5])
    assert masks.best().areas.tolist() == [5]


def test_boxes_and_areas_are_columns_too(masks):
    """Boxes are half-open float rows, areas count pixels."""
    np.testing.assert_array_equal(masks[:2].boxes, [[0, 0, 1, 5], [0, 0, 2, 5]])
    assert masks.boxes.dtype == np.float64
    assert masks.areas.tolist() == [5, 10, 15, 20, 25]


def test_no_masks_are_an_answer():
    """Everything one may ask of masks has an answer when there are none."""
    none = Masks.empty(SIZE)
    assert len(none) == 0
    assert none.boxes.shape == (0, 4)
    assert none.to_numpy().shape == (0, 5, 7)
    assert none.best() is none
    assert len(none.best_per_object()) == 0
    assert none.union().area == 0
    assert none.overlaps().shape == (0, 0)
    assert none.to_rle() == none.polygons() == list(none) == []
    assert none[:1].areas.tolist() == []
    assert repr(none) == "Masks(none, 7 x 5 (width x height))"


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_dense_and_coco_masks_come_back_as_they_went(count, seed):
    """Masks to numpy or to COCO and back are the same masks."""
    stack = np.random.default_rng(seed).random((count, *SIZE)) < 0.4
    masks = Masks.from_numpy(stack)
    np.testing.assert_array_equal(masks.to_numpy(), stack)
    assert Masks.from_rle(masks.to_rle()).runs == masks.runs
    np.testing.assert_array_equal(masks.union().to_mask(), stack.any(axis=0))


def test_masks_read_from_elsewhere_are_sure_of_themselves():
    """Without more knowledge: one object each, score 1, or the scores given."""
    masks = Masks.from_rle(Masks.from_numpy(stripes(2)).to_rle(), scores=[0.25, 0.75])
    assert masks.scores.tolist() == [0.25, 0.75]
    assert masks.objects.tolist() == [0, 1]
    assert masks.confident.all()
    assert Masks.from_numpy(stripes(2)).scores.tolist() == [1, 1]


def test_masks_are_put_one_after_another(masks):
    """Concatenating the parts gives the whole; empty parts do not cost the logits."""
    again = Masks.concatenate([masks[:2], Masks.empty(SIZE), masks[2:]])
    assert again.runs == masks.runs
    for name in ("scores", "objects", "candidates", "presence", "confident", "logits"):
        np.testing.assert_array_equal(getattr(again, name), getattr(masks, name))


def test_logits_that_not_all_have_are_dropped(masks):
    """One part without logits leaves the whole without."""
    assert Masks.concatenate([masks, Masks.from_numpy(stripes(1))]).logits is None


def test_overlaps_compare_masks_with_their_own_or_with_others(masks):
    """Stripes of one and two columns overlap by a half."""
    np.testing.assert_allclose(masks[:2].overlaps(), [[1, 0.5], [0.5, 1]])
    np.testing.assert_allclose(masks[:1].overlaps(masks[3:]), [[0.25, 0.2]])


def test_a_label_map_numbers_the_masks():
    """One more than the row; the higher score wins a pixel, and of equal scores the earlier."""
    masks = Masks.from_numpy(stripes(3), scores=[0.5, 0.75, 0.5])
    numbers = masks.to_label_map()
    assert numbers.dtype == np.int32
    np.testing.assert_array_equal(numbers, np.tile([2, 2, 3, 0, 0, 0, 0], (5, 1)))
    even = Masks.from_numpy(stripes(2)[::-1])
    np.testing.assert_array_equal(even.to_label_map()[0], [1, 1, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(Masks.empty(SIZE).to_label_map(), np.zeros(SIZE))


def test_polygons_are_a_list_for_each_mask(masks):
    """Every mask has its own list of polygons."""
    assert [len(each) for each in masks.polygons()] == [1] * 5


def test_masks_are_plotted_over_their_image(masks):
    """`plot` gives a picture of the size of the image."""
    picture = masks.plot(np.zeros((5, 7, 3), np.uint8))
    assert picture.size == (7, 5)
    assert np.asarray(picture).any()


def test_masks_describe_themselves(masks):
    """The description counts masks, objects, and those that are not confident."""
    assert repr(masks) == (
        "Masks(5 of 3 objects, 7 x 5 (width x height), "
        "scores [0.20, 0.80, 0.90, 0.70, ...], 1 not confident)"
    )


def test_columns_cannot_be_changed(masks):
    """A result is a value."""
    with pytest.raises(ValueError, match="read-only"):
        masks.scores[0] = 1


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (lambda: Masks.from_numpy(stripes(2), scores=[1]), "2 masks, but `scores` has shape (1,)"),
        (lambda: Masks.from_numpy(stripes(1)[0]), "a stack of masks is N H W bool, got bool"),
        (lambda: Masks.from_numpy(stripes(1) * 255), "a stack of masks is N H W bool, got int64"),
        (lambda: Masks.from_rle([]), "no masks, so their size is not known"),
        (lambda: Masks.concatenate([]), "no masks, so their size is not known"),
        (
            lambda: Masks.concatenate([Masks.empty(SIZE), Masks.empty(Size(7, 5))]),
            "masks of one image have one size",
        ),
        (
            lambda: Masks.of([RunLength.from_mask(np.ones((7, 5), bool))], size=SIZE),
            "every mask must be 7 x 5 (width x height), got one of 5 x 7",
        ),
    ],
)
def test_masks_that_do_not_fit_are_refused(make, part):
    """Columns of other lengths and masks of other sizes are refused with the numbers."""
    with pytest.raises(MaskError) as caught:
        make()
    assert part in str(caught.value)


def test_results_load_without_torch_or_jaxtyping():
    """Reading masks needs neither the network's library nor that of the shapes."""
    code = "import sys, promptseg.results; print({'torch', 'jaxtyping'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_objects_of_separate_answers_stay_separate(masks):
    """What is joined is numbered on where numbers collide, and nowhere else."""
    joined = Masks.concatenate([masks, masks])
    assert len(joined.best_per_object()) == 2 * len(masks.best_per_object())
    first, second = masks[masks.objects == 0], masks[masks.objects != 0]
    assert set(Masks.concatenate([first, second]).objects.tolist()) == set(masks.objects.tolist())


@pytest.mark.parametrize("opacity", [-0.5, 1.5, float("nan")])
def test_an_opacity_out_of_range_is_refused(masks, opacity):
    """It lies in 0..1."""
    with pytest.raises(ConfigError, match="`opacity` lies in"):
        masks.plot(np.zeros((*masks.size, 3), np.uint8), opacity=opacity)


def test_logits_of_an_answer_cannot_be_changed(masks):
    """They are its own, as every column is."""
    logits = np.zeros((len(masks), 4, 4), np.float32)
    answer = replace(masks, logits=logits)
    logits[:] = 1
    assert not answer.logits.any()
    with pytest.raises(ValueError, match="read-only"):
        answer.logits[0] = 1


KNOWN = {
    "stability": np.array([0.5, 0.75], np.float32),
    "points": np.array([[1.0, 2.0], [3.0, 4.0]]),
    "crops": np.array([[0.0, 0.0, 7.0, 5.0], [1.0, 0.0, 7.0, 5.0]]),
    "labels": np.array(["cat", "a dog"]),
    "predicted_boxes": np.array([[0.5, 0.0, 6.25, 5.0], [1.0, 0.0, 7.0, 4.5]]),
}


@pytest.mark.parametrize("name", KNOWN)
def test_a_column_that_may_be_missing_follows_its_masks(name):
    """What is known of masks is chosen and joined with them, and missing where a part lacks it."""
    some = replace(Masks.from_numpy(stripes(2)), **{name: KNOWN[name]})
    joined = Masks.concatenate([some[[1, 0]], some, Masks.empty(SIZE)])
    assert (getattr(joined, name) == KNOWN[name][[1, 0, 0, 1]]).all()
    assert getattr(Masks.concatenate([some, Masks.from_numpy(stripes(1))]), name) is None
    with pytest.raises(ValueError, match="read-only"):
        getattr(some, name)[0] = getattr(some, name)[1]


@pytest.mark.parametrize("name", KNOWN)
def test_a_column_that_may_be_missing_has_a_row_for_each_mask(name):
    """A row too few, or rows of another shape, are refused by the column's name."""
    with pytest.raises(MaskError, match=name):
        replace(Masks.from_numpy(stripes(2)), **{name: KNOWN[name][:1]})
    with pytest.raises(MaskError, match=name):
        replace(Masks.from_numpy(stripes(2)), **{name: KNOWN[name][:, None]})


def test_a_search_that_ended_early_says_so():
    """Masks of a search that ended early stay marked, and one such part marks the whole."""
    early = replace(Masks.from_numpy(stripes(2)), complete=False)
    assert not early[0].complete
    assert not Masks.concatenate([Masks.from_numpy(stripes(1)), early]).complete
    assert "there may be more" in repr(early)
    assert "there may be more" in repr(early[[]])


def test_no_masks_keep_the_columns_that_all_parts_have():
    """So that labels of nothing can be gone through; masks without them decide if there are any."""
    labelled = replace(Masks.empty(SIZE), labels=np.zeros(0, np.str_))
    assert Masks.concatenate([labelled, labelled]).labels.tolist() == []
    assert Masks.concatenate([labelled, Masks.empty(SIZE)]).labels is None
    assert Masks.concatenate([labelled, Masks.from_numpy(stripes(1))]).labels is None
