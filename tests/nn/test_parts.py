"""The shared parts on cases that are worked by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from promptseg.nn.parts import windows
from promptseg.nn.parts.positions import FourierPositions, sine_positions
from promptseg.nn.parts.windows import Window


@pytest.mark.parametrize("window", [Window(2, 3), Window(3, 2), Window(4, 6), Window(5, 7)])
def test_windows_join_to_what_was_split(window):
    """Cutting and joining is the identity, whether or not the windows fill the map."""
    cells = torch.randn(2, 4, 6, 5, generator=torch.Generator().manual_seed(0))
    parts = windows.split(cells, window)
    assert torch.equal(windows.join(parts, height=4, width=6), cells)


def test_windows_come_in_reading_order_padded_with_zeros():
    """A 2 x 3 map in windows of 2 x 2: the second has one column of the map and one of zeros."""
    cells = torch.arange(1.0, 7).view(1, 2, 3, 1)
    parts = windows.split(cells, Window(2, 2))[..., 0]
    assert parts.tolist() == [[[1, 2], [4, 5]], [[3, 0], [6, 0]]]


def test_the_middle_of_the_image_has_phase_zero():
    """Sines of the middle are 0 and cosines 1, at any frequency."""
    encoded = FourierPositions(10)(torch.tensor([0.5, 0.5]))
    assert_close(encoded, torch.tensor([0.0] * 5 + [1.0] * 5))


def test_a_grid_is_made_of_the_middles_of_its_cells():
    """Cell (row 1, column 0) of a grid of side 2 has its middle at (0.25, 0.75)."""
    positions = FourierPositions(6)
    assert_close(positions.grid(2)[1, 0], positions(torch.tensor([0.25, 0.75])))


def test_positions_keep_their_precision():
    """Another dtype does not reach the frequencies, on any device."""
    positions = FourierPositions(6)
    exact = positions.frequencies.clone()
    assert torch.equal(positions.to(torch.bfloat16).frequencies, exact)
    assert positions.to(device="meta", dtype=torch.float16).frequencies.is_meta


def test_sine_positions_by_hand():
    """Rows fill the first half of the channels; the last row and column are at 2 pi."""
    encoded = sine_positions(8, 2, 3)
    assert encoded.shape == (8, 2, 3)
    short, long = 2 * math.pi / 2, 2 * math.pi / 2 / 100
    expected = [math.sin(short), math.cos(short), math.sin(long), math.cos(long)]
    assert encoded[:4, 0, 2].tolist() == pytest.approx(expected, abs=1e-5)
    assert encoded[4:6, 0, 2].tolist() == pytest.approx([0, 1], abs=1e-5)
