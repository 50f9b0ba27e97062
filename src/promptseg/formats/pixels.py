"""Values and sizes of image files as they are stored, for formats that keep masks in them."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import ImageFile

from promptseg.errors import ImageError
from promptseg.geometry import Size
from promptseg.io.images import (
    BROKEN,
    DAMAGED_HINT,
    EXIF_ORIENTATION,
    FORMATS_HINT,
    open_file,
    parse_header,
)

# A square of 32,768 pixels each way. Pixels are held whole, so it is less than a size may be.
MOST_DECODED = 2**30
# Orientations that exchange width and height (EXIF 2.3, tag 0x0112).
ON_ITS_SIDE = (5, 6, 7, 8)


class Stored(NamedTuple):
    """The pixels of an image file: one number each, and whether they index a palette."""

    values: np.ndarray
    has_palette: bool


def measure(path: str | Path) -> Size:
    """Return the size of a photo as `promptseg.read` gives it, from its header alone.

    Raises:
        ImageError: the file is missing, or no image.
    """
    path = Path(path)
    with open_file(path) as file:
        picture = _header(file, f"`{path}`")
        width, height = picture.size
        try:
            orientation = picture.getexif().get(EXIF_ORIENTATION, 1)
        except BROKEN:
            orientation = 1
    return Size(width, height) if orientation in ON_ITS_SIDE else Size(height, width)


def read_values(source: str | Path | bytes, *, what: str | None = None) -> Stored:
    """Read the numbers that a grey, palette or two-coloured image holds, orientation not applied.

    `what` names the source in messages, where it is not a file.

    Raises:
        ImageError: it is no image, damaged, too large, or has colours.
    """
    name = what or f"`{source!s}`"
    with BytesIO(source) if isinstance(source, bytes) else open_file(Path(source)) as file:
        picture = _header(file, name)
        width, height = picture.size
        if width * height > MOST_DECODED:
            raise ImageError(f"{name} has {width} x {height} pixels, the limit is {MOST_DECODED}")
        try:
            values = np.array(picture)
        except BROKEN as error:
            raise ImageError(f"{name} is damaged or cut short", hint=DAMAGED_HINT) from error
    if values.ndim != 2 or values.dtype.kind not in "bui":
        raise ImageError(
            f"{name} is not an image of masks: it has colours",
            hint="Masks are grey or palette images, 0 where there is none",
        )
    return Stored(values, picture.mode == "P")


def _header(file: BinaryIO, name: str) -> ImageFile.ImageFile:
    start = file.read(16)
    file.seek(0)
    try:
        picture = parse_header(file, start)
    except BROKEN as error:
        raise ImageError(f"the header of {name} is damaged", hint=DAMAGED_HINT) from error
    if picture is None:
        raise ImageError(f"{name} is not an image of a known format", hint=FORMATS_HINT)
    return picture
