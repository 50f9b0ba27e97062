"""Low-resolution logits straight to run lengths at image size, without a full-size array."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from promptseg.geometry import Size
from promptseg.masks import RunLength
from promptseg.shapes import IndexArray, LogitStack, RunArray, ScoreArray


class Taps(NamedTuple):
    """Between which two cells of a grid each pixel lies, and the share of the second of them."""

    first: IndexArray
    following: IndexArray
    share: ScoreArray


def to_runs(logits: LogitStack, size: Size) -> list[RunLength]:
    """Upsample bilinearly to `size` (half-pixel centres, no antialiasing) and keep what is above 0.

    The same bits as upsampling whole masks in float32 and comparing, for a small part of the work:
    between two cells of one sign nothing changes, and between two of unlike sign a column crosses
    zero once, so only the row of that crossing is looked for.
    """
    across = taps(logits.shape[2], size.width)
    down = taps(logits.shape[1], size.height)
    return [_runs_of_one(grid, across, down) for grid in logits]


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


def _runs_of_one(logits: Float32[np.ndarray, "h w"], across: Taps, down: Taps) -> RunLength:
    size = Size(len(down.first), len(across.first))
    pixels = size.height * size.width
    inside = logits > 0
    filled = np.flatnonzero(inside.any(axis=0))
    if not filled.size:
        return RunLength(size, np.array([pixels]))
    left = int(np.searchsorted(across.following, filled[0]))
    right = int(np.searchsorted(across.first, filled[-1], side="right"))
    reach = slice(left, right)
    rows = np.flatnonzero(inside.any(axis=1))
    top, bottom = max(0, int(rows[0]) - 1), int(rows[-1]) + 2
    grid = np.ascontiguousarray(logits[top:bottom].T)
    columns = blend(
        grid[across.first[reach]], grid[across.following[reach]], across.share[reach, None]
    )
    places = _crossings(columns, down, top=top, cells=len(logits)) + left * size.height
    return RunLength(size, np.diff(places, prepend=0, append=pixels))


def _crossings(
    columns: Float32[np.ndarray, "W h"], down: Taps, *, top: int, cells: int
) -> RunArray:
    """Where the mask turns on and off, counted down one column of pixels after the other.

    `columns` begin with row `top` of `cells`; all rows that are left out are background, and so is
    the last of them on either side unless the map ends there. A place that is named twice is a run
    without pixels.
    """
    height = len(down.first)
    # Gap `k` lies between cells `k - 1` and `k`; the outer two hold no rows and end at background.
    starts = np.searchsorted(down.first, np.arange(cells))
    gaps = slice(top, top + columns.shape[1] + 1)
    lower = np.concatenate([[0], starts[:-1], [height]])[gaps]
    upper = np.concatenate([[0], starts[1:], [height]])[gaps]
    framed = np.pad(columns, ((0, 0), (1, 1)), constant_values=-1)
    inside = framed > 0
    column, gap = np.divmod(np.flatnonzero(inside[:, 1:] != inside[:, :-1]), len(lower))

    rows = lower[gap, None] + np.arange((upper - lower).max())
    shares = down.share[np.minimum(rows, height - 1)]
    above, below = framed[column, gap, None], framed[column, gap + 1, None]
    filled = ((blend(above, below, shares) > 0) & (rows < upper[gap, None])).sum(axis=1)
    turn = np.where(inside[column, gap], lower[gap] + filled, upper[gap] - filled)
    places: np.ndarray = column * height + turn
    return places
