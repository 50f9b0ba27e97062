"""Masks as labelme's JSON, one file for each image, to be opened and edited there.

A shape has a label, a type and points; one of the type `mask` has, beside the corners of its box,
both of them inside, a PNG in base64 of what lies in the box. Points are in pixels, (0, 0) being the
upper left corner. Shapes of one label and group are one object. Source: the format's description in
https://docs.supervisely.com/import-and-export/import/supported-annotation-formats/images/labelme
and files that labelme 5 writes. Keys that labelme does not know it keeps.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from promptseg.filling import fill
from promptseg.formats.answers import (
    UNNAMED,
    Answer,
    Found,
    assemble,
    facts_of,
    label_of,
    merged,
    numbers_of,
    read_facts,
)
from promptseg.formats.nodes import Node, load, size_at
from promptseg.formats.pixels import read_values
from promptseg.formats.places import Photos, targets
from promptseg.geometry import Size
from promptseg.io.files import write_text
from promptseg.masks import RunLength, union
from promptseg.results import Masks
from promptseg.shapes import PointArray

logger = logging.getLogger(__name__)

# labelme looks for the file of a photo beside it, under the photo's own stem.
ENDING = "json"
# The release whose keys these are.
VERSION = "5.5.0"
AREAS = ("polygon", "rectangle", "mask")


def write(answers: Sequence[tuple[str, Masks]], path: str | Path) -> list[Path]:
    """Write a file for each image.

    `path` is a folder, for `photo.json`; or, for one image, a file that ends in `.json`. A mask
    with holes is a shape of the type `mask`, any other is a polygon for each of its regions, of one
    group. A mask without pixels has no shape, which a warning says.

    Raises:
        MaskError: the answers are not names with `Masks`, or a number is not finite.
        OutputError: a file cannot be written, or several images are to go to one.
    """
    answers = merged(answers)
    files = targets(answers, path, ENDING)
    return [
        write_text(file, json.dumps(_document(answer), allow_nan=False) + "\n")
        for answer, file in zip(answers, files, strict=True)
    ]


def read(path: str | Path, *, images: str | Path | None = None) -> list[Answer]:
    """Read a file that we or labelme wrote: polygons, rectangles and masks.

    Shapes of one label and group make one mask. Shapes without an area are left out, which a
    warning says. Where the file does not say how large the image is, the photo of its name in the
    folder `images` does.

    Raises:
        MaskError: the file is missing, damaged, or not labelme's; file and place are named.
        ImageError: a photo, or a mask in the file, cannot be read.
    """
    return from_node(load(path), Photos(images))


def from_node(document: Node, photos: Photos) -> list[Answer]:
    """Read a file that is loaded, as `read` does.

    Raises:
        MaskError: it is not labelme's.
        ImageError: a photo, or a mask in the file, cannot be read.
    """
    path = document.get("imagePath")
    name = path.name() if path else document.file.stem
    size = size_at(document, "imageHeight", "imageWidth") or photos.size(name, document.file)
    groups: dict[tuple[str, int | None, int | None], Found] = {}
    skipped: set[str] = set()
    for place, shape in enumerate(document["shapes"].items()):
        kind = each.text() if (each := shape.get("shape_type")) else "polygon"
        if kind not in AREAS:
            skipped.add(kind)
            continue
        label = shape["label"].text()
        group = each.whole() if (each := shape.get("group_id")) else None
        # A shape without a group is one by itself.
        key = (label, group, place if group is None else None)
        found = Found(_read_shape(shape, kind, size), label, read_facts(shape.record()))
        if before := groups.get(key):
            found = before._replace(run=union([before.run, found.run]))
        groups[key] = found
    if skipped:
        logger.warning(
            "%s: shapes without a mask are left out: %s", document.file, ", ".join(sorted(skipped))
        )
    complete = document.record().get("complete") is not False
    return [Answer(name, assemble(size, list(groups.values()), complete=complete))]


def _document(answer: Answer) -> dict[str, object]:
    name, masks = answer
    numbers = numbers_of(masks)
    shapes: list[dict[str, object]] = []
    for i in range(len(masks)):
        if not masks.runs[i].area:
            logger.warning("%s: mask %d has no pixels and is left out", name, i)
        shared = {
            "label": label_of(masks, i) or UNNAMED,
            "group_id": int(numbers[i]),
            "description": "",
            "flags": {},
            **facts_of(masks, i),
        }
        shapes += [{**shared, **shape} for shape in _shapes(masks.runs[i])]
    document: dict[str, object] = {
        "version": VERSION,
        "flags": {},
        "shapes": shapes,
        "imagePath": name,
        "imageData": None,
        "imageHeight": masks.size.height,
        "imageWidth": masks.size.width,
    }
    return document if masks.complete else {**document, "complete": False}


def _shapes(run: RunLength) -> list[dict[str, object]]:
    """Say where a mask is, by polygons if they can."""
    polygons = run.polygons()
    if not any(polygon.holes for polygon in polygons):
        return [
            {
                "shape_type": "polygon",
                "points": polygon.exterior.astype(float).tolist(),
                "mask": None,
            }
            for polygon in polygons
        ]
    crop = run.to_crop()
    buffer = BytesIO()
    Image.fromarray(crop.mask.astype(np.uint8) * 255).save(buffer, format="PNG")
    x0, y0, x1, y1 = (float(edge) for edge in run.box)
    return [
        {
            "shape_type": "mask",
            "points": [[x0, y0], [x1 - 1, y1 - 1]],
            "mask": base64.b64encode(buffer.getvalue()).decode("ascii"),
        }
    ]


def _read_shape(shape: Node, kind: str, size: Size) -> RunLength:
    points = shape["points"].points()
    least = 3 if kind == "polygon" else 2
    if len(points) < least:
        raise shape.wrong(f"is a {kind} and needs {least} points, got {len(points)}")
    if kind == "mask":
        return _read_crop(shape["mask"], points, size)
    if kind == "rectangle":
        (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
        points = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    with shape.blamed():
        return RunLength(size, fill([points], size))


def _read_crop(node: Node, points: PointArray, size: Size) -> RunLength:
    """Read the PNG of a mask; its own size counts, as writers differ about the second corner."""
    try:
        raw = base64.b64decode(node.text(), validate=True)
    except (binascii.Error, ValueError):
        raise node.wrong("is not base64") from None
    with node.blamed():
        crop = read_values(raw, what=f"the PNG in `{node.file}`, `{node.place}`,").values > 0
    left, top = (round(float(edge)) for edge in points.min(axis=0))
    # What sticks out of the image is cut off.
    crop = crop[max(-top, 0) : size.height - top, max(-left, 0) : size.width - left]
    if not crop.size:
        return RunLength.from_crop(np.zeros((0, 0), np.bool_), left=0, top=0, size=size)
    return RunLength.from_crop(crop, left=max(left, 0), top=max(top, 0), size=size)
