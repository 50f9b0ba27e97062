"""The number of each mask, written where most of it can be seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from promptseg.drawing import letters
from promptseg.drawing.colours import WHITE, Colour
from promptseg.drawing.coverage import Grid, owners
from promptseg.geometry import Size
from promptseg.masks import RunLength
from promptseg.shapes import CoverArray, MaskArray

RIM: Colour = (20, 20, 20)
# A number is between so many pixels high, or so large a share of the picture's diagonal; chosen by
# eye on pictures of 400 and of 4000 pixels.
LEAST, LEAST_SHARE = 10, 1 / 130
MOST, MOST_SHARE = 13, 1 / 55
# How wide and high letters are is measured at this size.
MEASURED = 100


class Number(NamedTuple):
    """What is written: where its middle lies, in pixels of the image, and how high its letters."""

    text: str
    x: float
    y: float
    height: int


def draw(picture: Image.Image, masks: Sequence[RunLength]) -> None:
    """Write on each mask which one it is, counted from 0: light with a dark rim.

    Raises:
        MissingExtraError: this build of Pillow cannot draw fonts.
    """
    written = place(masks)
    fonts = {height: letters.font(height) for height in {number.height for number in written}}
    pen = ImageDraw.Draw(picture)
    for number in written:
        font = fonts[number.height]
        x0, y0, x1, y1 = letters.extent(number.text, font)
        corner = number.x - (x0 + x1) / 2, number.y - (y0 + y1) / 2
        rim = max(1, round(number.height / 9))
        pen.text(corner, number.text, WHITE, font, anchor="ls", stroke_width=rim, stroke_fill=RIM)


def place(masks: Sequence[RunLength]) -> list[Number]:
    """Find room for the number of each mask, in the part of it that no smaller mask lies on.

    A number stands in the middle of the largest circle there, as large as the circle allows. A
    mask without room, such as one that others hide, has none.
    """
    font = letters.font(MEASURED)
    found = []
    for index, (x, y, radius) in middles(masks).items():
        x0, y0, x1, y1 = letters.extent(str(index), font)
        fitting = MEASURED * 2 * radius / math.hypot(x1 - x0, y1 - y0)
        if height := height_within(fitting, masks[index].size):
            found.append(Number(str(index), x, y, height))
    return found


class Spot(NamedTuple):
    """The middle of what is seen of a mask, and the circle round it, in pixels of the image."""

    x: float
    y: float
    radius: float


def middles(masks: Sequence[RunLength]) -> dict[int, Spot]:
    """Find the middle of each mask that is seen: that of the largest circle which fits there."""
    if not masks:
        return {}
    size = masks[0].size
    grid = Grid.coarse(size)
    seen = owners(masks, grid)
    cell = min(size.height / grid.cells.height, size.width / grid.cells.width)
    found = {}
    for index, mask in enumerate(masks):
        window = grid.window(mask.box)
        inside = seen[window] == index
        if inside.any():
            row, column, radius = _middle(inside)
            x, y = grid.middle(window[0].start + row, window[1].start + column)
            found[index] = Spot(x, y, radius * cell)
    return found


def height_within(fitting: float, size: Size) -> int:
    """Choose how high letters are in a picture of `size`, where so high ones fit; 0 if too low."""
    diagonal = math.hypot(*size)
    if fitting < max(LEAST, LEAST_SHARE * diagonal):
        return 0
    return int(min(fitting, max(MOST, MOST_SHARE * diagonal)))


class Middle(NamedTuple):
    """The cell that lies deepest inside, and the radius in cells of the circle round its centre."""

    row: int
    column: int
    radius: float


def _middle(inside: MaskArray) -> Middle:
    """Find the deepest cell; of those nearly as deep the one next to the mean of all."""
    depth = depths(inside)
    rows, columns = np.nonzero(depth >= 0.9 * depth.max())
    mean_row, mean_column = (places.mean() for places in np.nonzero(inside))
    nearest = np.hypot(rows - mean_row, columns - mean_column).argmin()
    row, column = int(rows[nearest]), int(columns[nearest])
    return Middle(row, column, float(depth[row, column]) - 0.5)


def depths(inside: MaskArray) -> CoverArray:
    """Return how far the centre of each cell is from that of the nearest one outside.

    Beyond the border all is outside. Exact: first along columns, then across them, as far as the
    deepest cell makes necessary.
    """
    padded = np.pad(inside, 1)
    rows = np.arange(len(padded))[:, None]
    above = rows - np.maximum.accumulate(np.where(padded, 0, rows), axis=0)
    after = np.where(padded, len(padded) - 1, rows)[::-1]
    below = np.minimum.accumulate(after, axis=0)[::-1] - rows
    upright = np.minimum(above, below).astype(np.int32) ** 2
    nearest = upright.copy()
    step = 1
    while step**2 < nearest.max():
        np.minimum(nearest[:, step:], upright[:, :-step] + step**2, out=nearest[:, step:])
        np.minimum(nearest[:, :-step], upright[:, step:] + step**2, out=nearest[:, :-step])
        step += 1
    depth: CoverArray = np.sqrt(nearest[1:-1, 1:-1], dtype=np.float32)
    return depth
