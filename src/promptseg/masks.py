"""Masks as lengths of runs: made from crops, compared without being dense, coded as COCO does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, TypedDict

import numpy as np

from promptseg import coco_counts
from promptseg.errors import MaskError
from promptseg.geometry import PixelBox, Size
from promptseg.polygons import Polygon, Stretches, trace
from promptseg.shapes import IndexArray, MaskArray, OverlapArray, RunArray


class CocoRle(TypedDict):
    """A mask as COCO JSON has it: `size` is [height, width], `counts` the compressed string."""

    size: list[int]
    counts: str


class Crop(NamedTuple):
    """The part of a mask inside its own box, and where that box begins."""

    mask: MaskArray
    left: int
    top: int


@dataclass(frozen=True, eq=False, repr=False)
class RunLength:
    """A mask as lengths of runs, column by column, the first of them outside.

    Masks that mark the same pixels of the same size are equal and hash alike.

    Raises:
        MaskError: the runs do not fill `size` exactly, or one is negative.
    """

    size: Size
    counts: RunArray

    def __post_init__(self) -> None:
        size = Size(*self.size)
        counts = np.array(self.counts, dtype=np.int64, ndmin=1)
        if size.height < 1 or size.width < 1:
            raise MaskError(f"a mask needs at least one pixel, got {size}")
        if (counts < 0).any():
            raise MaskError(f"a run cannot be negative, got {counts.min()}")
        pixels = size.height * size.width
        # Each run first, because a sum of huge ones would wrap round.
        if counts.max(initial=0) > pixels or counts.sum() != pixels:
            raise MaskError(
                f"the runs of a mask of {size} must sum to {pixels}, got {sum(counts.tolist())}",
                hint="`size` is (height, width), and runs go column by column",
            )
        if (counts[1:] == 0).any():
            counts = _without_gaps(counts)
        counts.flags.writeable = False
        object.__setattr__(self, "size", size)
        object.__setattr__(self, "counts", counts)

    @classmethod
    def from_mask(cls, mask: MaskArray) -> RunLength:
        """Code a mask of the size of its image."""
        if np.ndim(mask) != 2:
            raise MaskError(f"a mask has two axes, got shape {np.shape(mask)}")
        return cls.from_crop(mask, left=0, top=0, size=Size(*np.shape(mask)))

    @classmethod
    def from_crop(cls, crop: MaskArray, *, left: int, top: int, size: Size) -> RunLength:
        """Code a mask that lies in one part of an image of `size`, at the cost of that part."""
        crop = np.asarray(crop)
        if crop.dtype != np.bool_ or crop.ndim != 2:
            raise MaskError(f"a mask is bool and has two axes, got {crop.dtype} of {crop.shape}")
        height, width = crop.shape
        if left < 0 or top < 0 or left + width > size[1] or top + height > size[0]:
            raise MaskError(
                f"a crop of {Size(height, width)} at ({left}, {top}) leaves a mask of {Size(*size)}"
            )
        # Only where a pixel differs from the one above it does a column begin or end a run. Those
        # places are few, and sorting them is cheaper than turning the crop on its side.
        edges = np.zeros((height + 1, width), dtype=np.bool_)
        if crop.size:
            edges[0], edges[-1] = crop[0], crop[-1]
            np.not_equal(crop[1:], crop[:-1], out=edges[1:-1])
        y, x = np.divmod(np.flatnonzero(edges), max(width, 1))
        places = (x + left) * size[0] + (y + top)
        places.sort()
        return _from_places(places, size)

    @classmethod
    def from_stretches(cls, stretches: Stretches, size: Size) -> RunLength:
        """Code upright stretches that lie apart within an image of `size`, column by column."""
        return _from_places(_ends(stretches, size), size)

    @classmethod
    def from_coco(cls, code: Mapping[str, object]) -> RunLength:
        """Read `{"size": [height, width], "counts": a list or the compressed string}`."""
        if not isinstance(code, Mapping):
            raise MaskError(
                f"a COCO mask is a dict with `size` and `counts`, got {type(code).__name__}"
            )
        counts = code.get("counts")
        match code.get("size"):
            case [int(height), int(width)] if not isinstance(height, bool):
                size = Size(height, width)
            case other:
                raise MaskError(f"a COCO mask needs `size` as [height, width], got {other!r}")
        if isinstance(counts, (str, bytes)):
            return cls(size, coco_counts.decode(counts))
        if isinstance(counts, (list, tuple)) and all(isinstance(count, int) for count in counts):
            if any(abs(count) > 2**62 for count in counts):
                raise MaskError(f"a run is longer than any mask: {max(counts, key=abs)}")
            return cls(size, np.array(counts, dtype=np.int64))
        raise MaskError(
            "a COCO mask needs `counts` as a string or a list of whole numbers, "
            f"got {type(counts).__name__}"
        )

    def to_coco(self) -> CocoRle:
        """Write the mask as COCO JSON has it, its counts compressed."""
        height, width = self.size
        return {"size": [height, width], "counts": coco_counts.encode(self.counts)}

    def to_mask(self) -> MaskArray:
        """Return the mask at the size of its image."""
        crop, left, top = self.to_crop()
        mask = np.zeros(self.size, dtype=np.bool_)
        mask[top : top + crop.shape[0], left : left + crop.shape[1]] = crop
        return mask

    def to_crop(self) -> Crop:
        """Return the part of the mask inside its box, at the cost of that part."""
        return Crop(self.to_window(self.box), self.box.x0, self.box.y0)

    def to_window(self, box: PixelBox) -> MaskArray:
        """Return the part of the mask inside a box of its image, at the cost of that part."""
        x, top, bottom = self.stretches
        reach = slice(*np.searchsorted(x, (box.x0, box.x1)))
        top, bottom = np.maximum(top[reach], box.y0), np.minimum(bottom[reach], box.y1)
        some = top < bottom
        x, top, bottom = x[reach][some], top[some], bottom[some]
        crop = np.zeros((box.y1 - box.y0 + 1, box.x1 - box.x0), dtype=np.bool_)
        crop[top - box.y0, x - box.x0] = True
        crop[bottom - box.y0, x - box.x0] = True
        # Row by row, which is several times faster than `np.logical_xor.accumulate`.
        for row in range(1, len(crop)):
            np.logical_xor(crop[row], crop[row - 1], out=crop[row])
        return crop[:-1]

    @cached_property
    def area(self) -> int:
        """How many pixels are inside."""
        return int(self.counts[1::2].sum())

    @cached_property
    def box(self) -> PixelBox:
        """The smallest box that holds the mask, half-open; zeros when the mask is empty."""
        x, top, bottom = self.stretches
        if not x.size:
            return PixelBox(0, 0, 0, 0)
        return PixelBox(int(x[0]), int(top.min()), int(x[-1]) + 1, int(bottom.max()))

    @property
    def stretches(self) -> Stretches:
        """The inside as upright stretches of pixels, column by column, each within one column."""
        height = self.size.height
        starts, stops = self._places[0::2], self._places[1::2]
        first = starts // height
        columns = (stops - 1) // height - first + 1
        x = np.repeat(first - (np.cumsum(columns) - columns), columns) + np.arange(columns.sum())
        top = np.maximum(np.repeat(starts, columns) - x * height, 0)
        bottom = np.minimum(np.repeat(stops, columns) - x * height, height)
        return Stretches(x, top, bottom)

    def intersection(self, other: RunLength) -> int:
        """Count the pixels that are inside both, from the runs alone."""
        return int(self.intersections([other])[0])

    def intersections(self, others: Sequence[RunLength]) -> IndexArray:
        """Count the pixels that are inside both this mask and each other, from the runs alone."""
        require_same_size([self, *others])
        none = np.zeros(0, dtype=np.int64)
        places = np.concatenate([none, *(other._places for other in others)])
        sizes = np.array([len(other._places) // 2 for other in others], dtype=np.int64)
        before = np.append(0, np.cumsum(self._shares(places)))
        ends = np.cumsum(sizes)
        counts: IndexArray = before[ends] - before[ends - sizes]
        return counts

    def shares(self, stretches: Stretches) -> IndexArray:
        """Count the pixels that are inside this mask and in each of some upright stretches."""
        return self._shares(_ends(stretches, self.size))

    def union(self, other: RunLength) -> RunLength:
        """Return what is inside either."""
        return union([self, other])

    def difference(self, other: RunLength) -> RunLength:
        """Return what is inside this mask and not inside the other."""
        require_same_size([self, other])
        places = np.concatenate([self._places, other._places])
        order = np.argsort(places, kind="stable")
        # Inside this mask alone the steps add up to 1, inside the other they come to more.
        steps = np.concatenate(
            [np.resize([1, -1], len(self._places)), np.resize([2, -2], len(other._places))]
        )
        alone = np.cumsum(steps[order]) == 1
        places = places[order]
        last = np.append(places[1:] != places[:-1], np.ones(min(len(places), 1), dtype=np.bool_))
        places, alone = places[last], alone[last]
        return _from_places(places[np.diff(alone, prepend=False)], self.size)

    def complement(self) -> RunLength:
        """Return what is outside."""
        return RunLength(self.size, np.append(0, self.counts))

    def polygons(self) -> list[Polygon]:
        """Trace the mask along the edges of its pixels: a polygon for each 4-connected region."""
        return trace(self.stretches)

    @cached_property
    def _places(self) -> RunArray:
        """The places at which the mask turns on and off, in turn, counted column by column."""
        places: RunArray = np.cumsum(self.counts)
        # An odd number of runs ends outside; its last place is only the end of the image.
        return places[: len(places) // 2 * 2]

    @cached_property
    def _inside_before(self) -> RunArray:
        """How many inside pixels come before each run, and in all."""
        return np.append(0, np.cumsum(self.counts[1::2]))

    def _shares(self, places: RunArray) -> IndexArray:
        """Count the pixels inside this mask in each run from one of `places` to its next."""
        if not self._places.size:
            return np.zeros(len(places) // 2, dtype=np.int64)
        run = np.searchsorted(self._places[0::2], places, side="right")
        beyond = np.append(0, self._places[1::2])[run] - places
        before = self._inside_before[run] - np.maximum(beyond, 0)
        inside: IndexArray = before[1::2] - before[0::2]
        return inside

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RunLength):
            return NotImplemented
        return self.size == other.size and np.array_equal(self.counts, other.counts)

    def __hash__(self) -> int:
        return hash((self.size, self.counts.tobytes()))

    def __repr__(self) -> str:
        return f"RunLength({self.size}, area {self.area}, box {tuple(self.box)})"


def union(masks: Sequence[RunLength]) -> RunLength:
    """Return what is inside any of the masks, which are at least one and of one size."""
    if not masks:
        raise MaskError("a union needs at least one mask, got none")
    require_same_size(masks)
    places = np.concatenate([mask._places for mask in masks])
    order = np.argsort(places[0::2])
    starts, reach = places[0::2][order], np.maximum.accumulate(places[1::2][order])
    apart = starts[1:] > reach[:-1]
    edge = np.ones(min(len(starts), 1), dtype=np.bool_)
    merged = [starts[np.append(edge, apart)], reach[np.append(apart, edge)]]
    return _from_places(np.stack(merged, axis=1).ravel(), masks[0].size)


def overlaps(masks: Sequence[RunLength], others: Sequence[RunLength]) -> OverlapArray:
    """Return the intersection over union of every mask with every other; two empty masks have 0.

    Boxes say which pairs can meet at all; only those are compared, by their runs.
    """
    result = np.zeros((len(masks), len(others)))
    if not result.size:
        return result
    require_same_size([*masks, *others])
    boxes = np.array([mask.box for mask in masks])[:, None]  # n 1 4
    against = np.array([mask.box for mask in others])[None]  # 1 m 4
    low = np.maximum(boxes[..., :2], against[..., :2])
    high = np.minimum(boxes[..., 2:], against[..., 2:])
    meets = (low < high).all(axis=-1)
    areas = np.array([mask.area for mask in others])
    for row, mask in enumerate(masks):
        near = np.flatnonzero(meets[row])
        if near.size:
            common = mask.intersections([others[index] for index in near.tolist()])
            result[row, near] = common / (mask.area + areas[near] - common)
    return result


def require_same_size(masks: Sequence[RunLength]) -> None:
    """Refuse masks that are not of one image."""
    for mask in masks:
        if mask.size != masks[0].size:
            raise MaskError(
                f"masks of different sizes cannot be compared: {masks[0].size}, {mask.size}"
            )


def _ends(stretches: Stretches, size: Size) -> RunArray:
    """Where each stretch begins and where it ends, in turn, counted column by column."""
    starts = stretches.x * size[0]
    places = np.stack([starts + stretches.top, starts + stretches.bottom], axis=1)
    return places.ravel()


def _from_places(places: RunArray, size: Size) -> RunLength:
    """Code a mask that turns on and off at sorted places; a place named twice does not count."""
    twice = places[1:] == places[:-1]
    if twice.any():
        keep = np.ones(len(places), dtype=np.bool_)
        keep[1:] &= ~twice
        keep[:-1] &= ~twice
        places = places[keep]
    total = size[0] * size[1]
    ends = [total] if not places.size or places[-1] < total else []
    return RunLength(size, np.diff(places, prepend=0, append=np.array(ends, dtype=np.int64)))


def _without_gaps(counts: RunArray) -> RunArray:
    """Join runs that only an empty run keeps apart."""
    starts = (np.cumsum(counts) - counts)[counts > 0]
    inside = (np.flatnonzero(counts) % 2).astype(np.bool_)
    # Before the first pixel is outside, so a mask that begins inside keeps an empty first run.
    changes = np.flatnonzero(np.diff(inside, prepend=False))
    return np.diff(starts[changes], prepend=0, append=counts.sum())
