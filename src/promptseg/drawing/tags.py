"""What a mask is of, written on a tag of its colour where most of it can be seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw

from promptseg.drawing import letters
from promptseg.drawing.colours import BLACK, WHITE, Colour, mix
from promptseg.drawing.numbers import middles
from promptseg.geometry import PixelBox, Size
from promptseg.masks import RunLength

# Letters are so many pixels high, or so large a share of the picture's diagonal; between the two a
# tag grows with its mask. Chosen by eye on photos of 400 and of 4000 pixels.
LEAST, LEAST_SHARE = 11, 1 / 90
MOST, MOST_SHARE = 16, 1 / 50
# A tag is at most so large a share of the picture's width; a longer text loses its middle.
WIDEST = 0.4
# How much of the tag's colour is black, so that white letters stand out on each of the palette.
DARK = 0.55


class Tag(NamedTuple):
    """A line of text, how high its letters are, and the tag that it stands on."""

    text: str
    height: int
    box: PixelBox
    mask: int


def texts(labels: Sequence[str], *, numbers: bool) -> list[str]:
    """Return what stands on the tag of each mask: its label, after its number if so asked."""
    if not numbers:
        return list(labels)
    return [f"{number} {label}".rstrip() for number, label in enumerate(labels)]


def draw(
    picture: Image.Image,
    masks: Sequence[RunLength],
    written: Sequence[str],
    colours: Sequence[Colour],
) -> None:
    """Write a text on each mask, in white on a dark tag of the mask's colour.

    Raises:
        MissingExtraError: this build of Pillow cannot draw fonts.
    """
    pen = ImageDraw.Draw(picture)
    for tag in place(masks, written):
        x0, y0, x1, y1 = tag.box
        font = letters.font(tag.height)
        ground = mix(colours[tag.mask], BLACK, DARK)
        pen.rounded_rectangle((x0, y0, x1 - 1, y1 - 1), radius=tag.height // 3, fill=ground)
        base = y0 + _padding(tag.height) + _ascent(tag.height)
        pen.text((x0 + _padding(tag.height), base), tag.text, WHITE, font, anchor="ls")


def place(masks: Sequence[RunLength], written: Sequence[str]) -> list[Tag]:
    """Lay a tag on the middle of each mask that has a text and is seen, the largest masks first.

    A tag may reach beyond its mask, but neither out of the picture nor over another tag: a mask
    whose tag would has none.
    """
    spots = middles(masks)
    laid: list[Tag] = []
    for index in sorted(spots, key=lambda index: -masks[index].area):
        if not written[index]:
            continue
        x, y, radius = spots[index]
        size = masks[index].size
        height = _height(radius, size)
        font = letters.font(height)
        text = letters.shorten(written[index], font, width=WIDEST * size.width)
        span = Size(
            _ascent(height) + _descent(height) + 2 * _padding(height),
            math.ceil(font.getlength(text)) + 2 * _padding(height),
        )
        box = _round(x, y, span, size)
        if box and not any(_meet(box, other.box) for other in laid):
            laid.append(Tag(text, height, box, index))
    return laid


def _height(radius: float, size: Size) -> int:
    """Choose how high letters are on a mask with so much room: readable, and not in the way."""
    diagonal = math.hypot(*size)
    least, most = max(LEAST, LEAST_SHARE * diagonal), max(MOST, MOST_SHARE * diagonal)
    return round(min(max(radius / 2, least), most))


def _padding(height: int) -> int:
    return max(2, height // 4)


def _ascent(height: int) -> int:
    """Return how far capital letters reach above the line, in Pillow's font."""
    return math.ceil(0.75 * height)


def _descent(height: int) -> int:
    """Return how far letters such as p reach below the line, in Pillow's font."""
    return math.ceil(0.25 * height)


def _round(x: float, y: float, span: Size, size: Size) -> PixelBox | None:
    """Lay a box round a place, moved into the picture; None where it is larger than that."""
    if span.height > size.height or span.width > size.width:
        return None
    left = min(max(round(x - span.width / 2), 0), size.width - span.width)
    top = min(max(round(y - span.height / 2), 0), size.height - span.height)
    return PixelBox(left, top, left + span.width, top + span.height)


def _meet(one: PixelBox, other: PixelBox) -> bool:
    across = one.x0 < other.x1 and other.x0 < one.x1
    return across and one.y0 < other.y1 and other.y0 < one.y1
