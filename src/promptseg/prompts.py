"""What may be said about one object: points, a box, a mask hint, or any mix; checked when made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from promptseg.errors import PromptError
from promptseg.geometry import Box, Size
from promptseg.shapes import HintArray, LabelArray, PointArray

__all__ = ["Box", "MaskHint", "Points", "Prompt", "as_prompt"]

POINTS_HINT = "Points are [(x, y), ...] in pixels of the image you passed"
LABELS_HINT = "A label is 1 to include the point in the object, 0 to exclude it"
MASK_HINT = (
    "A hint is a 2-D array: bool or 0/1 at the image's own size, "
    "or the floating logits of an earlier answer"
)
NO_TEXT = (
    "text is no prompt of `segment`: SAM 2 and the built-in model know no words, SAM 3 does, "
    "and is asked with `find`"
)
KINDS_HINT = "A prompt is `Points`, `Box`, `MaskHint`, or a `Prompt` that mixes them for one object"


@dataclass(frozen=True, init=False, eq=False)
class Points:
    """Points on one object (label 1) or off it (label 0), in pixels of the image.

    Coordinates are (x, y) and continuous: the first pixel spans 0 to 1, its middle is 0.5. Without
    labels every point is on the object.

    Raises:
        PromptError: no points, another shape than (p, 2), a coordinate that is not finite, a label
            other than 0 or 1, or another number of labels than of points.
    """

    coordinates: PointArray
    labels: LabelArray

    def __init__(self, coordinates: ArrayLike, labels: ArrayLike | None = None) -> None:
        points = _coordinates(coordinates)
        object.__setattr__(self, "coordinates", _sealed(points))
        object.__setattr__(self, "labels", _sealed(_labels(labels, count=len(points))))

    def __len__(self) -> int:
        return len(self.labels)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Points):
            return NotImplemented
        return np.array_equal(self.coordinates, other.coordinates) and np.array_equal(
            self.labels, other.labels
        )

    def __hash__(self) -> int:
        return hash((self.coordinates.tobytes(), self.labels.tobytes()))


@dataclass(frozen=True, init=False, eq=False)
class MaskHint:
    """A rough mask of the object: bool at the image's own size, or logits of an earlier answer.

    The kind of the numbers decides: bool and whole 0/1 are a mask, floating numbers are logits.

    Raises:
        PromptError: not two axes, whole numbers other than 0/1, logits that are not finite, or
            floating numbers that are only ever 0 and 1 and so must have been meant as a mask.
    """

    mask: HintArray

    def __init__(self, mask: ArrayLike) -> None:
        object.__setattr__(self, "mask", _sealed(_hint(mask)))

    @property
    def is_logits(self) -> bool:
        """Whether the hint is logits at a model's own resolution."""
        return self.mask.dtype != np.bool_

    @property
    def is_empty(self) -> bool:
        """Whether the hint marks no pixel as object."""
        return not bool((self.mask > 0).any())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, MaskHint):
            return NotImplemented
        return self.mask.dtype == other.mask.dtype and np.array_equal(self.mask, other.mask)

    def __hash__(self) -> int:
        return hash((self.mask.dtype.str, self.mask.shape, self.mask.tobytes()))


@dataclass(frozen=True)
class Prompt:
    """Everything said about one object.

    Raises:
        PromptError: nothing is said, a part is of another type, or all there is is an empty hint.
    """

    points: Points | None = None
    box: Box | None = None
    hint: MaskHint | None = None

    def __post_init__(self) -> None:
        for name, kind in (("points", Points), ("box", Box), ("hint", MaskHint)):
            part = getattr(self, name)
            if part is not None and not isinstance(part, kind):
                raise PromptError(
                    f"`{name}` must be a `{kind.__name__}`, got {type(part).__name__}",
                    hint=f"Write `Prompt({name}={kind.__name__}(...))`",
                )
        if self.points is None and self.box is None:
            if self.hint is None:
                raise PromptError(
                    "a prompt needs points, a box or a hint, got none", hint=KINDS_HINT
                )
            if self.hint.is_empty:
                raise PromptError(
                    "a hint that marks no pixel says nothing by itself",
                    hint="Add a point or a box, or mark the object in the hint",
                )

    def check(self, size: Size) -> None:
        """Refuse what does not fit an image of `size`; a box may stick out, but not lie outside."""
        if self.points is not None:
            _require_inside(self.points, size)
        if self.box is not None:
            self.box.require_overlap(size)
        if self.hint is not None and not self.hint.is_logits and self.hint.mask.shape != size:
            raise PromptError(
                f"the hint is {Size(*self.hint.mask.shape)}, but the image is {size}",
                hint="Give a mask at the image's own size, or the logits of an earlier answer",
            )


@contextmanager
def numbered(what: str, number: int, *, of: int) -> Iterator[None]:
    """Say in a `PromptError` which of several it is about, counted from 0."""
    try:
        yield
    except PromptError as error:
        if of == 1:
            raise
        raise PromptError(f"{what} {number}: {error}", hint=error.hint) from None


def as_prompt(value: Points | Box | MaskHint | Prompt) -> Prompt:
    """Wrap one kind of prompt as a `Prompt`."""
    match value:
        case Prompt():
            return value
        case Points():
            return Prompt(points=value)
        case Box():
            return Prompt(box=value)
        case MaskHint():
            return Prompt(hint=value)
    if isinstance(value, str):
        raise PromptError(NO_TEXT, hint=KINDS_HINT)
    raise PromptError(f"not a prompt: {type(value).__name__}", hint=KINDS_HINT)


def _coordinates(values: ArrayLike) -> PointArray:
    points = _numbers(values, what="points", kinds="iuf", hint=POINTS_HINT)
    if points.size == 0:
        raise PromptError("a prompt needs at least one point, got none", hint=POINTS_HINT)
    if points.ndim != 2 or points.shape[1] != 2:
        raise PromptError(f"points need shape (p, 2), got {points.shape}", hint=POINTS_HINT)
    points = points.astype(np.float64)
    wrong = np.flatnonzero(~np.isfinite(points).all(axis=1))
    if wrong.size:
        x, y = points[wrong[0]]
        raise PromptError(f"points need finite numbers, got ({x:g}, {y:g})", hint=POINTS_HINT)
    return points


def _labels(values: ArrayLike | None, *, count: int) -> LabelArray:
    if values is None:
        return np.ones(count, dtype=np.int64)
    labels = _numbers(values, what="labels", kinds="iufb", hint=LABELS_HINT)
    if labels.shape != (count,):
        raise PromptError(
            f"{count} points need {count} labels, got {_count(labels)}",
            hint="Give one label per point",
        )
    wrong = np.flatnonzero((labels != 0) & (labels != 1))
    if wrong.size:
        raise PromptError(f"a label must be 0 or 1, got {labels[wrong[0]]:g}", hint=LABELS_HINT)
    return labels.astype(np.int64)


def _hint(values: ArrayLike) -> HintArray:
    mask = _numbers(values, what="a hint", kinds="biuf", hint=MASK_HINT)
    if mask.ndim != 2 or mask.size == 0:
        raise PromptError(f"a hint needs two axes, got shape {mask.shape}", hint=MASK_HINT)
    if mask.dtype.kind == "f":
        if not np.isfinite(mask).all():
            raise PromptError("logits of a hint must be finite, got nan or inf", hint=MASK_HINT)
        if ((mask == 0) | (mask == 1)).all() and mask.any() and not mask.all():
            raise PromptError(
                f"a {mask.dtype} hint counts as logits, but this one holds only 0 and 1",
                hint="If it is a mask, pass `mask.astype(bool)`",
            )
        if np.abs(mask).max() > np.finfo(np.float32).max:
            raise PromptError(
                f"logits of a hint must fit in float32, got {mask.flat[np.abs(mask).argmax()]:g}",
                hint=MASK_HINT,
            )
        logits: HintArray = mask.astype(np.float32)
        return logits
    wrong = mask[(mask != 0) & (mask != 1)]
    if wrong.size:
        raise PromptError(
            f"a mask hint holds 0 and 1, got {wrong[0]}",
            hint="For a mask of 0 and 255 pass `mask > 127`",
        )
    return mask.astype(np.bool_)


def _require_inside(points: Points, size: Size) -> None:
    limits = np.array([size.width, size.height])
    wrong = np.flatnonzero(((points.coordinates < 0) | (points.coordinates >= limits)).any(axis=1))
    if wrong.size:
        x, y = points.coordinates[wrong[0]]
        raise PromptError(
            f"the point ({x:g}, {y:g}) lies outside the image, which is {size}", hint=POINTS_HINT
        )


def _numbers(values: ArrayLike, *, what: str, kinds: str, hint: str) -> np.ndarray:
    try:
        array = np.asarray(values)
    except ValueError:
        raise PromptError(
            f"{what} must form a regular array, got rows of unequal length", hint=hint
        ) from None
    # An empty list becomes float64, which every kind of number accepts.
    if array.dtype.kind not in kinds:
        raise PromptError(f"{what} must be numbers, got {array.dtype.name}", hint=hint)
    return array


def _count(labels: np.ndarray) -> str:
    return str(len(labels)) if labels.ndim == 1 else f"shape {labels.shape}"


def _sealed(array: np.ndarray) -> np.ndarray:
    owned: np.ndarray = array.copy()
    owned.flags.writeable = False
    return owned
