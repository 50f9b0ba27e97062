"""Masks and prompts drawn over their image, to be looked at by people."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from promptseg.errors import ImageError, MaskError
from promptseg.geometry import Size
from promptseg.masks import RunLength
from promptseg.shapes import (
    BoxArray,
    BoxRow,
    CoverArray,
    ImageArray,
    LabelArray,
    MaskArray,
    PointArray,
    PointRow,
)

Colour = tuple[int, int, int]

# Chosen by eye on photos: neighbours in the list differ in hue and in lightness, and none is the
# green or the red of a point.
PALETTE: tuple[Colour, ...] = (
    (30, 136, 255),
    (255, 176, 0),
    (214, 51, 203),
    (0, 201, 183),
    (255, 110, 64),
    (126, 87, 255),
    (190, 220, 40),
    (255, 105, 160),
    (0, 150, 199),
    (176, 124, 76),
)
INCLUDE: Colour = (34, 197, 94)
EXCLUDE: Colour = (239, 68, 68)
WHITE: Colour = (255, 255, 255)
BLACK: Colour = (0, 0, 0)
GOLDEN = 0.618034


class Marks(NamedTuple):
    """Prompts to be drawn: points with their labels, and boxes, in pixels of the image."""

    points: PointArray
    labels: LabelArray
    boxes: BoxArray


def overlay(
    image: ImageArray | Image.Image,
    masks: Sequence[RunLength],
    *,
    colours: Sequence[Colour] | None = None,
    opacity: float = 0.45,
    marks: Marks | None = None,
) -> Image.Image:
    """Draw masks over their image: a colour inside, a light and a dark line along the edge.

    Small masks lie on large ones. Colours, where not given, come from a palette.

    Raises:
        ImageError: the image is neither Pillow's nor H W 3 uint8.
        MaskError: a mask has another size than the image.
    """
    pixels = image.convert("RGB") if isinstance(image, Image.Image) else image
    canvas = np.array(pixels)
    if canvas.dtype != np.uint8 or canvas.ndim != 3 or canvas.shape[2] != 3:
        raise ImageError(f"an image must be H W 3 uint8, got {canvas.dtype} of {canvas.shape}")
    size = Size(*canvas.shape[:2])
    for mask in masks:
        if mask.size != size:
            raise MaskError(f"the image is {size}, but a mask is {mask.size}")
    chosen = [palette(index) for index in range(len(masks))] if colours is None else colours
    layers = sorted(zip(masks, chosen, strict=True), key=lambda layer: -layer[0].area)
    width = _line_width(size)
    for mask, colour in layers:
        crop, left, top = mask.to_crop()
        _tint(canvas[top : top + crop.shape[0], left : left + crop.shape[1]], crop, colour, opacity)
    for mask, colour in layers:
        _outline(canvas, mask, colour, width=width)
    if marks is not None:
        _draw_marks(canvas, marks, width=width)
    return Image.fromarray(canvas)


def palette(index: int) -> Colour:
    """Return the colour of mask number `index`; those past the list step round the hues."""
    if index < len(PALETTE):
        return PALETTE[index]
    hue = (index * GOLDEN) % 1.0
    red, green, blue = colorsys.hls_to_rgb(hue, 0.42 + 0.16 * (index % 3), 0.85)
    return round(255 * red), round(255 * green), round(255 * blue)


def _line_width(size: Size) -> float:
    """Return how wide a line is that looks the same on images of every size."""
    return max(1.4, math.hypot(*size) / 800)


def _tint(target: ImageArray, inside: MaskArray, colour: Colour, opacity: float) -> None:
    """Mix a colour evenly into the pixels inside, by a table of 256 answers per channel."""
    levels = np.arange(256)
    for channel, value in enumerate(colour):
        table = np.rint(levels * (1 - opacity) + value * opacity).astype(np.uint8)
        plane = target[..., channel]
        np.copyto(plane, table[plane], where=inside)


def _outline(canvas: ImageArray, mask: RunLength, colour: Colour, *, width: float) -> None:
    """Draw a dark line just outside the mask and a light one just inside."""
    if not mask.area:
        return
    margin = math.ceil(width) + 2
    crop, left, top = mask.to_crop()
    depth = _depth(np.pad(crop, margin), margin)
    left, top = left - margin, top - margin
    outer = np.clip(depth + width + 0.5, 0, 1) * np.clip(0.5 - depth, 0, 1)
    inner = np.clip(width + 0.5 - depth, 0, 1) * np.clip(depth + 0.5, 0, 1)
    _blend(canvas, 0.75 * outer, _mix(colour, BLACK, 0.85), left=left, top=top)
    _blend(canvas, inner, _mix(colour, WHITE, 0.75), left=left, top=top)


def _depth(inside: MaskArray, reach: int) -> CoverArray:
    """Return how deep each pixel lies inside, negative outside, smoothed, as far as `reach`.

    The mask keeps `reach` pixels away from the border.
    """
    middle = inside[1:-1, 1:-1]
    buried = inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:]
    y, x = np.nonzero(middle & ~buried)
    y, x = y + 1, x + 1
    distance = np.full(inside.shape, reach + 1, dtype=np.float32)
    steps = range(-reach, reach + 1)
    offsets = [(math.hypot(down, right), down, right) for down in steps for right in steps]
    # The nearest come last and so overwrite the farther ones.
    for length, down, right in sorted(offsets, reverse=True):
        if length <= reach:
            distance[y + down, x + right] = length
    depth: CoverArray = np.where(inside, distance + np.float32(0.5), np.float32(0.5) - distance)
    # A binomial blur takes the stairs out of slanted edges.
    depth[1:-1] = (depth[:-2] + 2 * depth[1:-1] + depth[2:]) / 4
    depth[:, 1:-1] = (depth[:, :-2] + 2 * depth[:, 1:-1] + depth[:, 2:]) / 4
    return depth


def _draw_marks(canvas: ImageArray, marks: Marks, *, width: float) -> None:
    """Draw boxes, then points over them: each light with a dark rim, so as to show on any photo."""
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
    _blend(canvas, cover.astype(np.float32), colour, left=left, top=top)


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
    _blend(canvas, cover.astype(np.float32), colour, left=left, top=top)


def _blend(canvas: ImageArray, cover: CoverArray, colour: Colour, *, left: int, top: int) -> None:
    """Mix a colour into part of the canvas, as much as `cover` says, cutting what sticks out."""
    height, width = canvas.shape[:2]
    bottom, right = min(top + cover.shape[0], height), min(left + cover.shape[1], width)
    cover = cover[max(-top, 0) : bottom - top, max(-left, 0) : right - left]
    target = canvas[max(top, 0) : bottom, max(left, 0) : right]
    y, x = np.nonzero(cover)
    share = cover[y, x, None]
    mixed = target[y, x] * (1 - share) + np.array(colour, dtype=np.float32) * share
    target[y, x] = np.rint(mixed).astype(np.uint8)


def _mix(colour: Colour, other: Colour, share: float) -> Colour:
    red, green, blue = (
        round(one * (1 - share) + two * share) for one, two in zip(colour, other, strict=True)
    )
    return red, green, blue
