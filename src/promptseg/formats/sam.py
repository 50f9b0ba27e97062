"""Masks as the records that SAM's automatic generator gives, in files like those of SA-1B.

The keys are those of `SAM2AutomaticMaskGenerator`; the file round them is SA-1B's, one for each
image: `{"image": {...}, "annotations": [records]}`. Source: the readmes of
https://github.com/facebookresearch/segment-anything and of the SA-1B data set.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from promptseg.formats.answers import (
    Answer,
    Facts,
    Found,
    assemble,
    facts_of,
    label_of,
    merged,
    read_facts,
)
from promptseg.formats.coco import read_runs
from promptseg.formats.nodes import Node, load, require_size, size_in
from promptseg.formats.places import targets
from promptseg.geometry import PixelBox, Size
from promptseg.io.files import write_text
from promptseg.masks import CocoRle
from promptseg.results import Masks

ENDING = "sam.json"


class SamRecord(TypedDict):
    """One mask as SAM has it; what is not known is null.

    Boxes are x, y, width, height. The width of `bbox` is the distance of the outermost pixels'
    middles, which is one less than how many pixels it spans; that of `crop_box` is not.
    """

    segmentation: CocoRle
    area: int
    bbox: list[int]
    predicted_iou: float
    point_coords: list[list[float]] | None
    stability_score: float | None
    crop_box: list[float] | None


class _FileRecord(SamRecord, Facts):
    """A record with what only we know of a mask."""

    id: int
    label: str | None


def to_records(masks: Masks) -> list[SamRecord]:
    """Make a record of each mask, its pixels as COCO's compressed run lengths.

    Raises:
        MaskError: a number is not finite.
    """
    return [_record(masks, i) for i in range(len(masks))]


def write(answers: Sequence[tuple[str, Masks]], path: str | Path) -> list[Path]:
    """Write a file for each image.

    `path` is a folder, for `photo.sam.json`; or, for one image, a file that ends in `.json`.

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


def read(path: str | Path) -> list[Answer]:
    """Read a file of records: ours, one of SA-1B, or a bare list as SAM's script writes it.

    The image of a bare list has the file's name, and a list without records has no size.

    Raises:
        MaskError: the file is missing, damaged, or no such file; file and place are named.
    """
    return from_node(load(path))


def from_node(document: Node) -> list[Answer]:
    """Read a file that is loaded, as `read` does.

    Raises:
        MaskError: it is no such file.
    """
    if isinstance(document.value, list):
        records, name, complete = document.items(), document.file.stem, True
        if not records:
            raise document.wrong("has no records, so the size of its image is not known")
        size = size_in(records[0]["segmentation"]["size"])
    else:
        records, image = document["annotations"].items(), document["image"]
        name = image["file_name"].name()
        complete = image.record().get("complete") is not False
        size = require_size(image)
    found = [_read_record(record, size) for record in records]
    return [Answer(name, assemble(size, found, complete=complete))]


def _document(answer: Answer) -> dict[str, object]:
    name, masks = answer
    image: dict[str, object] = {
        "image_id": 1,
        "file_name": name,
        "height": masks.size.height,
        "width": masks.size.width,
    }
    if not masks.complete:
        image["complete"] = False
    records: list[_FileRecord] = [
        {**record, "id": i + 1, "label": label_of(masks, i), **facts_of(masks, i)}
        for i, record in enumerate(to_records(masks))
    ]
    return {"image": image, "annotations": records}


def _record(masks: Masks, i: int) -> SamRecord:
    run, facts = masks.runs[i], facts_of(masks, i)
    crop = facts.get("crop")
    point = facts.get("point")
    return SamRecord(
        segmentation=run.to_coco(),
        area=int(run.area),
        bbox=_box(run.box),
        predicted_iou=facts["score"],
        point_coords=None if point is None else [point],
        stability_score=facts.get("stability"),
        crop_box=None if crop is None else [*crop[:2], crop[2] - crop[0], crop[3] - crop[1]],
    )


def _box(box: PixelBox) -> list[int]:
    """Return SAM's box: the first pixel, and how far the last one is from it; zeros when empty."""
    height, width = box.size
    return [box.x0, box.y0, max(width - 1, 0), max(height - 1, 0)]


def _read_record(node: Node, size: Size) -> Found:
    segmentation = node["segmentation"]
    if not isinstance(segmentation.value, dict):
        raise segmentation.wrong(
            "must be run lengths", hint='Ask SAM\'s generator for `output_mode="coco_rle"`'
        )
    label = each.text() if (each := node.get("label")) else None
    return Found(read_runs(segmentation, size), label, _facts(node.record()))


def _facts(record: dict[str, object]) -> Facts:
    """Take what we wrote, and beside it what SAM says by its own words."""
    score, stability = record.get("predicted_iou"), record.get("stability_score")
    points, crop = record.get("point_coords"), record.get("crop_box")
    said = read_facts({"score": score, "stability": stability, "crop": crop})
    if isinstance(points, list) and len(points) == 1:
        said |= read_facts({"point": points[0]})
    if "crop" in said:
        x, y, width, height = said["crop"]
        said["crop"] = [x, y, x + width, y + height]
    return {**said, **read_facts(record)}
