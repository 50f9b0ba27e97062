"""Masks drawn over their image, as a PNG file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from promptseg import drawing
from promptseg.drawing import Marks
from promptseg.io.files import write_atomically
from promptseg.prompts import Prompt
from promptseg.results import Masks
from promptseg.shapes import ImageArray


def write(
    image: ImageArray,
    masks: Masks,
    path: str | Path,
    *,
    prompts: Sequence[Prompt] = (),
    numbers: bool = False,
) -> Path:
    """Write the image with the masks over it and, where given, the prompts that asked for them.

    `numbers` writes i on the mask that is `masks[i]`, where there is room. Masks that have labels
    are drawn with them, in one colour for each label.

    Raises:
        ImageError: the image is not H W 3 uint8.
        MaskError: the masks are not of the image's size.
        MissingExtraError: there are numbers or labels, and this build of Pillow draws no fonts.
        OutputError: the file cannot be written.
    """
    picture = drawing.overlay(
        image,
        masks.runs,
        marks=marks(prompts),
        numbers=numbers,
        labels=None if masks.labels is None else masks.labels.tolist(),
    )
    return write_atomically(path, lambda file: picture.save(file, format="PNG"))


def marks(prompts: Sequence[Prompt]) -> Marks:
    """Gather what can be drawn of prompts: their points and boxes."""
    points = [prompt.points for prompt in prompts if prompt.points is not None]
    boxes = [prompt.box.as_array() for prompt in prompts if prompt.box is not None]
    return Marks(
        points=np.concatenate([np.empty((0, 2)), *(each.coordinates for each in points)]),
        labels=np.concatenate([np.empty(0, np.int64), *(each.labels for each in points)]),
        boxes=np.array(boxes, dtype=np.float64).reshape(-1, 4),
    )
