"""Colours mixed into parts of a canvas."""

from __future__ import annotations

import numpy as np

from promptseg.drawing.colours import Colour
from promptseg.shapes import CoverArray, ImageArray, MaskArray


def tint(target: ImageArray, inside: MaskArray, colour: Colour, opacity: float) -> None:
    """Mix a colour evenly into the pixels inside, by a table of 256 answers per channel."""
    levels = np.arange(256)
    for channel, value in enumerate(colour):
        table = np.rint(levels * (1 - opacity) + value * opacity).astype(np.uint8)
        plane = target[..., channel]
        np.copyto(plane, table[plane], where=inside)


def blend(canvas: ImageArray, cover: CoverArray, colour: Colour, *, left: int, top: int) -> None:
    """Mix a colour into part of the canvas, as much as `cover` says, cutting what sticks out."""
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = left + cover.shape[1], top + cover.shape[0]
    # Slices of a negative length would count from the far side.
    target = canvas[y0 : max(y1, 0), x0 : max(x1, 0)]
    cover = cover[y0 - top :, x0 - left :][: target.shape[0], : target.shape[1]]
    y, x = np.nonzero(cover > 0)
    share = cover[y, x, None]
    mixed = target[y, x] * (1 - share) + np.array(colour, dtype=np.float32) * share
    target[y, x] = np.rint(mixed).astype(np.uint8)
