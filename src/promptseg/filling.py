"""Polygons to runs: a pixel is inside where its centre is, by the even-odd rule.

Rings may have any coordinates, cross themselves and each other, and leave the image. A centre that
lies exactly on a slanted or level edge belongs to the pixels below it, one on an upright edge to
those right of it, so that polygons that share an edge share no pixel and leave none out. Outlines
from `promptseg.polygons` lie between the centres and come back exactly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from promptseg.errors import MaskError
from promptseg.geometry import Size
from promptseg.shapes import IndexArray, PointArray, RunArray

# Beyond this many pixels from the image, differences of coordinates lose their decimals.
FARTHEST = 1e9
# How many crossings of edges and columns are held at once: some 200 MB.
AT_ONCE = 4_000_000


class Edges(NamedTuple):
    """Edges from left to right, and the columns whose centres they pass: so many from `first`.

    `shape` numbers what an edge is of.
    """

    start: PointArray
    slope: PointArray
    first: IndexArray
    columns: IndexArray
    shape: IndexArray


def fill(rings: Sequence[PointArray], size: Size) -> RunArray:
    """Return the run lengths, column by column, of what the rings enclose together, even-odd.

    A ring is its corners (x, y) in pixels, the upper left corner of the image being (0, 0); its
    last corner need not repeat the first.

    Raises:
        MaskError: a ring is not an array of pairs, or a coordinate is no number or very far away.
    """
    return fill_any([rings], size)


def fill_any(shapes: Sequence[Sequence[PointArray]], size: Size) -> RunArray:
    """Return the run lengths of what is in any of the shapes, each of them as `fill` has it.

    Raises:
        MaskError: a ring is not an array of pairs, or a coordinate is no number or very far away.
    """
    total = size.height * size.width
    # Places of one shape after those of another; the last place of each is the end of the image.
    stride = total + 1
    places = np.zeros(0, dtype=np.int64)
    for crossings in _crossings(_edges(shapes, size), size.height, stride):
        places = _odd(np.concatenate([places, crossings]))
    starts, stops = places[0::2] % stride, places[1::2] % stride
    order = np.argsort(starts, kind="stable")
    starts, reach = starts[order], np.maximum.accumulate(stops[order])
    apart = starts[1:] > reach[:-1]
    edge = np.ones(min(len(starts), 1), dtype=np.bool_)
    ends = np.stack([starts[np.append(edge, apart)], reach[np.append(apart, edge)]], axis=1)
    counts: RunArray = np.diff(ends.ravel(), prepend=0, append=total)
    return counts


def _edges(shapes: Sequence[Sequence[PointArray]], size: Size) -> Edges:
    """List all edges, each from its left end to its right one, so that neighbours agree on it."""
    rings = [_ring(ring) for shape in shapes for ring in shape]
    numbers = np.repeat(np.arange(len(shapes)), [len(shape) for shape in shapes])
    number = np.repeat(numbers, [len(ring) for ring in rings])
    start = np.concatenate([np.zeros((0, 2)), *rings])
    end = np.concatenate([np.zeros((0, 2)), *(np.roll(ring, -1, axis=0) for ring in rings)])
    if not (np.abs(start) <= FARTHEST).all():  # so that NaN, which compares false, is refused too
        raise MaskError(f"a corner lies within {FARTHEST:g} pixels, got {_worst(start)}")
    backward = (end[:, 0] < start[:, 0])[:, None]
    start, end = np.where(backward, end, start), np.where(backward, start, end)
    # Column c is passed where start <= c + 0.5 < end.
    first, last = (
        np.clip(np.ceil(each[:, 0] - 0.5), 0, size.width).astype(np.int64) for each in (start, end)
    )
    passes = last > first
    start, end = start[passes], end[passes]
    slope = (end[:, 1] - start[:, 1]) / (end[:, 0] - start[:, 0])
    return Edges(start, slope, first[passes], (last - first)[passes], number[passes])


def _ring(ring: PointArray) -> PointArray:
    corners = np.asarray(ring, dtype=np.float64)
    if corners.ndim != 2 or corners.shape[1] != 2:
        raise MaskError(f"a ring is a list of corners (x, y), got shape {corners.shape}")
    return corners


def _worst(corners: PointArray) -> str:
    x, y = corners[~(np.abs(corners) <= FARTHEST).all(axis=1)][0]
    return f"({x:g}, {y:g})"


def _crossings(edges: Edges, height: int, stride: int) -> Iterator[IndexArray]:
    """Yield the places from which on an edge turns the pixels of a column over, in portions."""
    ends = np.cumsum(edges.columns)
    for begin in range(0, int(ends[-1]) if len(ends) else 0, AT_ONCE):
        number = np.arange(begin, min(begin + AT_ONCE, int(ends[-1])))
        edge = np.searchsorted(ends, number, side="right")
        column = edges.first[edge] + number - (ends[edge] - edges.columns[edge])
        x, y = edges.start[edge].T
        row = np.ceil(y + (column + 0.5 - x) * edges.slope[edge] - 0.5)
        place = column * height + np.clip(row, 0, height).astype(np.int64)
        yield edges.shape[edge] * stride + place


def _odd(places: IndexArray) -> IndexArray:
    """Sort places, and keep one of each that is named an odd number of times."""
    values, counts = np.unique(places, return_counts=True)
    odd: IndexArray = values[counts % 2 == 1]
    return odd
