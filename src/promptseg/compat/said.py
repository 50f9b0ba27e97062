"""The arrays in which `sam2` and `sam3` are told of objects, taken apart as prompts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

from promptseg.errors import PromptError
from promptseg.geometry import Size
from promptseg.prompts import Box, MaskHint, Points, Prompt
from promptseg.shapes import BoxArray, IndexArray


class ExamplesSaid(NamedTuple):
    """Example boxes in pixels of the image; labels are 1 for what is meant, 0 for what is not."""

    boxes: BoxArray
    labels: IndexArray


class Said(NamedTuple):
    """What `predict` is told of one object or of several, in `sam2`'s arrays."""

    points: ArrayLike | None
    labels: ArrayLike | None
    box: ArrayLike | None
    hint: ArrayLike | None

    def prompts(self, size: Size, *, in_pixels: bool) -> list[Prompt]:
        """Take the arrays apart, one prompt for each object; a single hint is for all of them.

        Raises:
            PromptError: a part is malformed, or parts are for unlike numbers of objects.
        """
        points, labels = _array(self.points, "points"), _array(self.labels, "labels")
        boxes, hints = _array(self.box, "a box"), _array(self.hint, "a hint")
        if (points is None) != (labels is None):
            raise PromptError("points and labels are given together, got only one of them")
        parts = {
            "points": points[None] if points is not None and points.ndim < 3 else points,
            "labels": labels[None] if labels is not None and labels.ndim < 2 else labels,
            "boxes": boxes[None] if boxes is not None and boxes.ndim < 2 else boxes,
            "hints": hints[None] if hints is not None and hints.ndim < 4 else hints,
        }
        counts = {name: len(part) for name, part in parts.items() if part is not None}
        shared = len(counts) > 1 and counts.get("hints") == 1
        if shared:
            del counts["hints"]
        if len(set(counts.values())) > 1:
            raise PromptError(
                "all parts of a prompt are for as many objects, got "
                + ", ".join(f"{name} for {count}" for name, count in counts.items()),
                hint="Give points as `n p 2`, labels as `n p`, boxes as `n 4`, hints as `n 1 h w`",
            )
        objects = max(counts.values(), default=1)
        hint = parts["hints"]
        if shared and hint is not None:
            parts["hints"] = np.broadcast_to(hint[0], (objects, *hint.shape[1:]))
        scale = (1, 1) if in_pixels else (size.width, size.height)
        return [
            _prompt(*(None if part is None else part[i] for part in parts.values()), scale=scale)
            for i in range(objects)
        ]


def examples_said(
    boxes: ArrayLike | Tensor | None, labels: ArrayLike | Tensor | None, size: Size
) -> ExamplesSaid:
    """Read the example boxes of one question about an image of `size`, of which there may be none.

    Raises:
        PromptError: a box is malformed or lies outside, or there is not one label for each.
    """
    rows, kinds = _array(boxes, "boxes"), _array(labels, "labels")
    rows = np.zeros((0, 4)) if rows is None or not rows.size else rows
    kinds = np.zeros(0) if kinds is None else kinds
    if rows.ndim != 2 or rows.shape[1] != 4:
        raise PromptError(f"example boxes have shape (n, 4), got {rows.shape}")
    if kinds.shape != rows.shape[:1] or not np.isin(kinds, (0, 1)).all():
        raise PromptError(
            f"{len(rows)} example boxes need as many labels, got {kinds.tolist()}",
            hint="True says that a box shows what is meant, False that it does not",
        )
    for row in rows:
        Box.from_sequence(row).require_overlap(size)
    return ExamplesSaid(rows, kinds.astype(np.int64))


def _prompt(
    points: np.ndarray | None,
    labels: np.ndarray | None,
    box: np.ndarray | None,
    hint: np.ndarray | None,
    *,
    scale: tuple[int, int],
) -> Prompt:
    """Put what was said about one object together, in pixels of the image."""
    if box is not None and box.shape != (4,):
        raise PromptError(f"a box needs 4 numbers, got shape {box.shape}")
    if hint is not None and (hint.ndim != 3 or len(hint) != 1):
        raise PromptError(f"a hint needs shape (1, h, w), got {hint.shape}")
    if hint is not None and ((hint == 0) | (hint == 1)).all():
        raise PromptError(
            "`mask_input` is logits, but this holds only 0 and 1",
            hint="Pass the low-resolution masks of an earlier answer, or `20 * mask - 10`",
        )
    return Prompt(
        points=None if points is None else Points(points * _fitting(points, scale), labels),
        box=None if box is None else Box.from_sequence(box * (*scale, *scale)),
        hint=None if hint is None else MaskHint(hint[0].astype(np.float32)),
    )


def _fitting(points: np.ndarray, scale: tuple[int, int]) -> ArrayLike:
    """Leave points of a wrong shape to be refused where points are checked."""
    return scale if points.shape[-1] == 2 else 1


def _array(values: ArrayLike | Tensor | None, what: str) -> np.ndarray | None:
    if values is None:
        return None
    try:
        return np.atleast_1d(np.asarray(values, np.float64))
    except (TypeError, ValueError) as error:
        raise PromptError(f"{what} must be an array of numbers: {error}") from None
