"""Outlines of a mask along the edges of its pixels, holes kept: rasterising gives the mask back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from promptseg.shapes import FlagArray, IndexArray, RingArray


class Polygon(NamedTuple):
    """One 4-connected region: corners (x, y) of pixels, the last one not repeating the first.

    On the screen the exterior runs clockwise and holes run the other way.
    """

    exterior: RingArray
    holes: tuple[RingArray, ...]


class Stretches(NamedTuple):
    """Upright stretches of inside pixels: column, first row, one past the last row."""

    x: IndexArray
    top: IndexArray
    bottom: IndexArray


class Corners(NamedTuple):
    """Where outlines turn, in reading order, and the corners at the far ends of their two edges.

    The two corners of a level edge are neighbours in the list, so a point where pixels touch only
    diagonally is listed twice. `opens` says that the pixel under that edge is inside.
    """

    x: IndexArray
    y: IndexArray
    opens: FlagArray
    along: IndexArray


def trace(stretches: Stretches) -> list[Polygon]:
    """Return one polygon for each 4-connected region, in reading order of their first corners."""
    corners = _corners(stretches)
    walks = _walks(corners)
    points = np.stack([corners.x, corners.y], axis=1)
    opens = corners.opens.tolist()
    parents = _parents(corners, walks)
    exteriors: dict[int, RingArray] = {}
    holes: dict[int, list[RingArray]] = {}
    for index, (walk, parent) in enumerate(zip(walks, parents, strict=True)):
        if opens[walk[0]]:
            exteriors[index] = points[walk]
            holes[index] = []
        else:
            holes[parent].append(points[walk[:1] + walk[:0:-1]])
    return [Polygon(outline, tuple(holes[index])) for index, outline in exteriors.items()]


def untangle(polygon: Polygon) -> Polygon:
    """Cut rings apart where they touch themselves, so that no ring passes a point twice.

    What an exterior goes round between two visits of a point becomes a hole that touches it there.
    This is what OGC's simple features, and so shapely and GeoJSON's readers, call valid.
    """
    loops = [loop for ring in (polygon.exterior, *polygon.holes) for loop in _loops(ring)]
    exterior = next(loop for loop in loops if _doubled_area(loop) > 0)
    return Polygon(exterior, tuple(loop for loop in loops if loop is not exterior))


def join(polygons: Sequence[Polygon]) -> RingArray:
    """Make one ring of all parts and holes, joined by seams that are walked there and back.

    Filled by the even-odd rule it is the same mask, since a seam that is crossed twice turns
    nothing over. Each seam goes from the first corner of a ring to the nearest of those before it.
    """
    rings = [ring for polygon in polygons for ring in (polygon.exterior, *polygon.holes)]
    if not rings:
        return np.zeros((0, 2), dtype=np.int64)
    joined = rings[0]
    for ring in rings[1:]:
        nearest = int(((joined - ring[0]) ** 2).sum(axis=1).argmin())
        there, back = joined[: nearest + 1], joined[nearest:]
        joined = np.concatenate([there, ring, ring[:1], back])
    return joined


def _loops(ring: RingArray) -> list[RingArray]:
    """Take a loop off a ring whenever it comes back to a point; what is left is one too."""
    loops: list[RingArray] = []
    path: list[tuple[int, int]] = []
    seen: dict[tuple[int, int], int] = {}
    for x, y in ring.tolist():
        begin = seen.get((x, y))
        if begin is not None:
            loops.append(np.array(path[begin:], dtype=np.int64))
            for point in path[begin:]:
                del seen[point]
            del path[begin:]
        seen[x, y] = len(path)
        path.append((x, y))
    return [*loops, np.array(path, dtype=np.int64)]


def _doubled_area(ring: RingArray) -> int:
    """Return twice the area of a ring, positive where it runs clockwise on the screen."""
    x, y = ring.T
    return int((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())


def _corners(stretches: Stretches) -> Corners:
    """Join the level edges of pixels into straight lines and pair up their ends along columns."""
    x = np.concatenate([stretches.x, stretches.x])
    y = np.concatenate([stretches.top, stretches.bottom])
    opens = np.arange(len(x)) < len(stretches.x)
    order = np.lexsort((x, y))
    x, y, opens = x[order], y[order], opens[order]

    breaks = (y[1:] != y[:-1]) | (x[1:] != x[:-1] + 1) | (opens[1:] != opens[:-1])
    edge = np.ones(min(len(x), 1), dtype=np.bool_)
    begins, ends = np.append(edge, breaks), np.append(breaks, edge)
    x = np.stack([x[begins], x[ends] + 1], axis=1).ravel()
    y, opens = np.repeat(y[begins], 2), np.repeat(opens[begins], 2)

    # Of two corners at one point, the one whose edge has its inside above belongs to the outline
    # that comes from above: this keeps diagonal neighbours apart.
    order = np.lexsort((opens, y, x))
    along = np.empty_like(order)
    along[order[0::2]] = order[1::2]
    along[order[1::2]] = order[0::2]
    return Corners(x, y, opens, along)


def _walks(corners: Corners) -> list[list[int]]:
    """Walk every ring clockwise, from its first corner in reading order."""
    along = corners.along.tolist()
    seen = [False] * len(along)
    walks: list[list[int]] = []
    for first in range(0, len(along), 2):
        if seen[first]:
            continue
        walk: list[int] = []
        here = first
        while not seen[here]:
            there = here ^ 1
            walk += (here, there)
            seen[here] = seen[there] = True
            here = along[there]
        walks.append(walk)
    return walks


def _parents(corners: Corners, walks: list[list[int]]) -> list[int]:
    """Return for each ring the exterior it belongs to; an exterior belongs to itself."""
    firsts = np.array([walk[0] for walk in walks], dtype=np.int64)
    opens = corners.opens[firsts]
    if opens.all():
        return list(range(len(walks)))
    ring = np.empty(len(corners.x), dtype=np.int64)
    ring[np.concatenate(walks)] = np.repeat(np.arange(len(walks)), [len(walk) for walk in walks])

    # Every upright edge, cut into pixels, in reading order, with its ring.
    upper = np.flatnonzero(corners.y < corners.y[corners.along])
    lengths = corners.y[corners.along[upper]] - corners.y[upper]
    down = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    stride = int(corners.x.max()) + 1
    place = (np.repeat(corners.y[upper], lengths) + down) * stride
    place += np.repeat(corners.x[upper], lengths)
    order = np.argsort(place)
    place, owner = place[order], np.repeat(ring[upper], lengths)[order]

    # The pixel above a hole's first edge is of the hole's region; so is all to its left up to the
    # next edge, whose ring starts higher up and so has its exterior known.
    above = (corners.y[firsts] - 1) * stride + corners.x[firsts]
    neighbours = owner[np.searchsorted(place, above, side="right") - 1].tolist()
    exteriors: list[int] = []
    for index, (is_exterior, neighbour) in enumerate(zip(opens.tolist(), neighbours, strict=True)):
        exteriors.append(index if is_exterior else exteriors[neighbour])
    return exteriors
