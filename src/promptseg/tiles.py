"""Parts of a large image: which to look at, and how prompts and masks move in and out of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import NamedTuple

import numpy as np

from promptseg.errors import ConfigError
from promptseg.geometry import Box, PixelBox, Size
from promptseg.masks import RunLength
from promptseg.polygons import Stretches
from promptseg.prompts import MaskHint, Points, Prompt
from promptseg.shapes import BoxArray, PointArray

# Two of the 256 cells on which SAM 2 draws masks.
EDGE_SHARE = 128


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """How a large image is looked at in parts, and when two masks are of one thing.

    Raises:
        ConfigError: a value is of the wrong kind or out of range.
    """

    side: int = field(
        default=2048, metadata={"help": "Side of a tile, in pixels; memory is bounded by it."}
    )
    overlap: int | None = field(
        default=None,
        metadata={
            "help": "By how many pixels neighbouring tiles overlap, at most half a side. "
            "[default: an eighth of it]"
        },
    )
    join: float = field(
        default=0.5,
        metadata={
            "help": "Least IoU, where two tiles overlap, at which masks that both tiles cut off "
            "are joined."
        },
    )
    repeat: float = field(
        default=0.7,
        metadata={
            "help": "Least IoU, as far as a mask's own tile goes, at which it is left out as "
            "another view of a thing that a better mask shows."
        },
    )
    fragments: bool = field(
        default=True,
        metadata={"help": "Keep what a tile cuts off and no other tile agrees with."},
    )

    def __post_init__(self) -> None:
        for name in ("side", "overlap"):
            value = getattr(self, name)
            if name == "overlap" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, Integral):
                raise ConfigError(f"`{name}` must be a whole number, got {value!r}")
        if self.side < 2:
            raise ConfigError(f"`side` is at least 2, got {self.side}")
        if not 1 <= self.shared <= self.side // 2:
            raise ConfigError(
                f"`overlap` is 1 to half the side of a tile, got {self.overlap} of {self.side}"
            )
        if not isinstance(self.fragments, bool):
            raise ConfigError(f"`fragments` must be true or false, got {self.fragments!r}")
        for name in ("join", "repeat"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) <= 1:
                raise ConfigError(f"`{name}` is above 0 and at most 1, got {value!r}")

    @property
    def shared(self) -> int:
        """`overlap`, or an eighth of the side."""
        return max(self.side // 8, 1) if self.overlap is None else self.overlap


class Sides(NamedTuple):
    """Which sides of a window something is cut off at."""

    left: bool
    top: bool
    right: bool
    bottom: bool


@dataclass(frozen=True)
class View:
    """A window of an image as a model sees it: `factor` pixels each way are one pixel of it.

    The last pixel of a row or column stands for what is left there.
    """

    window: PixelBox
    factor: int = 1

    @property
    def size(self) -> Size:
        """How many pixels the model sees."""
        height, width = self.window.size
        return Size(-(-height // self.factor), -(-width // self.factor))

    def points_to_image(self, points: PointArray) -> PointArray:
        """Move (x, y) from pixels of the view to pixels of the image."""
        moved: PointArray = points * self.factor + self.window[:2]
        return moved

    def boxes_to_image(self, boxes: BoxArray) -> BoxArray:
        """Move (x0, y0, x1, y1) from pixels of the view to pixels of the image."""
        moved = boxes * self.factor + np.tile(self.window[:2], 2)
        kept: BoxArray = np.minimum(moved, np.tile(self.window[2:], 2))
        return kept

    def prompt(self, prompt: Prompt) -> Prompt:
        """Move a prompt into the view: what lies outside is left out of it.

        A hint is averaged like the image, and says yes where half of a pixel does; where none
        would be left of it, any share is enough.
        """
        box = prompt.box and self._box(prompt.box)
        points = prompt.points and self._points(prompt.points)
        return Prompt(points=points, box=box, hint=prompt.hint and self._hint(prompt.hint))

    def _points(self, points: Points) -> Points | None:
        moved = (points.coordinates - self.window[:2]) / self.factor
        height, width = self.size
        inside = ((moved >= 0) & (moved < (width, height))).all(axis=1)
        return Points(moved[inside], points.labels[inside]) if inside.any() else None

    def _box(self, box: Box) -> Box:
        moved = (box.as_array() - np.tile(self.window[:2], 2)) / self.factor
        return Box.from_sequence(moved).clip(self.size)

    def _hint(self, hint: MaskHint) -> MaskHint:
        x0, y0, x1, y1 = self.window
        crop = hint.mask[y0:y1, x0:x1]
        if self.factor == 1:
            return MaskHint(crop)
        rows, columns = (np.arange(0, length, self.factor) for length in crop.shape)
        inside = np.add.reduceat(
            np.add.reduceat(crop, rows, axis=0, dtype=np.int64), columns, axis=1
        )
        whole = np.outer(
            np.diff(rows, append=crop.shape[0]), np.diff(columns, append=crop.shape[1])
        )
        half = 2 * inside >= whole
        return MaskHint(half if half.any() else inside > 0)


def cover(size: Size, tiling: Tiling) -> list[PixelBox]:
    """Cover an image with tiles of one size, row by row, that overlap by `overlap` or more.

    They are as few as can be, and evenly spread; a side of the image that fits in one is covered by
    one.
    """
    rows = _starts(size.height, tiling)
    columns = _starts(size.width, tiling)
    height, width = (min(length, tiling.side) for length in size)
    return [PixelBox(x, y, x + width, y + height) for y in rows for x in columns]


def cut_sides(box: PixelBox, window: PixelBox, size: Size) -> Sides:
    """Say at which sides of its window a mask is cut off, told by its box.

    It is where it ends within a 128th of the window from a side beyond which the image goes on.
    """
    height, width = window.size
    across, down = max(1, width // EDGE_SHARE), max(1, height // EDGE_SHARE)
    return Sides(
        left=window.x0 > 0 and box.x0 < window.x0 + across,
        top=window.y0 > 0 and box.y0 < window.y0 + down,
        right=window.x1 < size.width and box.x1 > window.x1 - across,
        bottom=window.y1 < size.height and box.y1 > window.y1 - down,
    )


def first_view(prompt: Prompt, size: Size, tiling: Tiling) -> View:
    """Return where to look first for an object: at a tile around what is said to be on it.

    That is its included points, its box and its hint; only where there are none, its other points.
    They take up at most half of the view, which shows fewer pixels than there are if it must.
    """
    x0, y0, x1, y1 = extent(prompt, size)
    across, down = (x1 - x0) // 4, (y1 - y0) // 4
    room = PixelBox(x0 - across, y0 - down, x1 + across, y1 + down)
    return _view_of(room, size, tiling, least=1)


def wider_view(view: View, box: PixelBox, cut: Sides, size: Size, tiling: Tiling) -> View:
    """Return where to look next for an object of which a view shows only a part.

    `box` holds the prompt and what was seen so far. It is widened by a quarter of the view at each
    side where the object was cut off; the next view has it in its middle, and shows fewer pixels
    than there are, or fewer still, once it would not fit.
    """
    height, width = view.window.size
    room = PixelBox(
        box.x0 - cut.left * -(-width // 4),
        box.y0 - cut.top * -(-height // 4),
        box.x1 + cut.right * -(-width // 4),
        box.y1 + cut.bottom * -(-height // 4),
    )
    return _view_of(room, size, tiling, least=view.factor)


def whole_view(size: Size, tiling: Tiling) -> View:
    """Return the whole image, reduced to at most a tile's side each way."""
    return View(PixelBox(0, 0, size.width, size.height), -(-max(size) // tiling.side))


def extent(prompt: Prompt, size: Size) -> PixelBox:
    """Return the box of what a prompt says is on the object, or else of what it says is not."""
    boxes = []
    if prompt.box is not None:
        x0, y0, x1, y1 = prompt.box.clip(size).as_array()
        boxes.append(PixelBox(int(x0), int(y0), math.ceil(x1), math.ceil(y1)))
    if prompt.hint is not None and not prompt.hint.is_empty:
        rows, columns = (np.flatnonzero(prompt.hint.mask.any(axis=axis)) for axis in (1, 0))
        boxes.append(
            PixelBox(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
        )
    if prompt.points is not None:
        on = prompt.points.labels == 1
        chosen = prompt.points.coordinates[on if on.any() or boxes else ~on]
        boxes += [PixelBox(int(x), int(y), int(x) + 1, int(y) + 1) for x, y in chosen]
    return around(boxes)


def moved(mask: RunLength, *, left: int, top: int, size: Size) -> RunLength:
    """Move a mask to (left, top) of an image of another size, and cut off what lies outside.

    Negative numbers cut a window out. This costs the mask's runs, not its pixels.
    """
    x, starts, stops = mask.stretches
    starts, stops = (np.clip(rows + top, 0, size.height) for rows in (starts, stops))
    inside = (x >= -left) & (x < size.width - left) & (starts < stops)
    kept = Stretches(x[inside] + left, starts[inside], stops[inside])
    return RunLength.from_stretches(kept, size)


def seen(mask: RunLength, window: PixelBox) -> RunLength:
    """Return what a window shows of a mask, at the size of the window."""
    return moved(mask, left=-window.x0, top=-window.y0, size=window.size)


def common(window: PixelBox, other: PixelBox) -> PixelBox | None:
    """Return what two windows share, or None where they share nothing."""
    x0, y0 = max(window.x0, other.x0), max(window.y0, other.y0)
    x1, y1 = min(window.x1, other.x1), min(window.y1, other.y1)
    return PixelBox(x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None


def around(boxes: Sequence[PixelBox]) -> PixelBox:
    """Return the smallest box that holds all of at least one."""
    x0, y0, x1, y1 = zip(*boxes, strict=True)
    return PixelBox(min(x0), min(y0), max(x1), max(y1))


def _starts(length: int, tiling: Tiling) -> list[int]:
    """Where the tiles along one side of an image begin."""
    last = length - tiling.side
    if last <= 0:
        return [0]
    steps = -(-last // (tiling.side - tiling.shared))
    return [last * step // steps for step in range(steps + 1)]


def _view_of(room: PixelBox, size: Size, tiling: Tiling, *, least: int) -> View:
    """Return the view that has a box in its middle three quarters, at the least factor it can.

    It begins at a multiple of a quarter of its side, so that objects near to each other share one.
    """
    factor = max(least, -(-4 * max(room.size) // (3 * tiling.side)))
    if factor * tiling.side >= max(size):
        return whole_view(size, tiling)
    x0, width = _begin(room.x0 + room.x1, size.width, factor * tiling.side)
    y0, height = _begin(room.y0 + room.y1, size.height, factor * tiling.side)
    return View(PixelBox(x0, y0, x0 + width, y0 + height), factor)


def _begin(twice_the_middle: int, length: int, side: int) -> tuple[int, int]:
    """Where a stretch of `side` pixels begins within `length`, and how long it is there."""
    step = max(1, side // 4)
    begin = (twice_the_middle - side + step) // (2 * step) * step
    return max(0, min(begin, length - side)), min(side, length)
