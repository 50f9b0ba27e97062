"""The overlay: an image with its masks drawn over it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from promptseg.drawing import marks as prompts
from promptseg.drawing import numbers as digits
from promptseg.drawing import outlines, tags
from promptseg.drawing.colours import Colour, apart
from promptseg.drawing.marks import Marks
from promptseg.drawing.paint import tint
from promptseg.errors import ImageError, MaskError
from promptseg.geometry import Size
from promptseg.masks import RunLength
from promptseg.shapes import ImageArray

# Axes are those of the image.
LayerArray = np.ndarray


def overlay(
    image: ImageArray | Image.Image,
    masks: Sequence[RunLength],
    *,
    colours: Sequence[Colour] | None = None,
    opacity: float = 0.45,
    marks: Marks | None = None,
    numbers: bool = False,
    labels: Sequence[str] | None = None,
) -> Image.Image:
    """Draw masks over their image: a colour inside, a light and a dark line along the edge.

    Small masks lie on large ones, whose lines are faint there. Colours, where not given, come from
    a palette, such that masks which touch or overlap differ. `numbers` writes i on the mask that is
    `masks[i]`, where there is room for it. `labels`, one for each mask and empty where there is
    none, are written on tags, and masks of one label have one colour.

    Raises:
        ImageError: the image is neither Pillow's nor H W 3 uint8.
        MaskError: a mask has another size than the image, or there is no label for each.
        MissingExtraError: something is to be written, and this build of Pillow has no letters.
    """
    pixels = image.convert("RGB") if isinstance(image, Image.Image) else image
    canvas = np.array(pixels)
    if canvas.dtype != np.uint8 or canvas.ndim != 3 or canvas.shape[2] != 3:
        raise ImageError(f"an image must be H W 3 uint8, got {canvas.dtype} of {canvas.shape}")
    size = Size(*canvas.shape[:2])
    for mask in masks:
        if mask.size != size:
            raise MaskError(f"the image is {size}, but a mask is {mask.size}")
    if labels is not None and len(labels) != len(masks):
        raise MaskError(f"{len(masks)} masks, but {len(labels)} labels")
    chosen = apart(masks, labels) if colours is None else colours
    layers = sorted(zip(masks, chosen, strict=True), key=lambda layer: -layer[0].area)
    width = line_width(size)
    margin = outlines.reach(width)
    seen = np.full([side + 2 * margin for side in size], -1, np.int32)
    _fill(canvas, layers, opacity, seen[margin:-margin, margin:-margin])
    for number, (mask, colour) in enumerate(layers):
        thin = _fitting(width, mask)
        around = _around(mask, margin=margin, beyond=outlines.reach(thin))
        outlines.draw(canvas, mask, colour, width=thin, covered=seen[around] > number)
    if marks is not None:
        prompts.draw(canvas, marks, width=width)
    picture = Image.fromarray(canvas)
    if labels is not None and any(labels):
        tags.draw(picture, masks, tags.texts(labels, numbers=numbers), chosen)
    elif numbers:
        digits.draw(picture, masks)
    return picture


def _fill(
    canvas: ImageArray,
    layers: Sequence[tuple[RunLength, Colour]],
    opacity: float,
    seen: LayerArray,
) -> None:
    """Give each pixel the colour of the last layer that has it, so that no two colours mix.

    `seen`, -1 everywhere, gets the number of that layer.
    """
    for number, (mask, colour) in reversed(list(enumerate(layers))):
        crop, left, top = mask.to_crop()
        window = slice(top, top + crop.shape[0]), slice(left, left + crop.shape[1])
        fresh = crop & (seen[window] < 0)
        tint(canvas[window], fresh, colour, opacity)
        np.copyto(seen[window], number, where=fresh)


def _around(mask: RunLength, *, margin: int, beyond: int) -> tuple[slice, slice]:
    """Return where a mask's box and so many pixels beyond lie in an array with a margin."""
    x0, y0, x1, y1 = mask.box
    less, more = margin - beyond, margin + beyond
    return slice(y0 + less, y1 + more), slice(x0 + less, x1 + more)


def line_width(size: Size) -> float:
    """Return how wide a line is that looks the same on images of every size."""
    return max(1.4, math.hypot(*size) / 800)


def _fitting(width: float, mask: RunLength) -> float:
    """Return a thinner line for a mask that is itself not much wider than one."""
    return min(width, max(0.7, math.sqrt(mask.area) / 25))
