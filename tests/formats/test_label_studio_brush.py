"""Brushes of Label Studio: every mask comes out of its bits as it went in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as arrays

from promptseg.formats.label_studio import brush
from promptseg.masks import RunLength


def read_plainly(coded):
    """Read a brush bit by bit, as its format is described; return its bytes."""
    bits = "".join(f"{byte:08b}" for byte in coded)
    place = 0

    def take(width):
        nonlocal place
        place += width
        return int(bits[place - width : place], 2)

    count, word = take(32), take(5) + 1
    sizes = [take(4) + 1 for _ in range(4)]
    read = []
    while len(read) < count:
        repeated = take(1)
        length = take(sizes[take(2)]) + 1
        read += [take(word)] * length if repeated else [take(word) for _ in range(length)]
    assert len(read) == count
    assert set(bits[place:]) <= {"0"}
    assert len(bits) - place < 8
    return np.array(read, np.uint8)


@given(arrays.arrays(np.bool_, arrays.array_shapes(min_dims=2, max_dims=2, max_side=23)))
def test_a_mask_comes_back_from_its_bits(mask):
    """Read plainly, all four channels of each pixel are 255 inside the mask and 0 outside."""
    read = read_plainly(brush(RunLength.from_mask(mask))).reshape(*mask.shape, 4)

    assert (read == np.where(mask, 255, 0)[:, :, None]).all()


@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 63, 64, 65, 16383, 16384, 16385, 40_000])
def test_a_run_of_any_length_is_held(width):
    """A run about as long as each counter holds, in bytes, or longer than any, comes back."""
    mask = np.zeros((1, width + 1), np.bool_)
    mask[0, 1:] = True

    read = read_plainly(brush(RunLength.from_mask(mask)))

    assert read.tolist() == [0] * 4 + [255] * 4 * width


def test_the_bits_are_those_worked_out_by_hand():
    """One pixel outside and three inside are 16 bytes in two runs, of 4 and of 12."""
    coded = brush(RunLength.from_mask(np.array([[False, True, True, True]])))

    header = f"{16:032b}" + "00111" + "0010" + "0011" + "0111" + "1111"
    outside = "1" + "00" + "011" + "00000000"
    inside = "1" + "01" + "1011" + "11111111"
    bits = header + outside + inside
    bits += "0" * (-len(bits) % 8)
    assert coded == [int(bits[place : place + 8], 2) for place in range(0, len(bits), 8)]


def test_rows_come_before_columns():
    """Label Studio goes along rows, whichever way the runs of a mask go."""
    mask = np.array([[True, True, False], [False, False, False]])

    read = read_plainly(brush(RunLength.from_mask(mask)))

    assert read[::4].tolist() == [255, 255, 0, 0, 0, 0]
