"""Low-resolution logits straight to run lengths at image size, without a full-size array."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int32

from promptseg.geometry import PixelBox, Size
from promptseg.masks import RunLength
from promptseg.shapes import IndexArray, LogitArray, LogitStack, RunArray, ScoreArray


class Crossings(NamedTuple):
    """In which columns a mask turns on and off, in turn, and from which rows on."""

    column: IndexArray
    row: IndexArray


class Taps(NamedTuple):
    """Between which two cells of a grid each pixel lies, and the share of the second of them."""

    first: IndexArray
    following: IndexArray
    share: ScoreArray


@dataclass(frozen=True, eq=False)
class Upsampling:
    """Grids of one shape enlarged bilinearly to `size`, and what is above 0 in them coded as runs.

    Half-pixel centres, no antialiasing. The same bits as upsampling whole masks in float32 and
    comparing, for a small part of the work: between two cells of one sign nothing changes, and
    between two of unlike sign a column crosses zero once, so only the row of that crossing is
    looked for. Where `size` is a crop of an image of size `whole`, it begins at `left` and `top`.
    """

    across: Taps
    down: Taps
    whole: Size
    cells: int
    left: int = 0
    top: int = 0

    @cached_property
    def lower(self) -> Int32[np.ndarray, " gaps"]:
        """The first row of each gap: 0, then those that begin between two cells, then the end."""
        return np.concatenate([[0], self._starts[:-1], [len(self.down.first)]]).astype(np.int32)

    @cached_property
    def upper(self) -> Int32[np.ndarray, " gaps"]:
        """One past the last row of each gap; the outer two hold none."""
        return np.concatenate([[0], self._starts[1:], [len(self.down.first)]]).astype(np.int32)

    @cached_property
    def _starts(self) -> IndexArray:
        """The first row below the middle of each cell."""
        return np.searchsorted(self.down.first, np.arange(self.cells))

    @classmethod
    def of(cls, cells: Size, size: Size) -> Upsampling:
        """Enlarge grids of `cells` to a whole image."""
        return cls(taps(cells[1], size[1]), taps(cells[0], size[0]), Size(*size), cells[0])

    @classmethod
    def into(cls, cells: Size, crop: PixelBox, whole: Size) -> Upsampling:
        """Enlarge grids of `cells` to a crop of an image."""
        height, width = crop.size
        across, down = taps(cells[1], width), taps(cells[0], height)
        return cls(across, down, whole, cells[0], crop.x0, crop.y0)

    def run(self, logits: LogitArray) -> RunLength:
        """Code one mask."""
        pixels = self.whole.height * self.whole.width
        return RunLength(self.whole, np.diff(self._places(logits), prepend=0, append=pixels))

    def area(self, logits: LogitArray) -> int:
        """Count the pixels of one mask."""
        places = self._places(logits)
        return int((places[1::2] - places[0::2]).sum())

    def _places(self, logits: LogitArray) -> RunArray:
        """Where the mask turns on and off, in turn, counted down the columns of the whole image."""
        inside = logits > 0
        filled = np.flatnonzero(inside.any(axis=0))
        if not filled.size:
            return np.zeros(0, dtype=np.int64)
        first = int(np.searchsorted(self.across.following, filled[0]))
        last = int(np.searchsorted(self.across.first, filled[-1], side="right"))
        reach = slice(first, last)
        rows = np.flatnonzero(inside.any(axis=1))
        top, bottom = max(0, int(rows[0]) - 1), int(rows[-1]) + 2
        grid = np.ascontiguousarray(logits[top:bottom].T)
        # Framed by background above and below.
        columns = np.full((last - first, grid.shape[1] + 2), -1, dtype=np.float32)
        columns[:, 1:-1] = blend(
            grid[self.across.first[reach]],
            grid[self.across.following[reach]],
            self.across.share[reach, None],
        )
        gaps = slice(top, top + columns.shape[1] - 1)
        column, turn = _crossings(columns, self.down, self.lower[gaps], self.upper[gaps])
        places: RunArray = (self.left + first + column) * self.whole.height + self.top + turn
        return places


def to_runs(logits: LogitStack, size: Size) -> list[RunLength]:
    """Upsample each grid to `size` and code what is above 0 (`Upsampling`)."""
    enlarged = Upsampling.of(Size(*logits.shape[1:]), size)
    return [enlarged.run(grid) for grid in logits]


def taps(cells: int, pixels: int) -> Taps:
    """Lay `pixels` over `cells` in float32, exactly as torch does without `align_corners`."""
    scale = np.float32(cells) / np.float32(pixels)
    centres = np.arange(pixels, dtype=np.float32) + np.float32(0.5)
    places = np.maximum(centres * scale - np.float32(0.5), np.float32(0))
    first = np.minimum(places.astype(np.int64), cells - 1)
    share = np.minimum(places - first.astype(np.float32), np.float32(1))
    return Taps(first, np.minimum(first + 1, cells - 1), share)


def blend(
    first: Float32[np.ndarray, "*#s"],
    following: Float32[np.ndarray, "*#s"],
    share: Float32[np.ndarray, "*#s"],
) -> Float32[np.ndarray, "*s"]:
    """Mix two values linearly."""
    mixed: np.ndarray = first * (np.float32(1) - share)
    mixed += following * share
    return mixed


def _crossings(
    framed: Float32[np.ndarray, "W _"],
    down: Taps,
    lower: Int32[np.ndarray, " gaps"],
    upper: Int32[np.ndarray, " gaps"],
) -> Crossings:
    """Where the mask turns on and off, down one column of pixels after the other.

    Gap `k` lies between the cells `k` and `k + 1` of `framed`, and its rows are `lower` to `upper`.
    The first cell of a column is background, and so is the last unless the map ends there. A place
    that is named twice is a run without pixels.
    """
    height = len(down.first)
    inside = framed > 0
    column, gap = np.divmod(np.flatnonzero(inside[:, 1:] != inside[:, :-1]), len(lower))

    rows = lower[gap, None] + np.arange((upper - lower).max(), dtype=np.int32)
    shares = down.share[np.minimum(rows, height - 1)]
    above, below = framed[column, gap, None], framed[column, gap + 1, None]
    filled = ((blend(above, below, shares) > 0) & (rows < upper[gap, None])).sum(axis=1)
    turn = np.where(inside[column, gap], lower[gap] + filled, upper[gap] - filled)
    return Crossings(column, turn)
