"""Many images on one page, each a small overlay with its name and how many masks it has."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from numbers import Integral
from operator import length_hint
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from promptseg import drawing
from promptseg.drawing import letters
from promptseg.drawing.coverage import shrink
from promptseg.errors import ConfigError, MaskError, OutputError
from promptseg.geometry import Size
from promptseg.io import images
from promptseg.io.files import write_atomically
from promptseg.results import Masks
from promptseg.shapes import ImageArray

WIDTH = 1600
# A page holds so many images; the next ones go to a page of their own, so that neither memory nor
# the page grows with the folder.
MOST_IMAGES = 200
LEAST_COLUMNS, MOST_COLUMNS, COLUMNS = 2, 8, 6
GAP, LEAST_CELL = 12, 64
# Of how wide a cell is letters are a fifteenth, within what is read with ease on a screen.
LETTERS, LEAST_LETTERS, MOST_LETTERS = 1 / 15, 12, 20
PAPER, INK, PALE_INK = (255, 255, 255), (25, 25, 25), (110, 110, 110)
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}


class Entry(NamedTuple):
    """One image of a sheet: the name to write under it, its pixels and its masks."""

    name: str
    image: ImageArray | Image.Image
    masks: Masks


def write(
    entries: Iterable[Entry | tuple[str, ImageArray | Image.Image, Masks]],
    path: str | Path,
    *,
    width: int = WIDTH,
    columns: int | None = None,
    numbers: bool = False,
) -> list[Path]:
    """Write images as they come onto pages of 200, and return the paths of the pages.

    The first page is `path`, the next ones are `stem-2.png`, `stem-3.png`, ... beside it. Without
    `columns`, a list gets as many as make a short page, anything without a length six. No images,
    no pages.

    Raises:
        ConfigError: the width or the columns are no whole numbers or leave no room for an image.
        ImageError: an image is of no known kind.
        MaskError: masks are not of their image's size.
        MissingExtraError: this build of Pillow cannot draw fonts.
        OutputError: the path is neither .png nor .jpg, or a file cannot be written.
    """
    if columns is None:
        count = length_hint(entries)
        columns = columns_for(count) if count else COLUMNS
    sheet = ContactSheet(path, columns=columns, width=width, numbers=numbers)
    for name, image, masks in entries:
        sheet.add(name, image, masks)
    return sheet.finish()


def columns_for(count: int) -> int:
    """Return how many columns so many images are shown in: about as many as rows, at most eight."""
    return min(max(math.ceil(math.sqrt(count)), LEAST_COLUMNS), MOST_COLUMNS)


class ContactSheet:
    """Pages that are filled one image after another; of each only the thumbnail is kept.

    Raises:
        ConfigError: the width or the columns are no whole numbers or leave no room for an image.
        OutputError: the path is neither .png nor .jpg.
    """

    def __init__(
        self, path: str | Path, *, columns: int, width: int = WIDTH, numbers: bool = False
    ) -> None:
        self._path = Path(path)
        self._width, self._columns = _whole("width", width), _whole("columns", columns)
        self._numbers = numbers
        self._tiles: list[Image.Image] = []
        self._pages: list[Path] = []
        self._cell = (self._width - GAP) // self._columns - GAP
        if self._cell < LEAST_CELL:
            raise ConfigError(
                f"{self._columns} columns do not fit on a page {self._width} pixels wide",
                hint=f"Each takes at least {LEAST_CELL + GAP} pixels",
            )
        if self._path.suffix.lower() not in FORMATS:
            raise OutputError(
                f"a contact sheet is a .png or .jpg file, got `{self._path}`",
                hint="Give the file one of these suffixes",
            )

    def add(self, name: str, image: ImageArray | Image.Image, masks: Masks) -> None:
        """Draw one image small, and write the page once it is full.

        Raises:
            ImageError: the image is of no known kind.
            MaskError: the masks are not of the image's size.
            MissingExtraError: this build of Pillow cannot draw fonts.
            OutputError: the page cannot be written.
        """
        self._tiles.append(tile(name, image, masks, side=self._cell, numbers=self._numbers))
        if len(self._tiles) == MOST_IMAGES:
            self._write()

    def finish(self) -> list[Path]:
        """Write the last page, full or not, and return the paths of all.

        Raises:
            OutputError: the page cannot be written.
        """
        if self._tiles:
            self._write()
        return list(self._pages)

    def _write(self) -> None:
        number = len(self._pages) + 1
        name = f"{self._path.stem}-{number}{self._path.suffix}" if number > 1 else self._path.name
        picture = page(self._tiles, width=self._width, columns=self._columns)
        kind = FORMATS[self._path.suffix.lower()]
        target = self._path.with_name(name)
        self._pages.append(
            write_atomically(target, lambda file: picture.save(file, format=kind, quality=90))
        )
        self._tiles = []


def tile(
    name: str, image: ImageArray | Image.Image, masks: Masks, *, side: int, numbers: bool = False
) -> Image.Image:
    """Draw one image, its longer side at most `side`, over its name and the count of its masks.

    The image and its masks are made small first, so that lines and numbers are as wide as in any
    other picture.

    Raises:
        ImageError: the image is of no known kind.
        MaskError: the masks are not of the image's size.
        MissingExtraError: this build of Pillow cannot draw fonts.
    """
    photo = Image.fromarray(images.to_rgb(image))
    size = Size(photo.height, photo.width)
    if masks.size != size:
        raise MaskError(f"the image `{name}` is {size}, but its masks are {masks.size}")
    # Never larger than it is, and never without a pixel.
    fit = min(side / max(size), 1)
    small = Size(*(max(round(length * fit), 1) for length in size))
    photo = photo.resize(small[::-1], Image.Resampling.LANCZOS, reducing_gap=3)
    runs = [shrink(mask, small) for mask in masks.runs]
    labels = None if masks.labels is None else masks.labels.tolist()
    picture = drawing.overlay(photo, runs, numbers=numbers, labels=labels)
    return _captioned(picture, [(str(name), INK), (counted(masks), PALE_INK)], side=side)


def page(tiles: Sequence[Image.Image], *, width: int, columns: int) -> Image.Image:
    """Lay tiles out in rows, each as high as its highest tile, which all stand on its foot."""
    rows = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
    heights = [max(each.height for each in row) for row in rows]
    cell = (width - GAP) // columns - GAP
    paper = Image.new("RGB", (width, sum(heights) + GAP * (len(rows) + 1)), PAPER)
    foot = 0
    for row, height in zip(rows, heights, strict=True):
        foot += GAP + height
        for column, each in enumerate(row):
            paper.paste(each, (GAP + column * (cell + GAP), foot - each.height))
    return paper


def _captioned(
    picture: Image.Image, lines: Sequence[tuple[str, tuple[int, int, int]]], *, side: int
) -> Image.Image:
    """Put lines of text under a picture, each cut to the width of `side`."""
    font = letters.font(round(min(max(side * LETTERS, LEAST_LETTERS), MOST_LETTERS)))
    pitch = round(1.35 * font.size)
    whole = Image.new("RGB", (side, picture.height + 4 + pitch * len(lines)), PAPER)
    whole.paste(picture, ((side - picture.width) // 2, 0))
    pen = ImageDraw.Draw(whole)
    for index, (text, ink) in enumerate(lines):
        base = picture.height + 4 + pitch * index + round(font.size)
        line = letters.shorten(text, font, width=side)
        pen.text(((side - font.getlength(line)) / 2, base), line, ink, font, anchor="ls")
    return whole


def counted(masks: Masks) -> str:
    """Say how many masks there are, and whether there may be more."""
    noun = "mask" if len(masks) == 1 else "masks"
    return f"{len(masks) or 'no'} {noun}{'' if masks.complete else ', there may be more'}"


def _whole(name: str, value: object) -> int:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Integral) or value < 1:
        raise ConfigError(f"`{name}` is a whole number, at least 1, got {value!r}")
    return int(value)
