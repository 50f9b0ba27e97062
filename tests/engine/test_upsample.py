"""Run lengths made from low-resolution logits are those of the whole upsampled mask."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from torch.nn import functional

from promptseg.engine.upsample import blend, taps, to_runs
from promptseg.geometry import Size
from promptseg.masks import RunLength

# Halves make ties and exact zeros common; the others are anything that a network may say.
VALUES = st.one_of(
    st.integers(-4, 4).map(lambda halves: halves / 2),
    st.floats(-32, 32, width=16, allow_subnormal=False),
)


def upsampled(logits, size):
    """The slow twin: all of the image, in float32, width first."""
    across, down = taps(logits.shape[1], size.width), taps(logits.shape[0], size.height)
    wide = blend(logits[:, across.first], logits[:, across.following], across.share[None])
    return blend(wide[down.first], wide[down.following], down.share[:, None])


@settings(max_examples=200, deadline=None)
@given(
    logits=npst.arrays(np.float32, st.tuples(*[st.integers(1, 11)] * 2), elements=VALUES),
    height=st.integers(1, 41),
    width=st.integers(1, 41),
    frame=st.integers(0, 3),
)
def test_runs_are_those_of_the_whole_mask(logits, height, width, frame):
    """Any logits, background round them or not, to any size, give the bits of the slow twin."""
    logits = np.pad(logits, frame, constant_values=-1)
    size = Size(height, width)
    [runs] = to_runs(logits[None], size)
    mask = upsampled(logits, size) > 0
    assert np.array_equal(runs.to_mask(), mask)
    assert runs == RunLength.from_mask(mask)


@pytest.mark.parametrize("size", [Size(53, 97), Size(5, 7), Size(19, 23), Size(1, 1), Size(131, 3)])
def test_the_slow_twin_is_what_torch_computes(size):
    """Upsampled logits agree with torch's to float32 rounding."""
    logits = np.random.default_rng(3).normal(size=(19, 23)).astype(np.float32)
    expected = functional.interpolate(
        torch.from_numpy(logits)[None, None], size=size, mode="bilinear", align_corners=False
    )
    np.testing.assert_allclose(upsampled(logits, size), expected[0, 0].numpy(), atol=1e-5)


def test_doubling_one_cell_worked_by_hand():
    """Between 1 and -3, a quarter of the way is 0 and is outside; the cell's outer half stays 1."""
    logits = np.array([[[1, -3]]], dtype=np.float32)
    [runs] = to_runs(logits, Size(1, 4))
    assert runs.to_mask().tolist() == [[True, False, False, False]]


@pytest.mark.parametrize(("value", "counts"), [(1.0, [0, 35]), (0.0, [35]), (-1.0, [35])])
def test_one_value_everywhere_is_all_or_nothing(value, counts):
    """Zero counts as outside."""
    [runs] = to_runs(np.full((1, 3, 2), value, dtype=np.float32), Size(5, 7))
    assert runs.counts.tolist() == counts


def test_each_mask_of_a_stack_is_its_own():
    """A stack gives what its masks give one by one, and no masks give none."""
    stack = np.random.default_rng(5).normal(size=(3, 7, 5)).astype(np.float32)
    size = Size(29, 31)
    assert to_runs(stack, size) == [to_runs(each[None], size)[0] for each in stack]
    assert to_runs(stack[:0], size) == []
