"""How good tracking is: J, F and J&F as DAVIS defines them for objects given in the first frame.

J is the overlap of the masks, F the F-measure of their outlines (Perazzi et al. 2016, sections 4.1
and 4.2). The first frame, where the object was given, and the last do not count; an object's score
is the mean over the others, and a data set's the mean over its objects. Checked against the
release: github.com/davisvideochallenge/davis2017-evaluation, commit 30b698a, metrics.py and
evaluation.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from promptseg.errors import ConfigError, MaskError, MissingExtraError
from promptseg.evaluate.metrics import iou
from promptseg.shapes import MaskArray

try:
    import cv2
except ImportError as error:
    raise MissingExtraError(
        "measuring outlines needs OpenCV, which is not installed",
        hint="Run `pip install promptseg[evaluate]`",
    ) from error

# How far apart outlines may lie, as a share of the image's diagonal.
TOLERANCE = 0.008


@dataclass(frozen=True)
class TrackScores:
    """The mean overlap `j` and outline measure `f` of one object or of many, 0..1."""

    j: float
    f: float

    @property
    def j_and_f(self) -> float:
        """The mean of both, by which methods are compared."""
        return (self.j + self.f) / 2


def score_track(masks: Sequence[MaskArray], truth: Sequence[MaskArray]) -> TrackScores:
    """Score one object by its mask in every frame of a video, empty where it is not seen.

    Raises:
        MaskError: there is not one mask for each frame, or two differ in size.
        ConfigError: there is no frame between the first and the last.
    """
    if len(masks) != len(truth):
        raise MaskError(f"{len(truth)} frames, but {len(masks)} masks")
    if len(truth) < 3:
        raise ConfigError(
            f"the first and the last frame do not count, so 3 are needed, got {len(truth)}"
        )
    pairs = list(zip(masks, truth, strict=True))[1:-1]
    return TrackScores(
        j=fmean(iou(mask, true) for mask, true in pairs),
        f=fmean(boundary_score(mask, true) for mask, true in pairs),
    )


def mean_scores(objects: Mapping[str, TrackScores]) -> TrackScores:
    """Take the mean over objects, each of which counts the same whichever video it is in.

    Raises:
        ConfigError: there are none.
    """
    if not objects:
        raise ConfigError("there are no objects to take the mean of")
    return TrackScores(
        j=fmean(each.j for each in objects.values()), f=fmean(each.f for each in objects.values())
    )


def boundary_score(mask: MaskArray, truth: MaskArray, *, tolerance: float = TOLERANCE) -> float:
    """How well outlines agree: the F-measure of those pixels that lie within `tolerance`.

    `tolerance` is a share of the image's diagonal, rounded up to whole pixels. Masks without an
    outline, empty or full, agree fully with each other and with no other mask.

    Raises:
        MaskError: the two differ in size.
    """
    if mask.shape != truth.shape:
        raise MaskError(f"a mask is {mask.shape[::-1]}, its truth {truth.shape[::-1]}")
    reach = math.ceil(tolerance * math.hypot(*mask.shape))
    found, true = outline(mask), outline(truth)
    if not found.any() or not true.any():
        return float(found.any() == true.any())
    precision = np.count_nonzero(found & _near(true, reach)) / np.count_nonzero(found)
    recall = np.count_nonzero(true & _near(found, reach)) / np.count_nonzero(true)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def outline(mask: MaskArray) -> MaskArray:
    """Return the pixels that differ from the one to the right, below, or both.

    Beyond the last row and column lies what is in them.
    """
    padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    here = padded[:-1, :-1]
    edges: MaskArray = (
        (here != padded[:-1, 1:]) | (here != padded[1:, :-1]) | (here != padded[1:, 1:])
    )
    return edges


def _near(pixels: MaskArray, reach: int) -> MaskArray:
    """Return the pixels that lie within `reach` of one of these."""
    y, x = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    disk = (x**2 + y**2 <= reach**2).astype(np.uint8)
    grown: MaskArray = cv2.dilate(pixels.astype(np.uint8), disk).astype(np.bool_)
    return grown
