from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from promptseg import coco_counts
from promptseg.errors import MaskError

# Generating may be slow on a busy machine, which says nothing about what is generated.
modest = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def spelled_out(counts):
    """Write one number after another: the obvious twin, straight from the description."""
    text = ""
    for index, count in enumerate(counts):
        value = count - counts[index - 2] if index > 2 else count
        more = True
        while more:
            group, value = value & 31, value >> 5
            more = value != (-1 if group & 16 else 0)
            text += chr(48 + group + 32 * more)
    return text


@pytest.mark.parametrize(
    ("counts", "text"),
    [([0], "0"), ([15], "?"), ([16], "`0"), ([1, 4, 1], "141"), ([5, 5, 5, 4], "555O")],
)
def test_small_counts_are_written_as_worked_by_hand(counts, text):
    """15 still fits a signed group of five bits, 16 does not; the fourth is a difference."""
    assert coco_counts.encode(np.array(counts)) == text
    np.testing.assert_array_equal(coco_counts.decode(text), counts)


@modest
@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=29))
def test_counts_of_any_size_are_written_as_the_twin_does_and_read_back(counts):
    """The vectorised code and the plain loop write the same, and reading undoes writing."""
    text = coco_counts.encode(np.array(counts))
    assert text == spelled_out(counts)
    np.testing.assert_array_equal(coco_counts.decode(text), counts)
    np.testing.assert_array_equal(coco_counts.decode(text.encode()), counts)


@modest
@given(st.lists(st.integers(1, 997), min_size=1, max_size=29))
def test_pycocotools_writes_the_same(counts):
    """COCO's own code turns these runs into the same string."""
    size = [sum(counts), 1]
    theirs = coco.frPyObjects({"size": size, "counts": counts}, *size)
    assert coco_counts.encode(np.array(counts)) == theirs["counts"].decode()


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("1 4", "character 1 is not of its alphabet"),
        ("1é", "character 1 is not of its alphabet"),
        ("1\x7f", "character 1 is not of its alphabet"),
        ("14`", "ends in the middle of a number"),
        ("`" * 20 + "0", "has a number of 21 characters"),
    ],
)
def test_damaged_strings_are_refused(text, part):
    """What no encoder writes is refused, not misread."""
    with pytest.raises(MaskError) as caught:
        coco_counts.decode(text)
    assert part in str(caught.value)


def test_an_empty_string_has_no_counts():
    """Nothing written is nothing read."""
    assert coco_counts.decode("").shape == (0,)


@modest
@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(raw):
    """No input does anything else than give numbers or a `MaskError`."""
    with contextlib.suppress(MaskError):
        coco_counts.decode(raw)
