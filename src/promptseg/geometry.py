"""Sizes, boxes, and how an image sits in a model's square: the only code that moves coordinates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import NamedTuple

import numpy as np

from promptseg.errors import PromptError
from promptseg.shapes import BoxArray, BoxRow, PointArray

BOX_HINT = "Boxes are (x0, y0, x1, y1) in pixels of the image you passed"


class Size(NamedTuple):
    """How large an image or a mask is, in pixels."""

    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.width} x {self.height} (width x height)"


class PixelBox(NamedTuple):
    """The box of a mask in whole pixels, half-open: `x1`, `y1` are one past the last.

    An empty mask has four zeros.
    """

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def size(self) -> Size:
        """How many pixels the box spans each way."""
        return Size(self.y1 - self.y0, self.x1 - self.x0)


@dataclass(frozen=True)
class Box:
    """A box around an object, in absolute pixels, floats.

    Raises:
        PromptError: a corner is not a finite number, or the box has no inside.
    """

    x0: float
    y0: float
    x1: float
    y1: float

    def __post_init__(self) -> None:
        for name, value in vars(self).copy().items():
            object.__setattr__(self, name, _corner(name, value))
        if not (self.x0 < self.x1 and self.y0 < self.y1):
            raise PromptError(f"a box needs x0 < x1 and y0 < y1, got {self}", hint=BOX_HINT)

    @classmethod
    def from_sequence(cls, numbers: Sequence[float] | BoxRow) -> Box:
        """Make a box of exactly four numbers."""
        values = list(numbers)
        if len(values) != 4:
            raise PromptError(f"a box needs 4 numbers, got {len(values)}", hint=BOX_HINT)
        return cls(*values)

    def require_overlap(self, size: Size) -> None:
        """Refuse a box that has no pixel in common with an image of `size`."""
        if self.x1 <= 0 or self.y1 <= 0 or self.x0 >= size.width or self.y0 >= size.height:
            raise PromptError(
                f"the box {self} lies outside the image, which is {size}", hint=BOX_HINT
            )

    def clip(self, size: Size) -> Box:
        """Return the part of the box that lies in an image of `size`."""
        self.require_overlap(size)
        return Box(
            max(self.x0, 0.0),
            max(self.y0, 0.0),
            min(self.x1, float(size.width)),
            min(self.y1, float(size.height)),
        )

    def as_array(self) -> BoxRow:
        """Return (x0, y0, x1, y1) as float64."""
        return np.array(astuple(self), dtype=np.float64)

    def __str__(self) -> str:
        return f"({self.x0:g}, {self.y0:g}, {self.x1:g}, {self.y1:g})"


@dataclass(frozen=True)
class Placement:
    """How an image sits in a model's square of `side` pixels: squashed to fill it, never padded."""

    image: Size
    side: int

    def points_to_model(self, points: PointArray) -> PointArray:
        """Move (x, y) from pixels of the image to pixels of the square."""
        moved: PointArray = np.asarray(points, dtype=np.float64) * self._scale()
        return moved

    def points_to_image(self, points: PointArray) -> PointArray:
        """Move (x, y) from pixels of the square to pixels of the image."""
        moved: PointArray = np.asarray(points, dtype=np.float64) / self._scale()
        return moved

    def boxes_to_model(self, boxes: BoxArray) -> BoxArray:
        """Move (x0, y0, x1, y1) from pixels of the image to pixels of the square."""
        moved: BoxArray = np.asarray(boxes, dtype=np.float64) * np.tile(self._scale(), 2)
        return moved

    def boxes_to_image(self, boxes: BoxArray) -> BoxArray:
        """Move (x0, y0, x1, y1) from pixels of the square to pixels of the image."""
        moved: BoxArray = np.asarray(boxes, dtype=np.float64) / np.tile(self._scale(), 2)
        return moved

    def _scale(self) -> np.ndarray:
        return np.array([self.side / self.image.width, self.side / self.image.height])


def _corner(name: str, value: object) -> float:
    try:
        if isinstance(value, (str, bytes, bool, np.bool_, np.complexfloating)):
            raise TypeError(value)
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        raise PromptError(f"a box needs numbers, got {name} = {value!r}", hint=BOX_HINT) from None
    if not math.isfinite(number):
        raise PromptError(f"a box needs finite numbers, got {name} = {number}", hint=BOX_HINT)
    return number
