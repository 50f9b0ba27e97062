"""Which colour each mask gets, so that those next to each other differ."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from promptseg.drawing.coverage import Grid, owners
from promptseg.masks import RunLength, overlaps
from promptseg.shapes import FlagArray, IndexArray, OverlapArray

Colour = tuple[int, int, int]

# Chosen by eye on photos: neighbours in the list differ in hue and in lightness, and none is the
# green or the red of a point.
PALETTE: tuple[Colour, ...] = (
    (30, 136, 255),
    (255, 176, 0),
    (214, 51, 203),
    (0, 201, 183),
    (255, 110, 64),
    (126, 87, 255),
    (190, 220, 40),
    (255, 105, 160),
    (0, 150, 199),
    (176, 124, 76),
)
INCLUDE: Colour = (34, 197, 94)
EXCLUDE: Colour = (239, 68, 68)
WHITE: Colour = (255, 255, 255)
BLACK: Colour = (0, 0, 0)

# How many cells apart are still neighbours: what is nearer than half a hundredth of a picture is
# seen side by side.
REACH = 2
# Colours that differ by so much in Oklab are told apart at a glance; judged on the palette.
ENOUGH = 0.2
# Ottosson's two matrices, turned on their sides: linear sRGB to cones, and their roots to Oklab.
TO_CONES = np.array(
    [
        [0.4122214708, 0.2119034982, 0.0883024619],
        [0.5363325363, 0.6806995451, 0.2817188376],
        [0.0514459929, 0.1073969566, 0.6299787005],
    ]
)
TO_OKLAB = np.array(
    [
        [0.2104542553, 1.9779984951, 0.0259040371],
        [0.7936177850, -2.4285922050, 0.7827717662],
        [-0.0040720468, 0.4505937099, -0.8086757660],
    ]
)


def apart(masks: Sequence[RunLength], labels: Sequence[str] | None = None) -> list[Colour]:
    """Choose colours of the palette so that masks which are seen side by side, or overlap, differ.

    Masks of one label that is not empty have one colour, and count as one mask; labels differ
    wherever they are, as far as the palette reaches. Each mask gets the palette's colour of its
    turn, unless that is too like a neighbour's; then the next one that is unlike them all, or,
    where there is none, the least alike. What is seen side by side counts before what overlaps.
    Masks with many neighbours choose first.
    """
    if not masks:
        return []
    labels = labels or [""] * len(masks)
    groups = _groups(labels)
    named = np.array([bool(label) for label in labels])
    beside = _between(groups, side_by_side(masks) | (named & named[:, None]))
    meets = _between(groups, overlaps(masks, masks) > 0)
    unlike = np.minimum(_differences(), ENOUGH)
    chosen = np.full(len(beside), -1)
    for index in np.argsort(-beside.sum(axis=1), kind="stable").tolist():
        first, second = (
            unlike[:, chosen[near[index] & (chosen >= 0)]].min(axis=1, initial=ENOUGH)
            for near in (beside, meets)
        )
        turn = np.roll(np.arange(len(PALETTE)), -index)
        chosen[index] = turn[np.lexsort((-second[turn], -first[turn]))[0]]
    return [PALETTE[index] for index in chosen[groups].tolist()]


def _groups(labels: Sequence[str]) -> IndexArray:
    """Number each mask by its label, in the order they come; one without is a group of its own."""
    numbers: dict[str | int, int] = {}
    return np.array(
        [numbers.setdefault(label or i, len(numbers)) for i, label in enumerate(labels)]
    )


def _between(groups: IndexArray, masks: FlagArray) -> FlagArray:
    """Tell of every two groups whether any two masks of them are told of, other than of one."""
    count = int(groups.max()) + 1
    found = np.zeros((count, count), np.bool_)
    one, other = np.nonzero(masks)
    found[groups[one], groups[other]] = True
    np.fill_diagonal(found, val=False)
    return found


def side_by_side(masks: Sequence[RunLength]) -> FlagArray:
    """Tell of every two masks whether what is seen of them lies side by side, or nearly so."""
    beside = np.zeros((len(masks), len(masks)), np.bool_)
    owner = owners(masks, Grid.coarse(masks[0].size))
    height, width = owner.shape
    for down in range(REACH + 1):
        for across in range(-REACH if down else 1, REACH + 1):
            one = owner[: height - down, max(-across, 0) : width - max(across, 0)]
            other = owner[down:, max(across, 0) : width - max(-across, 0)]
            meet = (one != other) & (one >= 0) & (other >= 0)
            beside[one[meet], other[meet]] = True
    either: FlagArray = beside | beside.T
    return either


def mix(colour: Colour, other: Colour, share: float) -> Colour:
    """Return a colour with so large a share of another one, 0..1."""
    red, green, blue = (
        round(one * (1 - share) + two * share) for one, two in zip(colour, other, strict=True)
    )
    return red, green, blue


def _differences() -> OverlapArray:
    """Return how unlike each two colours of the palette are: their distance in Oklab.

    Source: B. Ottosson, "A perceptual color space for image processing", 2020.
    """
    levels = np.array(PALETTE) / 255
    light = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    lab = np.cbrt(light @ TO_CONES) @ TO_OKLAB
    distances: OverlapArray = np.linalg.norm(lab[:, None] - lab[None], axis=-1)
    return distances
