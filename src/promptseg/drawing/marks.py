"""Prompts drawn as dots and frames, light with a dark rim, so as to show on any photo."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from promptseg.drawing.colours import BLACK, EXCLUDE, INCLUDE, WHITE, Colour
from promptseg.drawing.paint import blend
from promptseg.shapes import BoxArray, BoxRow, ImageArray, LabelArray, PointArray, PointRow


class Marks(NamedTuple):
    """Prompts to be drawn: points with their labels, and boxes, in pixels of the image."""

    points: PointArray
    labels: LabelArray
    boxes: BoxArray


def draw(canvas: ImageArray, marks: Marks, *, width: float) -> None:
    """Draw boxes, then points over them, with lines of `width` pixels."""
    for box in marks.boxes:
        _draw_box(canvas, box, BLACK, width=2.2 * width, strength=0.55)
        _draw_box(canvas, box, WHITE, width=width)
    radius = 3.2 * width
    for point, label in zip(marks.points, marks.labels, strict=True):
        _draw_dot(canvas, point, BLACK, radius=radius + 1.6 * width, strength=0.55)
        _draw_dot(canvas, point, WHITE, radius=radius + width)
        _draw_dot(canvas, point, INCLUDE if label == 1 else EXCLUDE, radius=radius)


def _draw_dot(
    canvas: ImageArray, point: PointRow, colour: Colour, *, radius: float, strength: float = 1.0
) -> None:
    reach = math.ceil(radius) + 1
    left, top = math.floor(point[0]) - reach, math.floor(point[1]) - reach
    # A pixel's centre lies half a pixel from its corner.
    across = np.arange(left, left + 2 * reach + 1) + 0.5 - point[0]
    down = np.arange(top, top + 2 * reach + 1) + 0.5 - point[1]
    cover = np.clip(radius + 0.5 - np.hypot(down[:, None], across), 0, 1) * strength
    blend(canvas, cover.astype(np.float32), colour, left=left, top=top)


def _draw_box(
    canvas: ImageArray, box: BoxRow, colour: Colour, *, width: float, strength: float = 1.0
) -> None:
    half = width / 2
    x0, y0, x1, y1 = box.tolist()
    height, breadth = canvas.shape[:2]
    # What lies outside the picture is not drawn: a box may be as large as it likes.
    left, top = max(math.floor(x0 - half), 0), max(math.floor(y0 - half), 0)
    x = np.arange(left, min(math.ceil(x1 + half), breadth)) + 0.5
    y = np.arange(top, min(math.ceil(y1 + half), height)) + 0.5
    # Distance to the frame, as the larger of how far outside each pair of sides a pixel is.
    beyond = np.maximum(np.maximum(x0 - x, x - x1)[None], np.maximum(y0 - y, y - y1)[:, None])
    cover = np.clip(half + 0.5 - np.abs(beyond), 0, 1) * strength
    blend(canvas, cover.astype(np.float32), colour, left=left, top=top)
