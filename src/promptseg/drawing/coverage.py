"""Masks on a coarse grid over their image: how much of each cell lies inside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from promptseg.geometry import PixelBox, Size
from promptseg.masks import RunLength
from promptseg.shapes import CoverArray, IndexArray

# Axes are those of the grid.
OwnerArray = np.ndarray

# Cells along the longer side of an image in which colours and numbers are thought out.
CELLS = 512


class Grid(NamedTuple):
    """A grid over an image, as the pixels at which its rows and its columns of cells begin.

    Both lists end with the end of the image. A cell has at least one pixel.
    """

    rows: IndexArray
    columns: IndexArray

    @classmethod
    def over(cls, size: Size, cells: Size) -> Grid:
        """Lay so many cells over an image, as even as whole pixels allow, but none without one."""
        rows, columns = np.minimum(cells, size)
        return cls(
            np.arange(rows + 1) * size.height // rows,
            np.arange(columns + 1) * size.width // columns,
        )

    @classmethod
    def coarse(cls, size: Size) -> Grid:
        """Lay square cells, or nearly so, over an image, as many as are looked at."""
        step = -(-max(size) // CELLS)
        return cls.over(size, Size(-(-size.height // step), -(-size.width // step)))

    @property
    def cells(self) -> Size:
        """How many cells there are each way."""
        return Size(len(self.rows) - 1, len(self.columns) - 1)

    def window(self, box: PixelBox) -> tuple[slice, slice]:
        """Return the rows and the columns of the cells that have pixels of a box."""
        first = np.searchsorted(self.rows, box.y0, "right") - 1
        left = np.searchsorted(self.columns, box.x0, "right") - 1
        last, right = np.searchsorted(self.rows, box.y1), np.searchsorted(self.columns, box.x1)
        return slice(int(first), int(last)), slice(int(left), int(right))

    def middle(self, row: int, column: int) -> tuple[float, float]:
        """Return the middle (x, y) of a cell in pixels of the image."""
        x, y = self.columns[column : column + 2].mean(), self.rows[row : row + 2].mean()
        return float(x), float(y)


def cover(mask: RunLength, grid: Grid) -> CoverArray:
    """Return the share, 0..1, of each cell round the mask's box that lies inside the mask.

    It is counted from the runs alone, at their cost and that of the cells.
    """
    x, first, last = mask.stretches
    rows, columns = grid.window(mask.box)
    down, across = (
        grid.rows[rows.start : rows.stop + 1],
        grid.columns[columns.start : columns.stop + 1],
    )
    shape = len(down), max(len(across) - 1, 0)
    ends = np.stack([first, last])
    # A stretch that ends with its cell ends in the next one, after none of that one's pixels.
    row = np.searchsorted(down, ends, side="right") - 1
    place = (row * shape[1] + np.searchsorted(across, x, side="right") - 1).ravel()
    sign = np.repeat([-1.0, 1.0], len(x))
    # Before an end lie some pixels of its own cell, and every one of the cells above it.
    some = np.bincount(place, sign * (ends - down[row]).ravel(), shape[0] * shape[1])
    every = np.bincount(place, sign, shape[0] * shape[1]).reshape(shape)
    whole = np.cumsum(every[::-1], axis=0)[::-1][1:] * np.diff(down)[:, None]
    pixels = some.reshape(shape)[:-1] + whole
    share: CoverArray = pixels / (np.diff(down)[:, None] * np.diff(across))
    return share.astype(np.float32)


def shrink(mask: RunLength, size: Size) -> RunLength:
    """Return the mask as it is in its image at a smaller size: the pixels of which it has half."""
    grid = Grid.over(mask.size, size)
    rows, columns = grid.window(mask.box)
    inside = cover(mask, grid) >= 0.5
    return RunLength.from_crop(inside, left=columns.start, top=rows.start, size=grid.cells)


def owners(masks: Sequence[RunLength], grid: Grid) -> OwnerArray:
    """Return which mask is seen in each cell, the smallest of those there, and -1 for none.

    A mask has a cell of which it covers at least half.
    """
    seen = np.full(grid.cells, -1)
    for index in sorted(range(len(masks)), key=lambda index: -masks[index].area):
        window = grid.window(masks[index].box)
        seen[window][cover(masks[index], grid) >= 0.5] = index
    return seen
