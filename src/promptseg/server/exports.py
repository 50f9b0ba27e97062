"""What was drawn as files of any format, by the library's own writers: one file, or a zip."""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from promptseg.errors import MaskError, OutputError, PromptError
from promptseg.formats import coco, index, labelme, overlay, png, yolo
from promptseg.formats.answers import Answer
from promptseg.formats.places import stems
from promptseg.geometry import Size
from promptseg.masks import RunLength
from promptseg.results import Masks
from promptseg.shapes import ImageArray

logger = logging.getLogger(__name__)

ExportFormat = Literal["coco", "yolo", "labelme", "png", "index", "overlay"]

# What each format but overlays is written by, into a folder.
WRITERS: dict[str, Callable[[Sequence[Answer], Path], object]] = {
    "coco": lambda answers, folder: coco.write(answers, folder / coco.FILE_NAME),
    "yolo": yolo.write,
    "labelme": labelme.write,
    "png": png.write,
    "index": index.write,
}
# They are packed as they are: nothing gets smaller.
PACKED = (".png",)


class Labelled(NamedTuple):
    """A mask, and what it is said to be."""

    label: str | None
    run: RunLength


def answer_of(name: str, size: Size, objects: Sequence[Labelled]) -> Answer:
    """Make the masks of an image of what was drawn on it; what has no pixels is left out.

    Raises:
        MaskError: a mask is not of the image's size.
    """
    drawn = [each for each in objects if each.run.area]
    masks = Masks.of([each.run for each in drawn], size=size)
    if any(each.label for each in drawn):
        masks = replace(masks, labels=np.array([each.label or "" for each in drawn]))
    return Answer(name, masks)


def write(answers: Sequence[Answer], format: ExportFormat, folder: Path) -> None:  # noqa: A002
    """Write masks of images in a format that needs no pixels into an empty folder.

    Raises:
        PromptError: they cannot be written so.
    """
    with_places = WRITERS[format]
    try:
        with_places(answers, folder)
    except (MaskError, OutputError) as error:
        raise unwritten(error, folder) from None


def write_overlay(pixels: ImageArray, answer: Answer, path: Path) -> None:
    """Draw masks over their image.

    Raises:
        PromptError: they are not of the image's size, or cannot be written.
    """
    try:
        overlay.write(pixels, answer.masks, path)
    except (MaskError, OutputError) as error:
        raise unwritten(error, path.parent) from None


def overlay_names(answers: Sequence[Answer]) -> list[str]:
    """Name the files of overlays.

    Raises:
        PromptError: two names are one.
    """
    try:
        return [f"{stem}.overlay.png" for stem in stems(answers)]
    except OutputError as error:
        raise PromptError(str(error), hint=error.hint) from None


def packed(folder: Path, name: str) -> Path:
    """Return the one file of a folder, or a zip beside it of all that is in it, which goes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if len(files) == 1:
        return files[0]
    target = folder.parent / f"{name}.zip"
    with zipfile.ZipFile(target, "w") as archive:
        for path in files:
            method = zipfile.ZIP_STORED if path.suffix in PACKED else zipfile.ZIP_DEFLATED
            # Windows takes what stands before a backslash for a folder.
            name = path.relative_to(folder).as_posix().replace("\\", "_")
            archive.write(path, name, compress_type=method)
            path.unlink()
    return target


def unwritten(error: MaskError | OutputError, folder: Path) -> PromptError:
    """Say why something cannot be written, without the place where it was to go."""
    return PromptError(str(error).replace(f"{folder}/", ""), hint=error.hint)
