"""Masks as PNG files: black and white, one file for each, or one number for each pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from promptseg.errors import OutputError
from promptseg.io.files import write_atomically
from promptseg.masks import RunLength
from promptseg.results import Masks

# The most masks that fit beside the background in 8 and in 16 bits.
PALETTE_MASKS = 255
MOST_MASKS = 65_535


def write_binary(masks: Masks, path: str | Path) -> Path:
    """Write everything that any of the masks covers as 255 and the rest as 0, in 8-bit grey.

    Raises:
        OutputError: the file cannot be written.
    """
    canvas = np.zeros(masks.size, np.uint8)
    for run in masks.runs:
        _paint(canvas, run, 255)
    return _write(Image.fromarray(canvas), path)


def write_each(masks: Masks, path: str | Path) -> list[Path]:
    """Write each mask as `write_binary` does, to a file of its own, and return the paths in order.

    One mask goes to `path` itself; several go to `stem-0.png`, `stem-1.png`, ... beside it, with as
    many digits as sort well. No masks, no files.

    Raises:
        OutputError: a file cannot be written; those before it stay.
    """
    path = Path(path)
    if len(masks) == 1:
        return [write_binary(masks, path)]
    digits = len(str(len(masks) - 1))
    return [
        write_binary(masks[i], path.with_name(f"{path.stem}-{i:0{digits}}{path.suffix}"))
        for i in range(len(masks))
    ]


def write_index(masks: Masks, path: str | Path) -> Path:
    """Write one number per pixel: 0 for the background, i + 1 for mask i.

    Where masks overlap the higher score wins, and of equal scores the later mask. Up to 255 masks
    make an 8-bit palette image in the colours of the DAVIS and PASCAL VOC data sets, more a 16-bit
    grey image.

    Raises:
        OutputError: the file cannot be written, or there are more than 65,535 masks.
    """
    if len(masks) > MOST_MASKS:
        raise OutputError(
            f"an index image numbers at most {MOST_MASKS} masks, got {len(masks)}",
            hint="Export COCO, which has no such limit",
        )
    wide = len(masks) > PALETTE_MASKS
    canvas = np.zeros(masks.size, np.uint16 if wide else np.uint8)
    for i in np.argsort(masks.scores, kind="stable"):
        _paint(canvas, masks.runs[i], int(i) + 1)
    picture = Image.fromarray(canvas)
    if not wide:
        picture.putpalette(palette())
    return _write(picture, path)


def palette() -> bytes:
    """Return the PASCAL VOC colour map, which DAVIS shares: the index's bits, dealt to channels.

    Source: Everingham et al., VOC development kit, `VOClabelcolormap`.
    """
    index = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for place in range(24):
        bit, channel = divmod(place, 3)
        colours[:, channel] |= ((index >> place & 1) << (7 - bit)).astype(np.uint8)
    return colours.tobytes()


def _paint(canvas: np.ndarray, run: RunLength, value: int) -> None:
    """Set the pixels of one mask, touching only its box."""
    crop = run.to_crop()
    height, width = crop.mask.shape
    canvas[crop.top : crop.top + height, crop.left : crop.left + width][crop.mask] = value


def _write(picture: Image.Image, path: str | Path) -> Path:
    return write_atomically(path, lambda file: picture.save(file, format="PNG"))
