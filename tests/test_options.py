from __future__ import annotations

import re
from dataclasses import FrozenInstanceError, fields, replace

import pytest

from promptseg.errors import ConfigError
from promptseg.options import (
    EverythingOptions,
    FindOptions,
    SegmentOptions,
    StreamOptions,
    TidyOptions,
    TrainOptions,
    help_of,
)


def test_the_defaults_ask_for_the_best_mask_alone():
    """Without options: no threshold, one mask per object, no logits."""
    options = SegmentOptions()
    assert options == SegmentOptions(threshold=0.0, all_candidates=False, logits=False)
    with pytest.raises(FrozenInstanceError):
        options.threshold = 1.0


@pytest.mark.parametrize("threshold", [0, 1, 0.5])
def test_a_threshold_may_be_any_number_from_0_to_1(threshold):
    """Both ends are allowed."""
    assert SegmentOptions(threshold=threshold).threshold == threshold


@pytest.mark.parametrize(
    ("threshold", "part"),
    [
        (1.5, "must lie in 0..1, got 1.5"),
        (-0.1, "must lie in 0..1, got -0.1"),
        (float("nan"), "must lie in 0..1, got nan"),
        ("high", "must be a number, got 'high'"),
        (True, "must be a number, got True"),
        (None, "must be a number, got None"),
    ],
)
def test_another_threshold_is_refused(threshold, part):
    """The sentence names the option and shows the value."""
    with pytest.raises(ConfigError) as caught:
        SegmentOptions(threshold=threshold)
    assert str(caught.value) == f"`threshold` {part}"


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("threshold", 1.5, "must lie in 0..1, got 1.5"),
        ("threshold", float("nan"), "must lie in 0..1, got nan"),
        ("threshold", None, "must be a number, got None"),
        ("max_masks", 0, "is at least 1, got 0"),
        ("max_masks", 2.5, "must be a whole number, got 2.5"),
        ("max_masks", True, "must be a whole number, got True"),
        ("mask_size", "full", "must be one of image, model, got 'full'"),
        ("mask_size", ["image"], "must be one of image, model, got ['image']"),
        ("max_iou_across", 2, "must lie in 0..1, got 2"),
        ("tidy", {}, "must be `TidyOptions`, got dict"),
    ],
)
def test_finding_within_bounds_only(name, value, part):
    """The sentence names the option, its bounds, and what came."""
    with pytest.raises(ConfigError) as caught:
        FindOptions(**{name: value})
    assert str(caught.value) == f"`{name}` {part}"


def test_find_gives_all_that_is_more_likely_than_not():
    """Unless told otherwise: at the size of the image, each concept for itself."""
    options = FindOptions()
    assert (options.threshold, options.max_masks, options.mask_size) == (0.5, None, "image")
    assert options.max_iou_across is None
    assert options.tidy.changes_nothing


@pytest.mark.parametrize("name", ["all_candidates", "logits"])
def test_a_switch_is_true_or_false(name):
    """Numbers and words are not switches."""
    with pytest.raises(ConfigError, match=f"`{name}` must be true or false, got 'yes'"):
        SegmentOptions(**{name: "yes"})


def test_the_dial_can_be_turned_afterwards():
    """What was not given follows the dial, and what was stays; both show."""
    coarse = EverythingOptions(detail="coarse", crop_layers=2)
    fine = replace(coarse, detail="fine")
    assert (coarse.points_along_side, coarse.layers) == (16, 2)
    assert (fine.points_along_side, fine.layers) == (32, 2)
    assert "points_per_side=32, crop_layers=2" in repr(fine)


@pytest.mark.parametrize("record", [SegmentOptions, FindOptions, TidyOptions, EverythingOptions])
def test_every_option_explains_itself(record):
    """Flags and docs are made from the help of each field."""
    for entry in fields(record):
        assert help_of(record, entry.name).endswith((".", "]"))


@pytest.mark.parametrize(
    ("name", "value", "part"),
    [
        ("min_score", 1.5, "must lie in 0..1, got 1.5"),
        ("min_stability", -0.5, "must lie in 0..1, got -0.5"),
        ("max_iou", float("nan"), "must lie in 0..1, got nan"),
        ("max_containment", "0.5", "must be a number, got '0.5'"),
        ("fill_holes", -1, "is at least 0, got -1"),
        ("drop_specks", 2.5, "must be a whole number, got 2.5"),
        ("smooth", 128, "is 0 to 127, got 128"),
        ("keep_best", 1, "must be true or false, got 1"),
        ("overlap", "largest", "must be one of allow, score, area, order, got 'largest'"),
    ],
)
def test_tidying_within_bounds_only(name, value, part):
    """The sentence names the option, its bounds, and what came."""
    with pytest.raises(ConfigError) as caught:
        TidyOptions(**{name: value})
    assert str(caught.value) == f"`{name}` {part}"


def test_every_way_to_tidy_is_documented(root):
    """The guide's table has each field with its default and its meaning, in order."""
    guide = (root / "docs" / "postprocessing.md").read_text()
    rows = [
        f"| `{entry.name}` | `{entry.default}` | {entry.metadata['help']} |"
        for entry in fields(TidyOptions)
    ]
    assert "\n".join(rows) in guide


def test_tidying_changes_nothing_unless_asked():
    """Keeping the best where all would go asks for nothing to go."""
    assert TidyOptions().changes_nothing
    assert TidyOptions(keep_best=True).changes_nothing
    assert not TidyOptions(fill_holes=1).changes_nothing
    with pytest.raises(ConfigError, match="`tidy` must be `TidyOptions`, got dict"):
        SegmentOptions(tidy={"fill_holes": 1})


@pytest.mark.parametrize(
    ("record", "name"), [(StreamOptions, "batch"), (TrainOptions, "save_every")]
)
def test_numbers_of_training_have_a_least_value(record, name):
    """None of nothing can be made."""
    with pytest.raises(ConfigError, match=f"`{name}` is at least 1, got 0"):
        record(**{name: 0})
    with pytest.raises(ConfigError, match="`seed` is at least 0, got -1"):
        StreamOptions(seed=-1)


@pytest.mark.parametrize(
    ("name", "value", "bound"),
    [
        ("stability_offset", 1e5, "0..10000"),
        ("mask_threshold", -1e5, "-10000..10000"),
        ("crop_points_downscale", 1e308, "1..512"),
    ],
)
def test_no_option_of_everything_is_beyond_what_can_be_reckoned_with(name, value, bound):
    """Larger numbers mean no more, and would overflow where they are added or multiplied."""
    with pytest.raises(ConfigError, match=rf"`{name}` is in {re.escape(bound)}, got"):
        EverythingOptions(**{name: value})
