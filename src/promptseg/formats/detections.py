"""Masks as `supervision.Detections`, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from promptseg.errors import MaskError, MissingExtraError
from promptseg.formats.answers import UNNAMED
from promptseg.geometry import Size
from promptseg.masks import RunLength
from promptseg.results import Masks

if TYPE_CHECKING:
    from supervision import Detections

# What supervision itself calls the names of classes.
CLASS_NAME = "class_name"
# Columns of `Masks` that go into `data` under their own names.
OURS = ("objects", "candidates", "presence", "confident", "stability", "points", "crops")


def to_detections(masks: Masks) -> Detections:
    """Make `supervision.Detections`: dense masks, half-open boxes, scores as confidence.

    Classes are the labels in the order in which they come; without labels all are of class 0. What
    supervision has no place for is in `data`, under the names that `Masks` has.

    Raises:
        MissingExtraError: supervision is not installed.
    """
    try:
        from supervision import Detections
    except ImportError as error:
        raise MissingExtraError(
            "`Detections` need supervision, which is not installed",
            hint="pip install 'promptseg[supervision]'",
        ) from error
    labels = [UNNAMED] * len(masks) if masks.labels is None else masks.labels.tolist()
    classes = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    data: dict[str, Any] = {
        name: np.array(column) for name in OURS if (column := getattr(masks, name)) is not None
    }
    if masks.labels is not None:
        data[CLASS_NAME] = np.array(labels)
    return Detections(
        xyxy=masks.boxes,
        mask=masks.to_numpy(),
        confidence=np.array(masks.scores),
        class_id=np.array([classes[label] for label in labels], dtype=np.int64),
        data=data,
    )


def from_detections(detections: Detections, *, size: Size | None = None) -> Masks:
    """Make `Masks` of detections, ours or anyone's; `size` is needed only where there are none.

    Raises:
        MaskError: they have boxes and no masks, or are none and `size` is not given.
    """
    if not all(hasattr(detections, name) for name in ("mask", "confidence", "data")):
        raise MaskError(f"not `supervision.Detections`: {type(detections).__name__}")
    stack = None if detections.mask is None else np.asarray(detections.mask, dtype=np.bool_)
    if stack is None or stack.ndim != 3:
        if size is None or len(detections):
            raise MaskError(
                f"detections have masks of N H W, got {len(detections)} without",
                hint="Give boxes to `Model.segment`; for no detections pass `size`",
            )
        return Masks.empty(size)
    count = len(stack)
    scores = detections.confidence
    data = {name: np.asarray(column) for name, column in detections.data.items()}
    labels = data.get(CLASS_NAME)
    return Masks(
        size=Size(*stack.shape[1:]),
        runs=tuple(RunLength.from_mask(mask) for mask in stack),
        scores=np.ones(count, np.float32) if scores is None else np.asarray(scores, np.float32),
        objects=data.get("objects", np.arange(count)),
        candidates=data.get("candidates", np.zeros(count, np.int64)),
        presence=data.get("presence", np.ones(count, np.float32)),
        confident=data.get("confident", np.ones(count, np.bool_)),
        stability=data.get("stability"),
        points=data.get("points"),
        crops=data.get("crops"),
        labels=None if labels is None else labels.astype(np.str_),
    )
