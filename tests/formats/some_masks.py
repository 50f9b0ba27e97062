"""Masks that the tests of formats share: made by hand from boxes, and any at all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from promptseg.geometry import Size
from promptseg.results import COLUMNS, OPTIONAL, Masks

SIZE = Size(5, 7)
shares = st.floats(0, 1, width=32)
# What every format of text must keep: quotes, spaces, markup, letters of other alphabets.
words = st.sampled_from(["cup", "a cat", 'the "best" <b>', "Tasse é 杯 🍵", "object", "0", "no: 1"])


def masks_of(*boxes, size=SIZE, **columns):
    """One mask for each half-open box."""
    stack = np.zeros((len(boxes), *size), bool)
    for mask, (x0, y0, x1, y1) in zip(stack, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    return replace(Masks.from_numpy(stack), **columns)


def ring():
    """A square of 5 pixels with a hole of one, in an image of 7 x 5."""
    stack = np.zeros((1, *SIZE), bool)
    stack[0, :, 1:6] = True
    stack[0, 2, 3] = False
    return Masks.from_numpy(stack)


def column(draw, count, values):
    return draw(st.lists(values, min_size=count, max_size=count))


@st.composite
def any_masks(draw):
    """Up to three masks of any pixels, with every column, or with those alone that are always."""
    size = Size(draw(st.integers(1, 11)), draw(st.integers(1, 11)))
    count = draw(st.integers(0, 3))
    masks = Masks.from_numpy(draw(arrays(bool, (count, *size))))
    masks = replace(
        masks,
        scores=column(draw, count, shares),
        objects=draw(st.permutations(range(5)))[:count],
        candidates=column(draw, count, st.integers(0, 2)),
        presence=column(draw, count, shares),
        confident=column(draw, count, st.booleans()),
        complete=draw(st.booleans()),
    )
    if not count or draw(st.booleans()):
        return masks
    floats = st.floats(-1e6, 1e6)
    return replace(
        masks,
        stability=column(draw, count, shares),
        points=column(draw, count, st.tuples(floats, floats)),
        crops=column(draw, count, st.tuples(*[floats] * 4)),
        labels=np.array(column(draw, count, words)),
    )


def assert_same(read, masks, *, but=()):
    """Every column is the same, and of the same kind, except those named."""
    assert read.size == masks.size
    assert read.runs == masks.runs
    assert read.complete == masks.complete or "complete" in but
    for name in [name for name in (*COLUMNS, *OPTIONAL) if name not in but]:
        got, wanted = getattr(read, name), getattr(masks, name)
        assert (got is None) == (wanted is None), name
        if wanted is not None:
            np.testing.assert_array_equal(got, wanted, err_msg=name)
