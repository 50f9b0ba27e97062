"""Masks as one PNG file of numbers for each image: 0 where there is none."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from promptseg.errors import MaskError, OutputError
from promptseg.formats.answers import Answer, Found, assemble, merged, numbers_of
from promptseg.formats.pixels import read_values
from promptseg.formats.places import targets
from promptseg.formats.png import paint
from promptseg.geometry import Size
from promptseg.io.files import write_atomically
from promptseg.masks import RunLength
from promptseg.results import Masks

logger = logging.getLogger(__name__)

ENDING = "index.png"
# The highest numbers of 8 and of 16 bits.
HIGHEST = {8: 255, 16: 65_535}

Bits = Literal[8, 16]


def write(
    answers: Sequence[tuple[str, Masks]], path: str | Path, *, bits: Bits | None = None
) -> list[Path]:
    """Write a file for each image, as `write_index` does.

    `path` is a folder, for `photo.index.png`; or, for one image, a file that ends in `.png`.

    Raises:
        MaskError: the answers are not names with `Masks`.
        OutputError: a number does not fit, a file cannot be written, or several images are to go
            to one.
    """
    answers = merged(answers)
    files = targets(answers, path, ENDING)
    return [
        write_index(answer.masks, file, bits=bits)
        for answer, file in zip(answers, files, strict=True)
    ]


def write_index(masks: Masks, path: str | Path, *, bits: Bits | None = None) -> Path:
    """Write one number per pixel: 0 for the background, and for a mask its object's and one more.

    Where masks share an object they are numbered by their places, from 1. Where masks overlap the
    higher score wins, and of equal scores the earlier mask; a warning says how many pixels others
    lose by that. Numbers up to 255 make an 8-bit palette image in the colours of the DAVIS and
    PASCAL VOC data sets, others a 16-bit grey image, unless `bits` says which it must be.

    Raises:
        OutputError: a number does not fit, or the file cannot be written.
    """
    numbers = numbers_of(masks)
    highest = int(numbers.max(initial=0))
    wide = bits == 16 or (bits is None and highest > HIGHEST[8])
    limit = HIGHEST[16 if wide else 8]
    if highest > limit:
        raise OutputError(
            f"an index image of {16 if wide else 8} bits numbers masks up to {limit}, "
            f"but one has the number {highest}",
            hint="Write COCO, which has no such limit"
            if wide
            else "Write it with 16 bits: on the command line the format `index`",
        )
    canvas = np.zeros(masks.size, np.uint16 if wide else np.uint8)
    for i in np.argsort(-masks.scores, kind="stable")[::-1]:
        paint(canvas, masks.runs[i], int(numbers[i]))
    shared = int(masks.areas.sum()) - int(np.count_nonzero(canvas))
    if shared:
        logger.warning(
            "%s: masks overlap, and lose %d pixels to those with a higher score, or with the same "
            "one and before them",
            path,
            shared,
        )
    picture = Image.fromarray(canvas)
    if not wide:
        picture.putpalette(palette())
    return write_atomically(path, lambda file: picture.save(file, format="PNG"))


def read(path: str | Path) -> list[Answer]:
    """Read one file, or those of a folder that end in `.png`, one image each.

    Every number but 0 is a mask, of the object that is one less.

    Raises:
        ImageError: a file is missing, damaged, or has colours.
        MaskError: the folder has none.
    """
    path = Path(path)
    files = sorted(path.glob("*.png")) if path.is_dir() else [path]
    if not files:
        raise MaskError(f"the folder `{path}` has no masks in PNG files")
    return [read_file(file) for file in files]


def read_file(file: Path) -> Answer:
    """Read the masks of one image, which has the file's name up to `.index.png`.

    Raises:
        ImageError: the file is missing, damaged, or has colours.
    """
    return Answer(file.name.removesuffix(".png").removesuffix(".index"), _take_apart(file))


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


def _take_apart(file: Path) -> Masks:
    """Make a mask of each number, all of them in one pass over the columns."""
    values = read_values(file).values
    size = Size(*values.shape)
    line = values.T.ravel()
    starts = np.flatnonzero(np.diff(line, prepend=~line[:1]))
    ends = np.append(starts[1:], line.size)
    numbers = line[starts].astype(np.int64)
    order = np.argsort(numbers, kind="stable")
    order = order[numbers[order] > 0]
    places = np.stack([starts[order], ends[order]], axis=1)
    found, first = np.unique(numbers[order], return_index=True)
    runs = [
        RunLength(size, np.diff(each.ravel(), prepend=0, append=line.size))
        for each in np.split(places, first[1:])
        if len(each)
    ]
    return assemble(
        size,
        [
            Found(run, None, {"object": number - 1})
            for run, number in zip(runs, found.tolist(), strict=True)
        ],
    )
