from __future__ import annotations

from dataclasses import FrozenInstanceError, fields

import pytest

from promptseg.errors import ConfigError
from promptseg.options import SegmentOptions, StreamOptions, TrainOptions, help_of


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


@pytest.mark.parametrize("name", ["all_candidates", "logits"])
def test_a_switch_is_true_or_false(name):
    """Numbers and words are not switches."""
    with pytest.raises(ConfigError, match=f"`{name}` must be true or false, got 'yes'"):
        SegmentOptions(**{name: "yes"})


def test_every_option_explains_itself():
    """Flags and docs are made from the help of each field."""
    for entry in fields(SegmentOptions):
        assert help_of(SegmentOptions, entry.name).endswith(".")


@pytest.mark.parametrize(
    ("record", "name"), [(StreamOptions, "batch"), (TrainOptions, "save_every")]
)
def test_numbers_of_training_have_a_least_value(record, name):
    """None of nothing can be made."""
    with pytest.raises(ConfigError, match=f"`{name}` is at least 1, got 0"):
        record(**{name: 0})
    with pytest.raises(ConfigError, match="`seed` is at least 0, got -1"):
        StreamOptions(seed=-1)
