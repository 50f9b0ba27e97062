"""Random outlines: blobs, polygons, stars, rings, strokes and frames as binary masks."""

from __future__ import annotations

import cv2
import numpy as np

from promptseg.shapes import MaskArray


def random_outline(rng: np.random.Generator, side: int) -> MaskArray:
    """Draw one shape that fills most of a `side` square; cropped to nothing, never empty."""
    kind = rng.choice(len(KINDS), p=WEIGHTS)
    canvas = np.zeros((side, side), np.uint8)
    KINDS[kind](rng, canvas)
    if rng.random() < 0.12:
        _punch_holes(rng, canvas)
    return canvas > 0


def _blob(rng: np.random.Generator, canvas: np.ndarray) -> None:
    """A circle bent by a few random waves."""
    side = len(canvas)
    angles = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    radius = np.ones_like(angles)
    for wave in range(1, rng.integers(2, 8)):
        radius += rng.normal(0, 0.25) / wave * np.cos(wave * angles + rng.uniform(0, 2 * np.pi))
    radius = np.clip(radius, 0.15, None)
    radius *= 0.48 * side / radius.max()
    _fill(canvas, angles, radius, stretch=rng.uniform(0.3, 1.0), turn=rng.uniform(0, np.pi))


def _polygon(rng: np.random.Generator, canvas: np.ndarray) -> None:
    side = len(canvas)
    angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 9)))
    _fill(
        canvas,
        angles,
        0.48 * side * rng.uniform(0.5, 1.0, len(angles)),
        stretch=rng.uniform(0.4, 1.0),
        turn=rng.uniform(0, np.pi),
    )


def _star(rng: np.random.Generator, canvas: np.ndarray) -> None:
    side = len(canvas)
    tips = int(rng.integers(3, 10))
    angles = np.linspace(0, 2 * np.pi, 2 * tips, endpoint=False)
    radius = np.where(np.arange(2 * tips) % 2, rng.uniform(0.15, 0.7), 1.0) * 0.48 * side
    _fill(canvas, angles, radius, stretch=rng.uniform(0.5, 1.0), turn=rng.uniform(0, np.pi))


def _rectangle(rng: np.random.Generator, canvas: np.ndarray) -> None:
    side = len(canvas)
    height, width = side * rng.uniform(0.15, 1.0), side * rng.uniform(0.15, 1.0)
    angle = rng.uniform(0, 180) if rng.random() < 0.5 else 0.0
    corners = cv2.boxPoints(((side / 2, side / 2), (width * 0.9, height * 0.9), angle))
    cv2.fillPoly(canvas, [corners.astype(np.int32)], 1)


def _ellipse(rng: np.random.Generator, canvas: np.ndarray) -> None:
    side = len(canvas)
    axes = (int(side * 0.48), max(2, int(side * 0.48 * rng.uniform(0.2, 1.0))))
    cv2.ellipse(canvas, (side // 2, side // 2), axes, rng.uniform(0, 180), 0, 360, 1, -1)


def _ring(rng: np.random.Generator, canvas: np.ndarray) -> None:
    side = len(canvas)
    thick = max(2, int(side * rng.uniform(0.04, 0.2)))
    radius = int(side * 0.46) - thick // 2
    axes = (radius, max(2, int(radius * rng.uniform(0.4, 1.0))))
    sweep = 360 if rng.random() < 0.6 else rng.uniform(120, 330)
    cv2.ellipse(canvas, (side // 2, side // 2), axes, rng.uniform(0, 180), 0, sweep, 1, thick)


def _stroke(rng: np.random.Generator, canvas: np.ndarray) -> None:
    """A thin smooth curve, as of a wire, a stem or a vessel, sometimes with branches."""
    side = len(canvas)
    thick = max(2, int(side * rng.uniform(0.015, 0.09)))
    start = rng.uniform(0.1, 0.9, 2) * side
    for _ in range(rng.integers(1, 4)):
        knots = np.cumsum(np.vstack([start, rng.normal(0, 0.22 * side, (4, 2))]), axis=0)
        steps = np.linspace(0, 4, 40)
        line = np.stack([np.interp(steps, range(5), knots[:, i]) for i in (0, 1)], axis=1)
        line = cv2.blur(line.astype(np.float32), (1, 9)).clip(thick, side - thick)
        cv2.polylines(canvas, [line.astype(np.int32)], isClosed=False, color=1, thickness=thick)
        start = line[rng.integers(len(line))]


def _cluster(rng: np.random.Generator, canvas: np.ndarray) -> None:
    """Overlapping discs and boxes that make one irregular thing."""
    side = len(canvas)
    for _ in range(rng.integers(2, 7)):
        x, y = rng.uniform(0.25, 0.75, 2) * side
        reach = side * rng.uniform(0.06, 0.24)
        if rng.random() < 0.5:
            cv2.circle(canvas, (int(x), int(y)), int(reach), 1, -1)
        else:
            other = reach * rng.uniform(0.3, 2.0)
            corners = cv2.boxPoints(((x, y), (2 * reach, other), rng.uniform(0, 180)))
            cv2.fillPoly(canvas, [corners.astype(np.int32)], 1)


def _frame(rng: np.random.Generator, canvas: np.ndarray) -> None:
    side = len(canvas)
    thick = max(2, int(side * rng.uniform(0.03, 0.15)))
    left, top = (int(side * rng.uniform(0.05, 0.3)) for _ in range(2))
    cv2.rectangle(canvas, (left, top), (side - left, side - top), 1, thick)


def _fill(
    canvas: np.ndarray, angles: np.ndarray, radius: np.ndarray, *, stretch: float, turn: float
) -> None:
    x, y = radius * np.cos(angles), stretch * radius * np.sin(angles)
    turned = np.stack([x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)], 1)
    cv2.fillPoly(canvas, [(turned + len(canvas) / 2).astype(np.int32)], 1)


def _punch_holes(rng: np.random.Generator, canvas: np.ndarray) -> None:
    side = len(canvas)
    for _ in range(rng.integers(1, 4)):
        x, y = rng.uniform(0.25, 0.75, 2) * side
        cv2.circle(canvas, (int(x), int(y)), max(2, int(side * rng.uniform(0.03, 0.14))), 0, -1)


KINDS = (_blob, _polygon, _star, _rectangle, _ellipse, _ring, _stroke, _cluster, _frame)
WEIGHTS = (0.28, 0.13, 0.06, 0.13, 0.13, 0.06, 0.09, 0.09, 0.03)
