"""Masks as one COCO JSON document, which pycocotools and the annotation tools load."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

import numpy as np

from promptseg.filling import fill_any
from promptseg.formats.answers import (
    UNNAMED,
    Answer,
    Facts,
    Found,
    assemble,
    facts_of,
    label_of,
    merged,
    read_facts,
)
from promptseg.formats.nodes import Node, load, size_at, size_in
from promptseg.formats.places import Photos
from promptseg.geometry import Size
from promptseg.io.files import write_text
from promptseg.masks import CocoRle, RunLength
from promptseg.polygons import join
from promptseg.results import Masks
from promptseg.shapes import PointArray

logger = logging.getLogger(__name__)

FILE_NAME = "coco.json"


class _Incomplete(TypedDict, total=False):
    """What is only there where it is not as usual."""

    complete: bool


class CocoImage(_Incomplete):
    """One image of a document. `complete` is ours, and there where it is false."""

    id: int
    file_name: str
    height: int
    width: int


class CocoAnnotation(Facts):
    """One mask of one image.

    What `Facts` has is ours beside what COCO asks for, and means what it means in `Masks`.
    """

    id: int
    image_id: int
    category_id: int
    bbox: list[float]
    area: int
    segmentation: CocoRle | list[list[float]]
    iscrowd: int


class CocoCategory(TypedDict):
    """What a mask may be of."""

    id: int
    name: str
    supercategory: str


class CocoDocument(TypedDict):
    """A whole COCO file."""

    info: dict[str, str]
    licenses: list[dict[str, str]]
    images: list[CocoImage]
    annotations: list[CocoAnnotation]
    categories: list[CocoCategory]


def to_coco(
    answers: Sequence[tuple[str, Masks]], *, category: str = UNNAMED, polygons: bool = False
) -> CocoDocument:
    """Make one document of the masks of many images, each image given by its name.

    Ids count from 1 in the order given. Boxes are x, y, width, height in pixels, from the mask's
    own half-open box. Categories are the labels in the order in which they come; masks without a
    label are of `category`.

    With `polygons` the masks are outlines along the edges of their pixels, one for each region,
    with holes joined to it by a seam that is walked there and back: COCO knows no holes, and
    pycocotools fills such an outline to the same mask. A mask without pixels stays run lengths.

    Raises:
        MaskError: the answers are not names with `Masks`, or those of one image differ in size.
    """
    document = CocoDocument(
        info={"description": "masks made by promptseg"},
        licenses=[],
        images=[],
        annotations=[],
        categories=[],
    )
    # Without masks the one category is there all the same, as tools expect one.
    categories: dict[str, int] = {}
    for image_id, (name, masks) in enumerate(merged(answers), start=1):
        image = CocoImage(
            id=image_id, file_name=name, height=masks.size.height, width=masks.size.width
        )
        if not masks.complete:
            image["complete"] = False
        document["images"].append(image)
        for i in range(len(masks)):
            label = label_of(masks, i) or category
            annotation: CocoAnnotation = {
                "id": len(document["annotations"]) + 1,
                "image_id": image_id,
                "category_id": categories.setdefault(label, len(categories) + 1),
                "bbox": _box(masks.runs[i]),
                "area": int(masks.runs[i].area),
                "segmentation": _segmentation(masks.runs[i], polygons=polygons),
                "iscrowd": 0,
                **facts_of(masks, i),
            }
            document["annotations"].append(annotation)
    document["categories"] = [
        CocoCategory(id=number, name=name, supercategory="")
        for name, number in (categories or {category: 1}).items()
    ]
    return document


def write(
    answers: Sequence[tuple[str, Masks]],
    path: str | Path,
    *,
    category: str = UNNAMED,
    polygons: bool = False,
) -> list[Path]:
    """Write what `to_coco` makes to one file.

    Raises:
        MaskError: the answers are not names with `Masks`, or those of one image differ in size.
        OutputError: the file cannot be written.
    """
    document = to_coco(answers, category=category, polygons=polygons)
    return [write_text(path, json.dumps(document, allow_nan=False) + "\n")]


def read(path: str | Path, *, images: str | Path | None = None) -> list[Answer]:
    """Read a document, ours or anyone's: polygons, run lengths compressed or not, many images.

    Categories become labels. Annotations without a mask are left out, and crowds come as masks like
    any other; a warning says how many. Where an image has no size it is that of its run lengths, or
    of the photo of its name in the folder `images`.

    Raises:
        MaskError: the file is missing, damaged, or no such document; file and place are named.
        ImageError: a photo cannot be read.
    """
    return from_node(load(path), Photos(images))


def from_node(document: Node, photos: Photos) -> list[Answer]:
    """Read a document that is loaded, as `read` does.

    Raises:
        MaskError: it is no such document.
        ImageError: a photo cannot be read.
    """
    listed = document.get("categories")
    categories = {
        each["id"].whole(): each["name"].text() for each in (listed.items() if listed else [])
    }
    images: dict[int, _Image] = {}
    for node in document["images"].items():
        number = node["id"].whole()
        if number in images:
            raise node.wrong(f"has the id {number} of an image before it")
        images[number] = _Image(node)
    skipped = crowds = 0
    for node in document["annotations"].items():
        image = images.get(node["image_id"].whole())
        if image is None:
            raise node.wrong(f"is about image {node['image_id'].whole()}, which is not in the list")
        if not (segmentation := node.get("segmentation")) or segmentation.value in ([], {}):
            skipped += 1
            continue
        crowds += bool((crowd := node.get("iscrowd")) and crowd.whole())
        category = each.whole() if (each := node.get("category_id")) else None
        label = None if category is None else categories.get(category, str(category))
        run = read_mask(segmentation, image.size(segmentation, photos))
        image.found.append(Found(run, label, read_facts(node.record())))
    if skipped:
        logger.warning("%s: %d annotations have no mask and are left out", document.file, skipped)
    if crowds:
        logger.warning("%s: %d crowds are read as masks like any other", document.file, crowds)
    return [image.answer(photos) for image in images.values()]


@dataclass
class _Image:
    """One image of a document that is read, and its masks so far."""

    node: Node
    found: list[Found] = field(default_factory=list)
    known: Size | None = None

    def size(self, segmentation: Node | None, photos: Photos) -> Size:
        """Return the size that the document says, or else the first run lengths, or the photo."""
        if self.known is None:
            self.known = size_at(self.node, "height", "width")
        if self.known is None and segmentation and isinstance(segmentation.value, dict):
            self.known = size_in(segmentation["size"])
        if self.known is None:
            self.known = photos.size(self.name(), self.node.file)
        return self.known

    def name(self) -> str:
        name = self.node.get("file_name")
        return name.name() if name else str(self.node["id"].whole())

    def answer(self, photos: Photos) -> Answer:
        complete = self.node.record().get("complete") is not False
        return Answer(self.name(), assemble(self.size(None, photos), self.found, complete=complete))


def read_mask(node: Node, size: Size) -> RunLength:
    """Read run lengths, or polygons, which make a mask together.

    Raises:
        MaskError: they are damaged, or of another size.
    """
    if isinstance(node.value, dict):
        return read_runs(node, size)
    rings = [_ring(ring) for ring in node.items()]
    with node.blamed():
        # Each a shape of its own, because where parts overlap is inside.
        return RunLength(size, fill_any([[ring] for ring in rings], size))


def read_runs(node: Node, size: Size) -> RunLength:
    """Read run lengths as COCO has them, of an image of `size`.

    Raises:
        MaskError: they are damaged, or of another size.
    """
    said = size_in(node["size"])
    if said != size:
        raise node.wrong(f"is a mask of {said} for an image of {size}")
    with node.blamed():
        return RunLength.from_coco(node.record())


def _ring(node: Node) -> PointArray:
    numbers = node.numbers()
    if len(numbers) < 6 or len(numbers) % 2:
        raise node.wrong(f"needs x and y of at least 3 corners, got {len(numbers)} numbers")
    return np.array(numbers).reshape(-1, 2)


def _segmentation(run: RunLength, *, polygons: bool) -> CocoRle | list[list[float]]:
    # pycocotools fails on a list without polygons.
    if not polygons or not run.area:
        return run.to_coco()
    return [join([polygon]).astype(float).ravel().tolist() for polygon in run.polygons()]


def _box(run: RunLength) -> list[float]:
    left, top, right, bottom = (float(edge) for edge in run.box)
    return [left, top, right - left, bottom - top]
