"""Masks as GeoJSON (RFC 7946), one file for each image, in pixels instead of degrees.

A coordinate is (x, y) of a pixel's corner, (0, 0) being the upper left corner of the image and y
pointing down; the file says so under `promptseg`, beside the name and the size of the image.
Exteriors run counterclockwise and holes clockwise as section 3.1.6 asks, by the numbers: on a
screen, whose y points down, it looks the other way round.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from promptseg.filling import fill_any
from promptseg.formats.answers import (
    Answer,
    Found,
    assemble,
    facts_of,
    label_of,
    merged,
    read_facts,
)
from promptseg.formats.nodes import Node, load, size_at
from promptseg.formats.places import Photos, targets
from promptseg.geometry import Size
from promptseg.io.files import write_text
from promptseg.masks import RunLength
from promptseg.polygons import Polygon, untangle
from promptseg.results import Masks
from promptseg.shapes import PointArray, RingArray

logger = logging.getLogger(__name__)

ENDING = "geojson"
UNITS = "pixels, y down"
KINDS = ("FeatureCollection", "Feature")


def write(answers: Sequence[tuple[str, Masks]], path: str | Path) -> list[Path]:
    """Write a file for each image: a feature for each mask, valid as OGC's simple features ask.

    `path` is a folder, for `photo.geojson`; or, for one image, a file that ends so. A mask without
    pixels is a feature without a geometry.

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
    """Read the polygons of a file whose coordinates are pixels, each feature a mask.

    Features that are no polygons are left out, which a warning says. Where the file does not say
    how large the image is, the photo of the file's name in the folder `images` does.

    Raises:
        MaskError: the file is missing, damaged, or not GeoJSON; file and place are named.
        ImageError: a photo cannot be read.
    """
    return from_node(load(path), Photos(images))


def from_node(document: Node, photos: Photos) -> list[Answer]:
    """Read a file that is loaded, as `read` does.

    Raises:
        MaskError: it is not GeoJSON.
        ImageError: a photo cannot be read.
    """
    kind = document["type"].text()
    if kind not in KINDS:
        raise document.wrong(f"has the type `{kind}`, and masks are in a FeatureCollection")
    ours = document.get("promptseg")
    name = document.file.stem
    size = None
    if ours:
        name = image.name() if (image := ours.get("image")) else name
        size = size_at(ours, "height", "width")
    size = size or photos.size(name, document.file)
    found: list[Found] = []
    skipped: set[str] = set()
    for node in document["features"].items() if kind == "FeatureCollection" else [document]:
        geometry = node.get("geometry")
        run = RunLength(size, np.array([size.height * size.width]))
        if geometry:
            shape = geometry["type"].text()
            if shape not in ("Polygon", "MultiPolygon"):
                skipped.add(shape)
                continue
            run = _read_polygons(geometry["coordinates"], size, several=shape == "MultiPolygon")
        properties = node.get("properties")
        label = each.text() if properties and (each := properties.get("label")) else None
        found.append(Found(run, label, read_facts(properties.record() if properties else {})))
    if skipped:
        logger.warning(
            "%s: features that are no polygons are left out: %s",
            document.file,
            ", ".join(sorted(skipped)),
        )
    complete = ours is None or ours.record().get("complete") is not False
    return [Answer(name, assemble(size, found, complete=complete))]


def _document(answer: Answer) -> dict[str, object]:
    name, masks = answer
    about: dict[str, object] = {
        "image": name,
        "height": masks.size.height,
        "width": masks.size.width,
        "coordinates": UNITS,
    }
    if not masks.complete:
        about["complete"] = False
    features = [
        {
            "type": "Feature",
            "id": i + 1,
            "geometry": _geometry([untangle(polygon) for polygon in masks.runs[i].polygons()]),
            "properties": {
                "label": label_of(masks, i),
                "area": int(masks.runs[i].area),
                **facts_of(masks, i),
            },
        }
        for i in range(len(masks))
    ]
    return {"type": "FeatureCollection", "promptseg": about, "features": features}


def _geometry(polygons: Sequence[Polygon]) -> dict[str, object] | None:
    # Our exteriors are clockwise where y points down, which is counterclockwise by the numbers.
    parts = [[_closed(ring) for ring in (each.exterior, *each.holes)] for each in polygons]
    if not parts:
        return None
    if len(parts) == 1:
        return {"type": "Polygon", "coordinates": parts[0]}
    return {"type": "MultiPolygon", "coordinates": parts}


def _closed(ring: RingArray) -> list[list[int]]:
    corners: list[list[int]] = ring.tolist()
    return [*corners, corners[0]]


def _read_polygons(node: Node, size: Size, *, several: bool) -> RunLength:
    """Fill each polygon with its holes by the even-odd rule, and put those of a mask together."""
    parts = node.items() if several else [node]
    polygons = [[_ring(ring) for ring in part.items()] for part in parts]
    with node.blamed():
        return RunLength(size, fill_any(polygons, size))


def _ring(node: Node) -> PointArray:
    corners = node.points()
    if len(corners) < 4 or (corners[0] != corners[-1]).any():
        raise node.wrong(
            f"is a ring of at least 4 corners whose last is its first, got {len(corners)}"
        )
    return corners
