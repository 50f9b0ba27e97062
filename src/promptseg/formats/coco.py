"""Masks as one COCO JSON document, which pycocotools and the annotation tools load."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from promptseg.io.files import write_text
from promptseg.masks import CocoRle
from promptseg.results import Masks


class CocoImage(TypedDict):
    """One image of a document."""

    id: int
    file_name: str
    height: int
    width: int


class CocoAnnotation(TypedDict):
    """One mask of one image.

    `object`, `candidate`, `presence` and `confident` are ours beside what COCO asks for, and mean
    what they mean in `Masks`.
    """

    id: int
    image_id: int
    category_id: int
    bbox: list[float]
    area: int
    segmentation: CocoRle
    iscrowd: int
    score: float
    object: int
    candidate: int
    presence: float
    confident: bool


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


def to_coco(answers: Sequence[tuple[str, Masks]], *, category: str = "object") -> CocoDocument:
    """Make one document of the masks of many images, each image given by its name.

    Ids count from 1 in the order given. Boxes are x, y, width, height in pixels, from the mask's
    own half-open box.
    """
    document = CocoDocument(
        info={"description": "masks made by promptseg"},
        licenses=[],
        images=[],
        annotations=[],
        categories=[CocoCategory(id=1, name=category, supercategory="")],
    )
    for image_id, (name, masks) in enumerate(answers, start=1):
        document["images"].append(
            CocoImage(id=image_id, file_name=name, height=masks.size.height, width=masks.size.width)
        )
        for i in range(len(masks)):
            annotation_id = len(document["annotations"]) + 1
            document["annotations"].append(_annotation(masks, i, annotation_id, image_id))
    return document


def write(
    answers: Sequence[tuple[str, Masks]], path: str | Path, *, category: str = "object"
) -> Path:
    """Write what `to_coco` makes.

    Raises:
        OutputError: the file cannot be written.
    """
    document = to_coco(answers, category=category)
    return write_text(path, json.dumps(document, allow_nan=False) + "\n")


def _annotation(masks: Masks, i: int, annotation_id: int, image_id: int) -> CocoAnnotation:
    run = masks.runs[i]
    left, top, right, bottom = (float(edge) for edge in run.box)
    return CocoAnnotation(
        id=annotation_id,
        image_id=image_id,
        category_id=1,
        bbox=[left, top, right - left, bottom - top],
        area=int(run.area),
        segmentation=run.to_coco(),
        iscrowd=0,
        score=_short(masks.scores[i]),
        object=int(masks.objects[i]),
        candidate=int(masks.candidates[i]),
        presence=_short(masks.presence[i]),
        confident=bool(masks.confident[i]),
    )


def _short(number: float) -> float:
    """Round a float32 to the digits it has, so that 0.9 does not read 0.8999999761581421."""
    return round(float(number), 6)
