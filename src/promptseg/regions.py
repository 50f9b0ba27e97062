"""The connected regions of a mask, on its runs: holes filled, specks dropped, outlines smoothed."""

from __future__ import annotations

from numbers import Integral
from typing import Literal, NamedTuple, get_args

import numpy as np

from promptseg.errors import ConfigError
from promptseg.geometry import PixelBox
from promptseg.masks import RunLength, union
from promptseg.polygons import Stretches
from promptseg.shapes import FlagArray, IndexArray, MaskArray

# Which pixels are neighbours: those with a common edge, or those with a common corner too.
Connectivity = Literal[4, 8]

# The pixels of a window of the farthest reach can be counted in 16 bits.
MOST_REACH = 127

# Wide enough that margins cost little, small enough to stay in a processor's cache.
BAND_PIXELS = 2**20


class Regions(NamedTuple):
    """Stretches of a mask, the number of the region of each, and how many pixels each region has.

    Regions are numbered as one meets them column by column.
    """

    stretches: Stretches
    number: IndexArray
    areas: IndexArray


def components(mask: RunLength, *, connectivity: Connectivity = 8) -> list[RunLength]:
    """Return the connected regions of a mask, in order of their first pixels column by column.

    Raises:
        ConfigError: the connectivity is neither 4 nor 8.
    """
    found = _regions(mask, connectivity)
    order = np.argsort(found.number, kind="stable")
    ends = np.cumsum(np.bincount(found.number, minlength=len(found.areas)))[:-1]
    return [_only(found.stretches, part, mask) for part in np.split(order, ends) if part.size]


def fill_holes(mask: RunLength, most: int, *, connectivity: Connectivity = 4) -> RunLength:
    """Fill the regions of the outside that have at most `most` pixels.

    Those that the edge of the image closes count as holes too, as in scikit-image's
    `remove_small_holes` and segment-anything's `remove_small_regions`; an empty mask has none. The
    outside is 4-connected unless told otherwise, so that a wall whose pixels touch at corners, as
    those of an 8-connected region may, closes a hole.

    Raises:
        ConfigError: `most` is no whole number from 0 on, or the connectivity neither 4 nor 8.
    """
    _require_pixels("most", most)
    if not most or not mask.area:
        return mask
    found = _regions(mask.complement(), connectivity)
    large = found.areas > most
    if large.all():
        return mask
    return _only(found.stretches, large[found.number], mask).complement()


def drop_specks(mask: RunLength, most: int, *, connectivity: Connectivity = 8) -> RunLength:
    """Drop the regions that have at most `most` pixels, but never the largest.

    Of equally large regions the one met first column by column counts as the largest. Without that
    rule it is scikit-image's `remove_small_objects`, with it segment-anything's
    `remove_small_regions`, which however means areas below its threshold.

    Raises:
        ConfigError: `most` is no whole number from 0 on, or the connectivity neither 4 nor 8.
    """
    _require_pixels("most", most)
    if not most or not mask.area:
        return mask
    found = _regions(mask, connectivity)
    kept = found.areas > most
    kept[found.areas.argmax()] = True
    return mask if kept.all() else _only(found.stretches, kept[found.number], mask)


def smooth(mask: RunLength, reach: int) -> RunLength:
    """Let every pixel be what most of the pixels at most `reach` away across and down are.

    Straight edges stay where they are; notches, spurs and stairs that are small beside `reach` go;
    corners get round. Beyond the image its outermost pixels go on. What the vote would take away
    or add in one piece of more pixels than were asked, such as a tail or a gap between two fingers,
    stays as it was; so does a region of which nothing would be left: nothing thin is lost.

    Raises:
        ConfigError: `reach` is no whole number from 0 to 127.
    """
    _require_pixels("reach", reach, most=MOST_REACH)
    if not reach or not mask.area:
        return mask
    voted = _voted(mask, reach)
    window = (2 * reach + 1) ** 2
    tails = _larger(mask.difference(voted), window)
    gaps = _larger(voted.difference(mask), window)
    kept = union([voted.difference(gaps), tails])
    found = _regions(mask, 8)
    left = np.bincount(found.number, weights=kept.shares(found.stretches))
    if left.all():
        return kept
    return union([kept, _only(found.stretches, (left == 0)[found.number], mask)])


def _regions(mask: RunLength, connectivity: Connectivity) -> Regions:
    if connectivity not in get_args(Connectivity):
        raise ConfigError(f"`connectivity` must be 4 or 8, got {connectivity!r}")
    stretches = mask.stretches
    number = _numbers(stretches, corners=connectivity == 8)
    areas = np.bincount(number, weights=stretches.bottom - stretches.top).astype(np.int64)
    return Regions(stretches, number, areas)


def _numbers(stretches: Stretches, *, corners: bool) -> IndexArray:
    """Number the stretches by region; `corners` says whether a common corner joins two."""
    x, top, bottom = stretches
    stride = bottom.max(initial=0) + 1
    beside, below = (x + 1) * stride + top, (x + 1) * stride + bottom
    # The stretches of the next column that touch one of this column follow each other.
    first = np.searchsorted(x * stride + bottom, beside, side="left" if corners else "right")
    ends = np.searchsorted(x * stride + top, below, side="right" if corners else "left")
    counts = ends - first
    one = np.repeat(np.arange(len(x)), counts)
    other = np.arange(len(one)) + np.repeat(first - (np.cumsum(counts) - counts), counts)
    root = _roots(len(x), one, other)
    numbers: IndexArray = (np.cumsum(root == np.arange(len(x))) - 1)[root]
    return numbers


def _roots(count: int, one: IndexArray, other: IndexArray) -> IndexArray:
    """Return for each of `count` things the first of all that it is joined with, step by step.

    Every round hangs roots on earlier ones that they touch, all at once, and lets each thing point
    at its root again; what has one root by then is settled.
    """
    root = np.arange(count)
    while one.size:
        root[np.maximum(one, other)] = np.minimum(one, other)
        further = root[root]
        while not np.array_equal(further, root):
            root, further = further, further[further]
        one, other = root[one], root[other]
        apart = one != other
        one, other = one[apart], other[apart]
    return root


def _voted(mask: RunLength, reach: int) -> RunLength:
    """Let every pixel be what most pixels of its window are, some columns at a time."""
    x0, y0, x1, y1 = _grown(mask.box, reach, mask)
    width = max(BAND_PIXELS // (y1 - y0), reach)
    parts = []
    for left in range(x0, x1, width):
        band = PixelBox(left, y0, min(left + width, x1), y1)
        crop = _majority(_with_margin(mask, band, reach), 2 * reach + 1)
        parts.append(RunLength.from_crop(crop, left=left, top=y0, size=mask.size).stretches)
    columns = map(np.concatenate, zip(*parts, strict=True))
    return RunLength.from_stretches(Stretches(*columns), mask.size)


def _with_margin(mask: RunLength, box: PixelBox, reach: int) -> MaskArray:
    """Return the mask in a box and `reach` pixels round it, beyond the image as at its edge."""
    seen = _grown(box, reach, mask)
    missing = [reach - abs(edge - inner) for edge, inner in zip(seen, box, strict=True)]
    across, down = (missing[0], missing[2]), (missing[1], missing[3])
    return np.pad(mask.to_window(seen), (down, across), mode="edge")


def _majority(mask: MaskArray, side: int) -> MaskArray:
    """Say of each window of an odd `side` whether more than half of it is inside."""
    counts = _sums(_sums(mask.astype(np.uint16), side).T, side).T
    inside: MaskArray = counts > side * side // 2
    return inside


def _sums(values: np.ndarray, length: int) -> np.ndarray:
    """Add up each `length` rows that follow each other, by doubling."""
    if length == 1:
        return values
    step = length // 2
    half = _sums(values, step)
    sums: np.ndarray = half[:-step] + half[step:]
    return sums[:-1] + values[length - 1 :] if length % 2 else sums


def _larger(mask: RunLength, most: int) -> RunLength:
    """Return the regions of more than `most` pixels."""
    found = _regions(mask, 8)
    return _only(found.stretches, (found.areas > most)[found.number], mask)


def _only(stretches: Stretches, chosen: FlagArray | IndexArray, mask: RunLength) -> RunLength:
    """Return the mask of the chosen stretches alone."""
    return RunLength.from_stretches(Stretches(*(each[chosen] for each in stretches)), mask.size)


def _grown(box: PixelBox, reach: int, mask: RunLength) -> PixelBox:
    height, width = mask.size
    return PixelBox(
        max(box.x0 - reach, 0),
        max(box.y0 - reach, 0),
        min(box.x1 + reach, width),
        min(box.y1 + reach, height),
    )


def _require_pixels(name: str, value: int, *, most: int | None = None) -> None:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise ConfigError(f"`{name}` must be a whole number of pixels, got {value!r}")
    if value < 0 or (most is not None and value > most):
        bounds = "at least 0" if most is None else f"0 to {most}"
        raise ConfigError(f"`{name}` is {bounds} pixels, got {value}")
