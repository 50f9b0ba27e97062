"""What queries came to, as JSON (docs/queries.md): masks, or why there are none."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from promptseg.errors import MaskError, PromptsegError, as_record
from promptseg.formats.answers import (
    FITTING,
    Found,
    assemble,
    facts_of,
    label_of,
    read_facts,
)
from promptseg.geometry import Size
from promptseg.masks import RunLength
from promptseg.results import Masks
from promptseg.shapes import BoxArray

# Facts that every mask has.
ALWAYS = ("score", "object", "candidate", "presence", "confident")


def outcome_to_json(outcome: Masks | PromptsegError) -> dict[str, object]:
    """Describe masks, or why there are none; boxes are x0, y0, x1, y1, a mask's own half-open.

    Raises:
        MaskError: a number is not finite.
    """
    if isinstance(outcome, PromptsegError):
        return {"error": as_record(outcome)}
    height, width = outcome.size
    return {
        "size": {"height": height, "width": width},
        "complete": outcome.complete,
        "masks": [_mask(outcome, i) for i in range(len(outcome))],
    }


def masks_from_json(said: Mapping[str, Any]) -> Masks:
    """Read back what `outcome_to_json` says of masks.

    Raises:
        MaskError: it is no such record.
    """
    match said:
        case {
            "size": {"height": int(height), "width": int(width)},
            "complete": bool(complete),
            "masks": list(masks),
        } if height > 0 and width > 0:
            found = assemble(Size(height, width), list(map(_found, masks)), complete=complete)
            return replace(found, predicted_boxes=_predicted_boxes(masks))
    raise MaskError("a result of a query has `size`, `complete` and `masks`")


def _mask(masks: Masks, i: int) -> dict[str, object]:
    run = masks.runs[i]
    record: dict[str, object] = {
        "label": label_of(masks, i),
        "area": int(run.area),
        "box": [int(edge) for edge in run.box],
        **facts_of(masks, i),
    }
    if masks.predicted_boxes is not None:
        box = masks.predicted_boxes[i]
        if not np.isfinite(box).all():
            raise MaskError(f"mask {i} has a predicted box of {box}, which no file can hold")
        record["predicted_box"] = np.round(box, 3).tolist()
    return {**record, "rle": run.to_coco()}


def _found(record: object) -> Found:
    """Read back what `_mask` says."""
    match record:
        case dict() as said if said.get("label") is None or isinstance(said["label"], str):
            facts = read_facts(said)
        case _:
            raise MaskError("a mask of a result is an object of JSON, and its `label` text or null")
    for name in FITTING:
        if (name in said or name in ALWAYS) and name not in facts:
            raise MaskError(f"a mask of a result has the {name} {said.get(name)!r:.40}")
    code: Any = said.get("rle")
    try:
        return Found(RunLength.from_coco(code), said.get("label"), facts)
    except UnicodeEncodeError as error:
        raise MaskError("the run lengths of a mask are no text") from error


def _predicted_boxes(masks: Sequence[Mapping[str, Any]]) -> BoxArray | None:
    """Take the boxes that every mask has; None where one has none."""
    boxes = [each.get("predicted_box") for each in masks]
    if not boxes or any(box is None for box in boxes):
        return None
    for box in boxes:
        if not (isinstance(box, list) and len(box) == 4 and all(map(_is_number, box))):
            raise MaskError(f"a mask of a result has the predicted box {box!r:.40}")
    return np.array(boxes, np.float64)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
