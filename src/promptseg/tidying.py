"""Masks made fit for use: the weak and the doubles left out, the rest cleaned and kept apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from numbers import Real
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from promptseg.errors import ConfigError, MaskError
from promptseg.masks import RunLength, require_same_size, union
from promptseg.options import TidyOptions
from promptseg.regions import drop_specks, fill_holes, smooth
from promptseg.results import Masks
from promptseg.shapes import FlagArray, IndexArray


class Overlapping(NamedTuple):
    """Two masks, by their places, that have pixels in common.

    `iou` is their intersection over union; `first_inside` is the share of the first that lies in
    the second, `second_inside` the share of the second that lies in the first.
    """

    first: int
    second: int
    iou: float
    first_inside: float
    second_inside: float


def tidy(masks: Masks, options: TidyOptions) -> Masks:
    """Do to masks what the options say, in the order of their fields.

    Masks without pixels, before or after, are left out, unless the options change nothing at all.
    What stays keeps its order and its row of every column; scores, stability and logits remain
    those of the mask as it was found. A mask that only `keep_best` keeps is not confident.

    Raises:
        MaskError: these are no `Masks`.
        ConfigError: the options are not `TidyOptions`.
    """
    _require_masks(masks)
    if not isinstance(options, TidyOptions):
        raise ConfigError(f"`options` must be `TidyOptions`, got {type(options).__name__}")
    if options.changes_nothing:
        return masks
    masks = _worthy(masks, options)
    masks = replace(masks, runs=tuple(_cleaned(mask, options) for mask in masks.runs))
    kept = suppress(
        masks.runs,
        masks.scores,
        max_iou=1.0 if options.max_iou is None else options.max_iou,
        max_containment=1.0 if options.max_containment is None else options.max_containment,
    )
    masks = masks[kept]
    if options.overlap != "allow":
        order = {"score": -masks.scores, "area": masks.areas, "order": np.arange(len(masks))}
        ranked = np.argsort(order[options.overlap], kind="stable")
        masks = replace(masks, runs=tuple(separate(masks.runs, ranked)))
    return masks[masks.areas > 0]


def detect_overlaps(masks: Masks, iou_threshold: float = 0.5) -> list[Overlapping]:
    """Return the pairs of masks whose intersection over union is above a threshold, in order.

    At 0 these are all that have a pixel in common. Boxes say which pairs can be meant at all; only
    those are compared, by their runs.

    Raises:
        MaskError: these are no `Masks`.
        ConfigError: the threshold is no number in 0..1.
    """
    _require_masks(masks)
    _require_share("iou_threshold", iou_threshold)
    field = Field(masks.runs)
    places = np.arange(len(masks))
    found = []
    for first in places.tolist():
        near = places[first + 1 :]
        near = near[field.iou(first, near, field.common_at_most(first, near)) > iou_threshold]
        common = field.common(first, near)
        iou = field.iou(first, near, common)
        for second, shared, overlap in zip(
            near.tolist(), common.tolist(), iou.tolist(), strict=True
        ):
            if overlap > iou_threshold:
                areas = field.areas[[first, second]]
                found.append(Overlapping(first, second, overlap, *(shared / areas).tolist()))
    return found


def suppress(
    masks: Sequence[RunLength],
    scores: ArrayLike,
    *,
    max_iou: float = 1.0,
    max_containment: float = 1.0,
) -> IndexArray:
    """Return which masks are no double of a better one, in their order.

    From the highest score down, of equal scores the earlier first, a mask goes if with one that
    stays it has an intersection over union above `max_iou`, or if more than `max_containment` of
    its own pixels lie in that one. Boxes and areas say which pairs can be meant at all; only those
    are compared, by their runs. At 1 neither rule leaves anything out.

    Raises:
        MaskError: the masks differ in size, or there are not as many scores as masks.
        ConfigError: a threshold is no number in 0..1.
    """
    scores = np.asarray(scores)
    if scores.shape != (len(masks),):
        raise MaskError(f"{len(masks)} masks, but the scores have shape {scores.shape}")
    _require_share("max_iou", max_iou)
    _require_share("max_containment", max_containment)
    if max_iou == max_containment == 1:
        return np.arange(len(masks))
    field = Field(masks)

    def double(best: int, others: IndexArray, common: IndexArray) -> FlagArray:
        overlap, inside = field.iou(best, others, common), field.inside(others, common)
        return (overlap > max_iou) | (inside > max_containment)

    left = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while left.size:
        best, left = int(left[0]), left[1:]
        kept.append(best)
        near = double(best, left, field.common_at_most(best, left))
        near[near] = double(best, left[near], field.common(best, left[near]))
        left = left[~near]
    return np.sort(np.array(kept, dtype=np.int64))


def separate(masks: Sequence[RunLength], ranked: Sequence[int] | IndexArray) -> list[RunLength]:
    """Give every pixel to the first mask in `ranked`, a list of all places, that claims it.

    Raises:
        MaskError: the masks differ in size.
    """
    field = Field(masks)
    apart = list(masks)
    ranked = np.asarray(ranked, dtype=np.int64)
    for rank, place in enumerate(ranked.tolist()):
        earlier = ranked[:rank]
        near = earlier[field.common_at_most(place, earlier) > 0].tolist()
        if near:
            apart[place] = masks[place].difference(union([apart[index] for index in near]))
    return apart


class Field:
    """Boxes and areas of masks of one size, which bound what any two have in common."""

    def __init__(self, masks: Sequence[RunLength]) -> None:
        require_same_size(masks)
        self.masks = masks
        self.boxes = np.array([mask.box for mask in masks], dtype=np.int64).reshape(-1, 4)
        self.areas = np.array([mask.area for mask in masks], dtype=np.int64)

    def common_at_most(self, one: int, others: IndexArray) -> IndexArray:
        """Return how many pixels one mask can have in common with each of some others."""
        low = np.maximum(self.boxes[one, :2], self.boxes[others, :2])
        high = np.minimum(self.boxes[one, 2:], self.boxes[others, 2:])
        boxed = np.maximum(high - low, 0).prod(axis=1)
        most: IndexArray = np.minimum(np.minimum(boxed, self.areas[others]), self.areas[one])
        return most

    def common(self, one: int, others: IndexArray) -> IndexArray:
        """Count the pixels that one mask has in common with each of some others."""
        return self.masks[one].intersections([self.masks[index] for index in others.tolist()])

    def iou(self, one: int, others: IndexArray, common: IndexArray) -> NDArray[np.float64]:
        """Return intersections over unions; two empty masks have 0."""
        shares: NDArray[np.float64] = common / np.maximum(
            self.areas[one] + self.areas[others] - common, 1
        )
        return shares

    def inside(self, others: IndexArray, common: IndexArray) -> NDArray[np.float64]:
        """Return which shares of the others are common; an empty mask has 0."""
        shares: NDArray[np.float64] = common / np.maximum(self.areas[others], 1)
        return shares


def _worthy(masks: Masks, options: TidyOptions) -> Masks:
    """Leave out masks that have no pixels or do not reach a threshold."""
    masks = masks[masks.areas > 0]
    # What is not a number is below nothing.
    poor = masks.scores < options.min_score
    if masks.stability is not None:
        poor |= masks.stability < options.min_stability
    if options.keep_best and len(masks) and poor.all():
        return replace(masks.best(), confident=np.zeros(1, dtype=np.bool_))
    return masks[~poor]


def _cleaned(mask: RunLength, options: TidyOptions) -> RunLength:
    mask = fill_holes(mask, options.fill_holes)
    mask = drop_specks(mask, options.drop_specks)
    return smooth(mask, options.smooth)


def _require_masks(masks: Masks) -> None:
    if not isinstance(masks, Masks):
        raise MaskError(
            f"`masks` must be `Masks`, got {type(masks).__name__}",
            hint="`Masks.from_numpy(stack)` takes dense masks, n H W bool",
        )


def _require_share(name: str, value: float) -> None:
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not (number and 0 <= value <= 1):
        raise ConfigError(f"`{name}` must be a number in 0..1, got {value!r}")
