"""What comes back: the masks of one image, with their scores, in columns of equal length."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from promptseg.drawing import overlay
from promptseg.errors import ConfigError, MaskError
from promptseg.geometry import Size
from promptseg.masks import CocoRle, RunLength, overlaps, union
from promptseg.polygons import Polygon
from promptseg.shapes import (
    BoxArray,
    FlagArray,
    ImageArray,
    IndexArray,
    LabelColumn,
    LogitStack,
    MaskStack,
    OverlapArray,
    PointArray,
    ScoreArray,
)

if TYPE_CHECKING:
    import PIL.Image

COLUMNS = {
    "scores": np.float32,
    "objects": np.int64,
    "candidates": np.int64,
    "presence": np.float32,
    "confident": np.bool_,
}


class Column(NamedTuple):
    """What a column that may be missing holds: its kind of numbers, and the shape of a row."""

    dtype: type[np.generic]
    row: tuple[int, ...] | None


# A row of logits has the model's own resolution, whatever that is.
OPTIONAL = {
    "stability": Column(np.float32, ()),
    "points": Column(np.float64, (2,)),
    "crops": Column(np.float64, (4,)),
    "labels": Column(np.str_, ()),
    "predicted_boxes": Column(np.float64, (4,)),
    "logits": Column(np.float32, None),
}


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Masks:
    """Masks of one image; row i of every column is about mask i.

    `scores` are predicted IoU, or of `find` how sure it is of a thing; `presence` is the
    probability of there being an object, or any such thing; all are 0..1. `objects` says which
    prompt of the request a mask answers, and counts what `find` and `everything` found;
    `candidates` says which of the network's answers it is. `confident` is false where none reached
    the threshold and this is the best there was.

    The other columns are None where nothing is known: `stability` says how much of a mask a higher
    threshold leaves beside a lower one, 0..1; `points` (x, y) and `crops` (x0, y0, x1, y1) say what
    `everything` asked and in which part of the image; `labels` name what a mask is of;
    `predicted_boxes` (x0, y0, x1, y1), in pixels of the image, are what `find` says of its things
    beside their masks; `logits`, where asked for, are at the model's own resolution. `complete` is
    false where the search ended early, or where a model answered with all it has slots for, so that
    there may be more.

    Raises:
        MaskError: a column has another length, or a mask another size.
    """

    size: Size
    runs: tuple[RunLength, ...]
    scores: ScoreArray
    objects: IndexArray
    candidates: IndexArray
    presence: ScoreArray
    confident: FlagArray
    stability: ScoreArray | None = None
    points: PointArray | None = None
    crops: BoxArray | None = None
    labels: LabelColumn | None = None
    predicted_boxes: BoxArray | None = None
    logits: LogitStack | None = None
    complete: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", Size(*self.size))
        object.__setattr__(self, "runs", tuple(self.runs))
        for mask in self.runs:
            if mask.size != self.size:
                raise MaskError(f"every mask must be {self.size}, got one of {mask.size}")
        for name, dtype in COLUMNS.items():
            column: np.ndarray = np.array(getattr(self, name), dtype=dtype)
            if column.shape != (len(self.runs),):
                raise MaskError(f"{len(self.runs)} masks, but `{name}` has shape {column.shape}")
            column.flags.writeable = False
            object.__setattr__(self, name, column)
        for name, (dtype, row) in OPTIONAL.items():
            if getattr(self, name) is None:
                continue
            column = np.array(getattr(self, name), dtype=dtype)
            fits = column.ndim == 3 if row is None else column.shape[1:] == row
            if not fits or len(column) != len(self.runs):
                raise MaskError(f"{len(self.runs)} masks, but `{name}` has shape {column.shape}")
            column.flags.writeable = False
            object.__setattr__(self, name, column)

    @classmethod
    def of(cls, runs: Sequence[RunLength], *, size: Size, scores: ArrayLike | None = None) -> Masks:
        """Make one sure mask per object from runs alone; without scores all are 1."""
        count = len(runs)
        return cls(
            size=size,
            runs=tuple(runs),
            scores=np.ones(count, np.float32) if scores is None else np.asarray(scores, np.float32),
            objects=np.arange(count),
            candidates=np.zeros(count, np.int64),
            presence=np.ones(count, np.float32),
            confident=np.ones(count, np.bool_),
        )

    @classmethod
    def empty(cls, size: Size) -> Masks:
        """Return no masks of an image of `size`."""
        return cls.of([], size=size)

    @classmethod
    def from_rle(
        cls, codes: Sequence[Mapping[str, object]], *, scores: ArrayLike | None = None
    ) -> Masks:
        """Read masks as COCO writes them; they must be of one size and at least one."""
        if not codes:
            raise MaskError(
                "no masks, so their size is not known", hint="Use `Masks.empty(size)` for none"
            )
        runs = [RunLength.from_coco(code) for code in codes]
        return cls.of(runs, size=runs[0].size, scores=scores)

    @classmethod
    def from_numpy(cls, stack: MaskStack, *, scores: ArrayLike | None = None) -> Masks:
        """Code a stack of dense masks, N H W bool."""
        stack = np.asarray(stack)
        if stack.ndim != 3 or stack.dtype != np.bool_:
            raise MaskError(
                f"a stack of masks is N H W bool, got {stack.dtype} of {stack.shape}",
                hint="For one mask pass `mask[None]`; for 0 and 1 pass `stack.astype(bool)`",
            )
        runs = [RunLength.from_mask(mask) for mask in stack]
        return cls.of(runs, size=Size(*stack.shape[1:]), scores=scores)

    @classmethod
    def concatenate(cls, parts: Sequence[Masks]) -> Masks:
        """Put masks of one image one after another.

        Columns that may be missing stay where every part with masks has them. A part whose objects
        have numbers of parts before it is numbered on from theirs, so that objects of separate
        answers stay separate.
        """
        if not parts:
            raise MaskError(
                "no masks, so their size is not known", hint="Use `Masks.empty(size)` for none"
            )
        for part in parts:
            if part.size != parts[0].size:
                raise MaskError(
                    f"masks of one image have one size, got {parts[0].size}, {part.size}"
                )
        filled = [part for part in parts if len(part)] or parts
        columns: dict[str, Any] = {
            name: np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS
        }
        columns["objects"] = _numbered_on([part.objects for part in parts])
        columns |= {name: _joined([getattr(part, name) for part in filled]) for name in OPTIONAL}
        return cls(
            size=parts[0].size,
            runs=tuple(mask for part in parts for mask in part.runs),
            complete=all(part.complete for part in parts),
            **columns,
        )

    def __len__(self) -> int:
        return len(self.runs)

    def __iter__(self) -> Iterator[Masks]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: SupportsIndex | slice | ArrayLike) -> Masks:
        """Return the chosen masks, in the order chosen; one number gives `Masks` of length one."""
        rows = self._rows(index)
        names = (*COLUMNS, *OPTIONAL)
        known = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        columns = {name: column[rows] for name, column in known.items()}
        return replace(self, runs=tuple(self.runs[row] for row in rows.tolist()), **columns)

    @property
    def boxes(self) -> BoxArray:
        """The box of each mask, half-open (x0, y0, x1, y1) in pixels; zeros when empty."""
        return np.array([mask.box for mask in self.runs], dtype=np.float64).reshape(-1, 4)

    @property
    def areas(self) -> IndexArray:
        """How many pixels each mask has."""
        return np.array([mask.area for mask in self.runs], dtype=np.int64)

    def best(self) -> Masks:
        """Return the mask with the highest score, the first of equals; nothing from nothing."""
        return self[[int(self.scores.argmax())]] if len(self) else self

    def best_per_object(self) -> Masks:
        """Return the mask with the highest score of each object, in the order of the objects."""
        ranked = np.lexsort((-self.scores, self.objects))
        objects = self.objects[ranked]
        return self[ranked[np.diff(objects, prepend=-1) != 0]] if len(self) else self

    def to_numpy(self) -> MaskStack:
        """Return dense masks, N H W bool."""
        stack = np.zeros((len(self), *self.size), dtype=np.bool_)
        for row, mask in enumerate(self.runs):
            crop, left, top = mask.to_crop()
            stack[row, top : top + crop.shape[0], left : left + crop.shape[1]] = crop
        return stack

    def to_label_map(self) -> NDArray[np.int32]:
        """Return one number per pixel, H W: 0 for the background, i + 1 for mask i.

        Where masks overlap the higher score wins, and of equal scores the earlier mask. Another
        rule is that of `TidyOptions.overlap`, which `tidy` applies beforehand.
        """
        numbers = np.zeros(self.size, dtype=np.int32)
        for row in np.argsort(-self.scores, kind="stable")[::-1].tolist():
            crop, left, top = self.runs[row].to_crop()
            numbers[top : top + crop.shape[0], left : left + crop.shape[1]][crop] = row + 1
        return numbers

    def to_rle(self) -> list[CocoRle]:
        """Write the masks as COCO does."""
        return [mask.to_coco() for mask in self.runs]

    def union(self) -> RunLength:
        """Merge all masks into one; no masks give an empty one."""
        nothing = RunLength(self.size, np.array([self.size.height * self.size.width]))
        return union([nothing, *self.runs])

    def polygons(self) -> list[list[Polygon]]:
        """Trace each mask along the edges of its pixels."""
        return [mask.polygons() for mask in self.runs]

    def overlaps(self, other: Masks | None = None) -> OverlapArray:
        """Return the intersection over union of each mask with each of `other`, or of its own."""
        return overlaps(self.runs, self.runs if other is None else other.runs)

    def plot(
        self,
        image: ImageArray | PIL.Image.Image,
        *,
        opacity: float = 0.45,
        numbers: bool = False,
    ) -> PIL.Image.Image:
        """Draw the masks over their image; `opacity` is that of their colour, 0..1.

        `numbers` writes i on the mask that is `self[i]`, where there is room for it. Labels, where
        there are any, are written on their masks, which have one colour for each label.

        Raises:
            ConfigError: the opacity is out of range.
            MaskError: the image is of another size.
            MissingExtraError: Pillow was built without the fonts that numbers and labels need.
        """
        if not 0 <= opacity <= 1:
            raise ConfigError(f"`opacity` lies in 0..1, got {opacity:g}")
        labels = None if self.labels is None else self.labels.tolist()
        return overlay(image, self.runs, opacity=opacity, numbers=numbers, labels=labels)

    def _rows(self, index: SupportsIndex | slice | ArrayLike) -> IndexArray:
        if isinstance(index, tuple):
            raise IndexError("masks have one axis; index `to_numpy()` for pixels")
        rows = np.arange(len(self))
        chosen = index if isinstance(index, slice) else np.asarray(index)
        if isinstance(chosen, np.ndarray) and not chosen.size and chosen.dtype != np.bool_:
            chosen = chosen.astype(np.int64)
        return np.atleast_1d(rows[chosen])

    def __repr__(self) -> str:
        if not len(self):
            return f"Masks(none, {self.size}{'' if self.complete else ', there may be more'})"
        unsure = int((~self.confident).sum())
        scores = ", ".join(f"{score:.2f}" for score in self.scores[:4])
        more = ", ..." if len(self) > 4 else ""
        notes = f", {unsure} not confident" if unsure else ""
        notes += "" if self.complete else ", there may be more"
        return (
            f"Masks({len(self)} of {len(np.unique(self.objects))} objects, {self.size}, "
            f"scores [{scores}{more}]{notes})"
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameMasks:
    """What is seen of tracked objects in one frame of a video: mask i is of the object `names[i]`.

    `frame` counts from 0. The presence of a mask says whether its object is in sight; where it is
    not the mask is empty.

    Raises:
        MaskError: there are not as many names as masks.
    """

    frame: int
    names: tuple[int | str, ...]
    masks: Masks

    def __post_init__(self) -> None:
        if len(self.names) != len(self.masks):
            raise MaskError(f"{len(self.masks)} masks, but {len(self.names)} names")

    def __len__(self) -> int:
        return len(self.names)

    def of(self, name: int | str) -> Masks:
        """Return the mask of one object, as `Masks` of length one.

        Raises:
            KeyError: there is no such object in this frame.
        """
        if name not in self.names:
            raise KeyError(name)
        return self.masks[self.names.index(name)]


def _joined(columns: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """Put columns one after another; None where one is missing, or rows differ in shape."""
    known = [column for column in columns if column is not None]
    if not known or len(known) < len(columns) or len({each.shape[1:] for each in known}) > 1:
        return None
    return np.concatenate(known)


def _numbered_on(columns: Sequence[IndexArray]) -> IndexArray:
    """Join object numbers; a column that repeats one of those before it begins after them all."""
    joined = np.zeros(0, dtype=np.int64)
    for column in columns:
        if np.isin(column, joined).any():
            column = column - column.min() + joined.max() + 1
        joined = np.concatenate([joined, column])
    return joined
