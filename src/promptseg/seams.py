"""Masks of overlapping tiles, merged into one answer for the whole image.

1. What the overview shows of things larger than a tile comes first, then what a tile shows whole,
   then what is joined across seams, then, unless it is unwanted, what is left of things that a
   tile cuts off; in each of these what has a higher score.
2. A mask is another view of what comes before it, and left out, where the two agree as far as its
   own tiles go: where their IoU there is at least `Tiling.repeat`. A part of a larger thing stays,
   because there it is smaller than that thing; a fragment of it goes.
3. Masks that two tiles cut off are joined where they agree in what the tiles share: where their
   IoU there is at least `Tiling.join`. A mask is joined with one mask of another tile at most, the
   pair that agree most first.
4. Masks of one tile are never compared: the model has told them apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from promptseg.geometry import PixelBox, Size
from promptseg.masks import RunLength, overlaps, union
from promptseg.results import Masks
from promptseg.shapes import OverlapArray
from promptseg.tiles import Tiling, around, common, cut_sides, seen


class Part(NamedTuple):
    """What was found in one tile: where the tile lies, and its masks at the size of the image."""

    window: PixelBox
    masks: Masks


class Pair(NamedTuple):
    """Two that belong together, by their numbers in two lists."""

    one: int
    other: int


@dataclass(frozen=True, eq=False)
class Thing:
    """One region at the size of the image; `row` is the mask whose columns it has.

    `tiles` are those that saw it, none where the overview did.
    """

    run: RunLength
    row: int
    score: float
    tiles: frozenset[int]


def merge(overview: Masks, parts: Sequence[Part], tiling: Tiling) -> Masks:
    """Merge the masks of tiles and those of an overview, by the rules above, best first.

    A joined mask has the mean score of its pieces by area, and the other columns of the largest.

    Raises:
        MaskError: the masks are not of one size.
    """
    found = Masks.concatenate([overview, *(part.masks for part in parts)])
    tiles = np.repeat(np.arange(-1, len(parts)), [len(overview), *(len(p.masks) for p in parts)])
    things = [
        Thing(run, row, float(score), frozenset([tile] if tile >= 0 else []))
        for row, (run, score, tile) in enumerate(
            zip(found.runs, found.scores, tiles.tolist(), strict=True)
        )
        if run.area
    ]
    windows = [part.window for part in parts]
    kept = Kept(windows, tiling.repeat)
    for thing in _best_first([thing for thing in things if not thing.tiles]):
        kept.add(thing)
    pieces = [thing for thing in things if thing.tiles]
    cut = [_is_cut(piece, windows, found.size) for piece in pieces]
    kept.add_new([piece for piece, is_cut in zip(pieces, cut, strict=True) if not is_cut])
    # A fragment of what is there already is left out before it can be joined with others of them.
    fragments = [
        piece for piece, is_cut in zip(pieces, cut, strict=True) if is_cut and not kept.shows(piece)
    ]
    groups = joined(fragments, windows, tiling.join)
    kept.add_new([_as_one(group) for group in groups if len(group) > 1])
    if tiling.fragments:
        kept.add_new([group[0] for group in groups if len(group) == 1])
    return _as_masks(_best_first(kept.things), found)


def joined(pieces: Sequence[Thing], windows: Sequence[PixelBox], least: float) -> list[list[Thing]]:
    """Gather pieces that their tiles cut off into groups of one thing each, in order.

    Pieces of two tiles belong together by rule 3; so do all that are linked by such pairs.
    """
    leader = list(range(len(pieces)))

    def led_by(piece: int) -> int:
        while leader[piece] != piece:
            leader[piece] = leader[leader[piece]]
            piece = leader[piece]
        return piece

    of_tile: dict[int, list[int]] = {}
    for number, piece in enumerate(pieces):
        (tile,) = piece.tiles
        of_tile.setdefault(tile, []).append(number)
    for one, other in _neighbours(windows):
        strip = common(windows[one], windows[other])
        assert strip is not None
        here = _in_strip(pieces, of_tile.get(one, []), strip)
        there = _in_strip(pieces, of_tile.get(other, []), strip)
        agreement = overlaps(list(here.values()), list(there.values()))
        for pair in partners(agreement, least=least):
            first, second = list(here)[pair.one], list(there)[pair.other]
            leader[led_by(second)] = led_by(first)
    groups: dict[int, list[Thing]] = {}
    for number, piece in enumerate(pieces):
        groups.setdefault(led_by(number), []).append(piece)
    return list(groups.values())


def partners(agreement: OverlapArray, *, least: float) -> list[Pair]:
    """Pair rows with columns, each at most once, those that agree most first; ties by order."""
    rows, columns = np.nonzero(agreement >= least)
    order = np.argsort(-agreement[rows, columns], kind="stable")
    pairs: list[Pair] = []
    taken_rows: set[int] = set()
    taken_columns: set[int] = set()
    for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if row not in taken_rows and column not in taken_columns:
            taken_rows.add(row)
            taken_columns.add(column)
            pairs.append(Pair(row, column))
    return pairs


class Kept:
    """Things that are in the answer so far; `shows` says whether one is there already (rule 2)."""

    def __init__(self, windows: Sequence[PixelBox], repeat: float) -> None:
        self.things: list[Thing] = []
        self._windows = windows
        self._corners = np.array(windows, dtype=np.int64).reshape(-1, 4)
        self._repeat = repeat
        self._in_tile: list[list[int]] = [[] for _ in windows]
        self._seen: dict[tuple[int, PixelBox], RunLength] = {}

    def add(self, thing: Thing) -> None:
        """Put a thing into the answer."""
        for tile in _meeting(self._corners, thing.run.box).tolist():
            self._in_tile[tile].append(len(self.things))
        self.things.append(thing)

    def add_new(self, things: Sequence[Thing]) -> None:
        """Put things into the answer, best first, that it does not show yet."""
        for thing in _best_first(things):
            if not self.shows(thing):
                self.add(thing)

    def shows(self, thing: Thing) -> bool:
        """Whether a thing in the answer, seen by other tiles, agrees with this one in its tiles."""
        window = around([self._windows[tile] for tile in thing.tiles])
        near = sorted({number for tile in thing.tiles for number in self._in_tile[tile]})
        others = [
            number
            for number in near
            if not self.things[number].tiles & thing.tiles
            and common(self.things[number].run.box, thing.run.box)
        ]
        if not others:
            return False
        shown = [self._within(number, window) for number in others]
        agreement = overlaps([seen(thing.run, window)], shown)
        return bool(agreement.max() >= self._repeat)

    def _within(self, number: int, window: PixelBox) -> RunLength:
        key = (number, window)
        if key not in self._seen:
            self._seen[key] = seen(self.things[number].run, window)
        return self._seen[key]


def _neighbours(windows: Sequence[PixelBox]) -> Iterator[Pair]:
    """Go through all pairs of windows that share pixels."""
    corners = np.array(windows, dtype=np.int64).reshape(-1, 4)
    for one, window in enumerate(windows):
        following = _meeting(corners[one + 1 :], window)
        yield from (Pair(one, one + 1 + other) for other in following.tolist())


def _meeting(corners: np.ndarray, box: PixelBox) -> np.ndarray:
    """Return which of some boxes share pixels with one."""
    x0, y0, x1, y1 = corners.T
    return np.flatnonzero((x0 < box.x1) & (box.x0 < x1) & (y0 < box.y1) & (box.y0 < y1))


def _in_strip(
    pieces: Sequence[Thing], numbers: Sequence[int], strip: PixelBox
) -> dict[int, RunLength]:
    """Return what a strip shows of some pieces, without those of which it shows nothing."""
    near = [number for number in numbers if common(pieces[number].run.box, strip)]
    shown = {number: seen(pieces[number].run, strip) for number in near}
    return {number: run for number, run in shown.items() if run.area}


def _is_cut(piece: Thing, windows: Sequence[PixelBox], size: Size) -> bool:
    return any(any(cut_sides(piece.run.box, windows[tile], size)) for tile in piece.tiles)


def _as_one(group: Sequence[Thing]) -> Thing:
    areas = [piece.run.area for piece in group]
    return Thing(
        run=union([piece.run for piece in group]),
        row=group[int(np.argmax(areas))].row,
        score=float(np.average([piece.score for piece in group], weights=areas)),
        tiles=frozenset().union(*(piece.tiles for piece in group)),
    )


def _best_first(things: Sequence[Thing]) -> list[Thing]:
    return sorted(things, key=lambda thing: -thing.score)


def _as_masks(things: Sequence[Thing], found: Masks) -> Masks:
    chosen = found[[thing.row for thing in things]]
    return replace(
        chosen,
        runs=tuple(thing.run for thing in things),
        scores=np.array([thing.score for thing in things], dtype=np.float32),
        objects=np.arange(len(things)),
    )
