"""Classical methods on the same clicks and boxes, to know what a network has to beat.

Nothing in them is learnt; their few settings were chosen on photos of the training set. Each sees
the image squashed into a small square, which makes it quick and, as that smooths, no worse.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int32, UInt8

from promptseg.errors import MissingExtraError
from promptseg.evaluate.clicks import Click
from promptseg.evaluate.metrics import REPORTED_CLICKS
from promptseg.evaluate.predictor import Answer, Predictor, Question, View
from promptseg.geometry import PixelBox, Placement, Size
from promptseg.shapes import ImageArray, MaskArray

try:
    import cv2
    from scipy import sparse
    from scipy.sparse.linalg import cg
    from skimage.segmentation import watershed
except ImportError as error:
    raise MissingExtraError(
        "the baselines need OpenCV and scikit-image, which are not installed",
        hint="pip install 'promptseg[evaluate]'",
    ) from error

UNKNOWN, OBJECT, BACKGROUND = 0, 1, 2
NO_BOX = (0, 0, 0, 0)

SquareImage = UInt8[np.ndarray, "s s 3"]
Cover = Float32[np.ndarray, "s s"]
Markers = Int32[np.ndarray, "s s"]


class Seeds(NamedTuple):
    """What was said about one object, in whole pixels of the square."""

    clicks: tuple[Click, ...]
    box: PixelBox | None


class Solution(NamedTuple):
    """How far each pixel belongs to the object, 0..1, and what to remember for the next click."""

    cover: Cover
    memory: object = None


Solve = Callable[[Seeds, object], Solution]
Prepare = Callable[[SquareImage], Solve]


def all_baselines() -> list[Predictor]:
    """Return every baseline, the simplest first."""
    return [
        Baseline("disc and ellipse", prepare_shapes, side=160),
        Baseline("watershed", prepare_watershed, side=256),
        Baseline("random walker", prepare_random_walker, side=128),
        Baseline("GrabCut", prepare_grabcut, side=128),
    ]


class Baseline:
    """A method that works in a square of `side` pixels, as a predictor; it is given 5 clicks."""

    cap = max(REPORTED_CLICKS)

    def __init__(self, name: str, prepare: Prepare, *, side: int) -> None:
        self.name = name
        self._prepare = prepare
        self._side = side

    def start(self, image: ImageArray) -> View:
        """Squash the image and do what is the same for all objects of it."""
        placement = Placement(Size(*image.shape[:2]), self._side)
        small = cv2.resize(image, (self._side, self._side), interpolation=cv2.INTER_AREA)
        return _SquareView(placement, self._prepare(small))


class _SquareView:
    """One image in its square."""

    def __init__(self, placement: Placement, solve: Solve) -> None:
        self._placement = placement
        self._solve = solve

    def answer(self, questions: Sequence[Question]) -> list[Answer]:
        return [self._answer(question) for question in questions]

    def _answer(self, question: Question) -> Answer:
        cover, memory = self._solve(self._seeds(question), question.memory)
        height, width = self._placement.image
        mask = cv2.resize(cover, (width, height), interpolation=cv2.INTER_LINEAR) > 0.5
        return Answer(mask, [mask], memory)

    def _seeds(self, question: Question) -> Seeds:
        """Move clicks and the box into the square; a box keeps every pixel it touches."""
        last = self._placement.side - 1
        points = np.array([(click.x + 0.5, click.y + 0.5) for click in question.clicks])
        moved = self._placement.points_to_model(points.reshape(-1, 2)).astype(int).clip(0, last)
        clicks = tuple(
            Click(int(x), int(y), click.label)
            for (x, y), click in zip(moved, question.clicks, strict=True)
        )
        if question.box is None:
            return Seeds(clicks, None)
        corners = self._placement.boxes_to_model(question.box.as_array()[None])[0]
        x0, y0 = np.floor(corners[:2]).astype(int)
        x1, y1 = np.ceil(corners[2:]).astype(int)
        return Seeds(clicks, PixelBox(int(x0), int(y0), int(x1), int(y1)))


def prepare_shapes(small: SquareImage) -> Solve:
    """Answer without looking: discs round the clicks on the object, or the ellipse in the box.

    Between clicks on and off the object, a pixel goes with the nearest.
    """
    side = len(small)
    rows, columns = np.mgrid[:side, :side]

    def distance(clicks: Sequence[Click], label: int) -> Cover:
        found = [np.hypot(columns - x, rows - y) for x, y, of in clicks if of == label]
        nothing = np.full((side, side), np.inf)
        nearest: Cover = np.minimum.reduce([nothing, *found]).astype(np.float32)
        return nearest

    def solve(seeds: Seeds, memory: object) -> Solution:
        if seeds.box is not None:
            return Solution((_ellipse(seeds.box, side, share=1.0) > 0).astype(np.float32))
        near = distance(seeds.clicks, 1)
        inside = (near <= 0.12 * side) & (near < distance(seeds.clicks, 0))
        return Solution(inside.astype(np.float32))

    return solve


def prepare_watershed(small: SquareImage) -> Solve:
    """Flood the colour gradient from the seeds (Meyer 1991)."""
    smooth = cv2.GaussianBlur(small, (0, 0), 1.0)
    lab = cv2.cvtColor(smooth, cv2.COLOR_RGB2LAB).astype(np.float32)
    across, down = cv2.Scharr(lab, cv2.CV_32F, 1, 0), cv2.Scharr(lab, cv2.CV_32F, 0, 1)
    gradient = np.sqrt((across**2 + down**2).sum(axis=2))

    def solve(seeds: Seeds, memory: object) -> Solution:
        markers = draw_markers(seeds, len(small), radius=0.013, core=0.7)
        regions = watershed(gradient, markers)  # type: ignore[no-untyped-call]
        return Solution((regions == OBJECT).astype(np.float32))

    return solve


def prepare_random_walker(small: SquareImage, *, beta: float = 700.0) -> Solve:
    """Give each pixel to the seeds that a walker starting there reaches first (Grady 2006).

    The weights are scikit-image's; here the graph is made once an image, and each
    answer starts from the one before, which scikit-image does not offer.
    """
    side = len(small)
    laplacian = _laplacian(small, beta)
    degree = laplacian.diagonal()

    def solve(seeds: Seeds, memory: object) -> Solution:
        markers = draw_markers(seeds, side, radius=0.013, core=0.7).ravel()
        cover = np.where(markers == OBJECT, 1.0, 0.0)
        free, seeded = np.flatnonzero(markers == UNKNOWN), np.flatnonzero(markers)
        rows = laplacian[free]
        before = memory if isinstance(memory, np.ndarray) else np.full(side * side, 0.5)
        cover[free], _ = cg(
            rows[:, free],
            -(rows[:, seeded] @ cover[seeded]),
            x0=before[free],
            rtol=1e-3,
            maxiter=400,
            M=sparse.diags(1 / degree[free]),
        )
        return Solution(cover.reshape(side, side).astype(np.float32), cover)

    return solve


def prepare_grabcut(small: SquareImage) -> Solve:
    """Cut between colour mixtures of object and background (Rother et al. 2004), as OpenCV does.

    Round a click the object is likely, elsewhere not; what is found must hang together with a click
    on the object.
    """
    side = len(small)
    colours = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)

    def solve(seeds: Seeds, memory: object) -> Solution:
        labels = _grabcut_labels(seeds, side)
        # OpenCV's mixtures start from random centres, and refuse to be made of no pixels at all.
        if np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).all():
            return Solution(np.ones((side, side), np.float32))
        cv2.setRNGSeed(0)
        mixtures = np.zeros((1, 65)), np.zeros((1, 65))
        cv2.grabCut(colours, labels, NO_BOX, *mixtures, 1, cv2.GC_INIT_WITH_MASK)
        found = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD))
        if seeds.clicks:
            found = _reached(found, seeds.clicks)
        return Solution(found.astype(np.float32))

    return solve


def draw_markers(seeds: Seeds, side: int, *, radius: float, core: float) -> Markers:
    """Mark what is certain: a disc round each click and the border; or the box's core and outside.

    `radius` is a share of the square, `core` a share of the box.
    """
    if seeds.box is not None:
        markers = np.full((side, side), BACKGROUND, np.int32)
        x0, y0, x1, y1 = seeds.box
        markers[y0:y1, x0:x1] = UNKNOWN
        markers[_ellipse(seeds.box, side, share=core) > 0] = OBJECT
        return markers
    markers = np.full((side, side), UNKNOWN, np.int32)
    markers[[0, -1]] = markers[:, [0, -1]] = BACKGROUND
    for x, y, label in seeds.clicks:
        value = OBJECT if label else BACKGROUND
        cv2.circle(markers, (x, y), max(1, round(radius * side)), value, thickness=-1)
    return markers


def _ellipse(box: PixelBox, side: int, *, share: float) -> UInt8[np.ndarray, "s s"]:
    """Draw the ellipse in the box, or a share of it round the same centre; one pixel at least."""
    height, width = box.size
    rows, columns = np.mgrid[:side, :side]
    across = (columns + 0.5 - box.x0 - width / 2) / (share * width / 2)
    down = (rows + 0.5 - box.y0 - height / 2) / (share * height / 2)
    drawn: UInt8[np.ndarray, "s s"] = (across**2 + down**2 <= 1).astype(np.uint8)
    drawn[box.y0 + height // 2, box.x0 + width // 2] = 1
    return drawn


def _laplacian(small: SquareImage, beta: float) -> sparse.csr_matrix:
    """Return the graph of neighbouring pixels, linked the more the liker their colours are."""
    pixels: Float64[np.ndarray, "s s 3"] = small / 255.0
    number = np.arange(pixels[..., 0].size).reshape(pixels.shape[:2])
    across = (np.diff(pixels, axis=1) ** 2).sum(axis=2).ravel()
    down = (np.diff(pixels, axis=0) ** 2).sum(axis=2).ravel()
    contrast = np.concatenate([across, down]) * beta / (10 * max(pixels.std(), 1e-6) * 3**0.5)
    weights = np.exp(-contrast) + 1e-10
    one = np.concatenate([number[:, :-1].ravel(), number[:-1].ravel()])
    other = np.concatenate([number[:, 1:].ravel(), number[1:].ravel()])
    links = sparse.coo_matrix(
        (np.tile(weights, 2), (np.r_[one, other], np.r_[other, one])), shape=(number.size,) * 2
    ).tocsr()
    degrees = np.asarray(links.sum(axis=1)).ravel()
    return (sparse.diags(degrees) - links).tocsr()


def _grabcut_labels(seeds: Seeds, side: int) -> UInt8[np.ndarray, "s s"]:
    """Mark what is certain, and what is likely, the way OpenCV wants it."""
    if seeds.box is not None:
        labels = np.full((side, side), cv2.GC_BGD, np.uint8)
        x0, y0, x1, y1 = seeds.box
        labels[y0:y1, x0:x1] = cv2.GC_PR_FGD
        labels[_ellipse(seeds.box, side, share=0.75) > 0] = cv2.GC_FGD
        return labels
    labels = np.full((side, side), cv2.GC_PR_BGD, np.uint8)
    likely = [(click, 0.12, cv2.GC_PR_FGD) for click in seeds.clicks if click.label]
    unlikely = [(click, 0.06, cv2.GC_PR_BGD) for click in seeds.clicks if not click.label]
    certain = [(click, 0.02, cv2.GC_FGD if click.label else cv2.GC_BGD) for click in seeds.clicks]
    for click, radius, value in [*likely, *unlikely, (None, 0.0, cv2.GC_BGD), *certain]:
        if click is None:
            labels[[0, -1]] = labels[:, [0, -1]] = value
        else:
            cv2.circle(labels, (click.x, click.y), max(1, round(radius * side)), value, -1)
    return labels


def _reached(found: MaskArray, clicks: Sequence[Click]) -> MaskArray:
    """Keep the 4-connected regions that hold a click on the object."""
    _, regions = cv2.connectedComponents(found.astype(np.uint8), connectivity=4)
    wanted = {int(regions[click.y, click.x]) for click in clicks if click.label} - {0}
    return np.isin(regions, list(wanted))
