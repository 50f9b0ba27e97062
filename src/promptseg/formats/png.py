"""Masks as black and white PNG files, one for each mask."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from promptseg.errors import MaskError
from promptseg.formats.answers import Answer, merged
from promptseg.formats.pixels import MOST_DECODED
from promptseg.formats.places import targets
from promptseg.io.files import write_atomically
from promptseg.io.images import read_mask
from promptseg.masks import RunLength
from promptseg.results import Masks

ENDING = "mask.png"
# What `write` and `write_each` put between the name of an image and `.png`.
NAMED = re.compile(r"(?P<name>.+?)\.mask(?:-(?P<number>\d+))?$")


def write(answers: Sequence[tuple[str, Masks]], path: str | Path) -> list[Path]:
    """Write each mask of each image to a file, as `write_each` does.

    `path` is a folder, for `photo.mask.png` or `photo.mask-0.png`, ...; or, for one image, a file
    that ends in `.png`. An image without masks has no file.

    Raises:
        MaskError: the answers are not names with `Masks`.
        OutputError: a file cannot be written, or several images are to go to one.
    """
    answers = merged(answers)
    files = targets(answers, path, ENDING)
    return [
        each
        for answer, file in zip(answers, files, strict=True)
        for each in write_each(answer.masks, file)
    ]


def write_binary(masks: Masks, path: str | Path) -> Path:
    """Write everything that any of the masks covers as 255 and the rest as 0, in 8-bit grey.

    Raises:
        OutputError: the file cannot be written.
    """
    canvas = np.zeros(masks.size, np.uint8)
    for run in masks.runs:
        paint(canvas, run, 255)
    picture = Image.fromarray(canvas)
    return write_atomically(path, lambda file: picture.save(file, format="PNG"))


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


def read(path: str | Path) -> list[Answer]:
    """Read one file, or those of a folder that end in `.png`.

    Files `photo.mask.png` or `photo.mask-0.png`, ... are masks of `photo`; any other is the one
    mask of an image of its own name.

    Raises:
        ImageError: a file is missing, damaged, or not black and white.
        MaskError: masks of one image differ in size, or the folder has none.
    """
    path = Path(path)
    files = sorted(path.glob("*.png")) if path.is_dir() else [path]
    if not files:
        raise MaskError(f"the folder `{path}` has no masks in PNG files")
    return read_files(files)


def read_files(files: Sequence[Path]) -> list[Answer]:
    """Read masks from files, and put those of one image together in the order given.

    Raises:
        ImageError: a file is missing, damaged, or not black and white.
        MaskError: masks of one image differ in size.
    """
    runs: dict[str, list[RunLength]] = {}
    for file in files:
        run = RunLength.from_mask(read_mask(file, max_pixels=MOST_DECODED))
        same = runs.setdefault(_image_of(file), [])
        if same and same[0].size != run.size:
            raise MaskError(
                f"masks of different sizes for one image: `{file}` is {run.size}, "
                f"those before it are {same[0].size}"
            )
        same.append(run)
    return [Answer(name, Masks.of(same, size=same[0].size)) for name, same in runs.items()]


def paint(canvas: np.ndarray, run: RunLength, value: int) -> None:
    """Set the pixels of one mask, touching only its box."""
    crop = run.to_crop()
    height, width = crop.mask.shape
    canvas[crop.top : crop.top + height, crop.left : crop.left + width][crop.mask] = value


def _image_of(file: Path) -> str:
    named = NAMED.fullmatch(file.stem)
    return named["name"] if named else file.stem
