"""How much an image changes across the outline of a mask."""

from __future__ import annotations

import numpy as np
import pytest

from promptseg.engine.contrast import Contrast


def test_the_mean_difference_of_neighbours_across_the_outline():
    """A bright square of 3 x 3 cells, and masks of it, of its half, and of all, by hand."""
    image = np.full((7, 7, 3), 50, np.uint8)
    image[2:5, 2:5] = (50, 90, 60)
    contrast = Contrast(image, 7)
    square = np.full((7, 7), -1.0, np.float32)
    square[2:5, 2:5] = 1
    assert contrast.of(square) == 40
    half = square.copy()
    half[2:5, 2] = -1
    # Of its ten sides seven are those of the square, and three lie within it.
    assert contrast.of(half) == pytest.approx(40 * 7 / 10)
    assert contrast.of(np.ones((7, 7), np.float32)) == 0
    assert contrast.of(-np.ones((7, 7), np.float32)) == 0


def test_an_image_of_any_size_is_seen_on_the_grid():
    """A step in the middle of a wide image is one between the middle columns."""
    image = np.zeros((11, 40, 3), np.uint8)
    image[:, 20:] = 200
    left = np.where(np.arange(8) < 4, 1.0, -1.0).astype(np.float32)[None].repeat(8, axis=0)
    assert Contrast(image, 8).of(left) == 200
