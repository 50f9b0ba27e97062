"""The simulated annotator: where a person would click next, given what is wrong.

It knows masks only, no model. Training has an annotator of its own, less tidy than this one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from promptseg.errors import MissingExtraError
from promptseg.shapes import MaskArray

try:
    import cv2
except ImportError as error:
    raise MissingExtraError(
        "simulated clicks need OpenCV, which is not installed",
        hint="pip install 'promptseg[evaluate]'",
    ) from error


class Click(NamedTuple):
    """One point with its label: 1 where the object is, 0 where it is not. Pixels of the image."""

    x: int
    y: int
    label: int


def first_click(truth: MaskArray) -> Click | None:
    """Return the most interior pixel of a mask, included; None for an empty mask."""
    return _deepest(truth, 1)


def next_click(truth: MaskArray, mask: MaskArray) -> Click | None:
    """Return the most interior pixel of the largest region where `mask` is wrong; None if nowhere.

    A region is 8-connected and either missing, which gives a label of 1, or too much, which gives
    0. Of two equal in area the missing one comes first.
    """
    missing, missing_area = _largest_region(truth & ~mask)
    surplus, surplus_area = _largest_region(mask & ~truth)
    if surplus_area > missing_area:
        return _deepest(surplus, 0)
    return _deepest(missing, 1)


def _largest_region(wrong: MaskArray) -> tuple[MaskArray, int]:
    """Return the 8-connected region of most pixels, on the whole image, and its area."""
    # Counting labels is three times as fast as OpenCV's own statistics.
    count, regions = cv2.connectedComponents(wrong.view(np.uint8), connectivity=8, ltype=cv2.CV_32S)
    if count == 1:
        return wrong, 0
    areas = np.bincount(regions.ravel(), minlength=count)
    areas[0] = 0
    winner = int(areas.argmax())
    return regions == winner, int(areas[winner])


def _deepest(region: MaskArray, label: int) -> Click | None:
    """Return the pixel of a region farthest from its edge, the first in reading order.

    The edge of the image counts as an edge, as in RITM (Sofiiuk et al. 2021).
    """
    left, top, width, height = cv2.boundingRect(region.view(np.uint8))
    if not width:
        return None
    # Only its box matters; the rim of background makes the edge of the image an edge of the region.
    crop = np.zeros((height + 2, width + 2), np.uint8)
    crop[1:-1, 1:-1] = region[top : top + height, left : left + width]
    depth = cv2.distanceTransform(crop, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    y, x = divmod(int(depth.argmax()), width + 2)
    return Click(left + x - 1, top + y - 1, label)
