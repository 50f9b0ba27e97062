"""The two lines along the edge of a mask, dark outside and light inside."""

from __future__ import annotations

import math

import numpy as np

from promptseg.drawing.colours import BLACK, WHITE, Colour, mix
from promptseg.drawing.paint import blend
from promptseg.masks import RunLength
from promptseg.shapes import CoverArray, ImageArray, MaskArray

# Pixels along a side of what is worked on at once: small enough to stay in a processor's cache.
TILE = 384
# How strong lines are under other masks: enough to follow one, too little to be taken for theirs.
FAINT = 0.25


def draw(
    canvas: ImageArray,
    mask: RunLength,
    colour: Colour,
    *,
    width: float,
    covered: MaskArray | None = None,
    tile: int = TILE,
) -> None:
    """Draw a dark line just outside the mask and a light one just inside, each of `width` pixels.

    Where `covered`, a part of the canvas as large as the mask's box and `reach(width)` pixels
    beyond each side, the lines are faint. Beside the mask itself, work and memory are those of the
    tiles that its edge passes through.
    """
    if not mask.area:
        return
    crop, left, top = mask.to_crop()
    beyond = reach(width)
    padded = np.pad(crop, 2 * beyond + 2)
    height, breadth = crop.shape[0] + 2 * beyond, crop.shape[1] + 2 * beyond
    for y in range(0, height, tile):
        for x in range(0, breadth, tile):
            bottom, right = min(y + tile, height), min(x + tile, breadth)
            part = padded[y : bottom + 2 * beyond + 4, x : right + 2 * beyond + 4]
            if not part.any() or part.all():
                continue
            depth = _depth(part, beyond)
            outer = 0.75 * np.clip(depth + width + 0.5, 0, 1) * np.clip(0.5 - depth, 0, 1)
            inner = np.clip(width + 0.5 - depth, 0, 1) * np.clip(depth + 0.5, 0, 1)
            if covered is not None:
                under = covered[y:bottom, x:right]
                outer[under] *= FAINT
                inner[under] *= FAINT
            place = {"left": left - beyond + x, "top": top - beyond + y}
            blend(canvas, outer, mix(colour, BLACK, 0.85), **place)
            blend(canvas, inner, mix(colour, WHITE, 0.75), **place)


def reach(width: float) -> int:
    """Return how many pixels from the edge anything is drawn or looked at."""
    return math.ceil(width) + 2


def _depth(part: MaskArray, far: int) -> CoverArray:
    """Return how deep each pixel lies inside, negative outside, smoothed, as far as `far`.

    The answer leaves out `far + 2` pixels on each side of the part, which only have a say.
    """
    inside = part[1:-1, 1:-1]
    buried = part[:-2, 1:-1] & part[2:, 1:-1] & part[1:-1, :-2] & part[1:-1, 2:]
    edge = np.pad(inside & ~buried, far)
    places = np.flatnonzero(edge)
    distance = np.full(edge.shape, far + 1, dtype=np.float32)
    flat, stride = distance.reshape(-1), edge.shape[1]
    steps = range(-far, far + 1)
    offsets = [
        (math.hypot(down, right), down * stride + right) for down in steps for right in steps
    ]
    # The nearest come last and so overwrite the farther ones.
    for length, offset in sorted(offsets, reverse=True):
        if length <= far:
            flat[places + offset] = length
    near = distance[far:-far, far:-far]
    depth: CoverArray = np.where(inside, near + np.float32(0.5), np.float32(0.5) - near)
    # A binomial blur takes the stairs out of slanted edges.
    depth = (depth[:-2] + 2 * depth[1:-1] + depth[2:]) / 4
    depth = (depth[:, :-2] + 2 * depth[:, 1:-1] + depth[:, 2:]) / 4
    return depth[far:-far, far:-far]
