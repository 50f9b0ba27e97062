"""Procedural surfaces: arrays of colour that no photo is needed for."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float

from promptseg.shapes import ImageArray


def random_texture(rng: np.random.Generator, side: int) -> ImageArray:
    """Paint a square with one of the textures in two or three random colours."""
    pattern = PATTERNS[rng.integers(len(PATTERNS))](rng, side)
    first, second = random_colour(rng), random_colour(rng)
    if rng.random() < 0.4:
        second = np.clip(first + rng.normal(0, 25, 3), 0, 255)
    surface = first + pattern[..., None] * (second - first)
    if rng.random() < 0.5:
        surface = surface + noise(rng, side)[..., None] * rng.uniform(5, 60) - 20
    if rng.random() < 0.3:
        surface = surface + rng.normal(0, rng.uniform(2, 25), surface.shape[:2])[..., None]
    painted: ImageArray = np.clip(surface, 0, 255).astype(np.uint8)
    return painted


def random_colour(rng: np.random.Generator) -> Float[np.ndarray, " 3"]:
    """Draw a colour, sometimes a grey one."""
    if rng.random() < 0.25:
        return np.full(3, rng.uniform(0, 255))
    return rng.uniform(0, 255, 3)


def noise(rng: np.random.Generator, side: int) -> Float[np.ndarray, "H W"]:
    """Smooth noise of a random scale in 0..1, a sum of octaves."""
    total = np.zeros((side, side), np.float32)
    cells, weight = int(2 ** rng.uniform(1, 5)), 1.0
    for _ in range(rng.integers(1, 4)):
        grid = rng.random((cells + 1, cells + 1), dtype=np.float32)
        total += weight * cv2.resize(grid, (side, side), interpolation=cv2.INTER_CUBIC)
        cells, weight = min(cells * 2, side), weight * rng.uniform(0.3, 0.8)
    return _unit(total)


def _flat(rng: np.random.Generator, side: int) -> Float[np.ndarray, "H W"]:
    return np.zeros((side, side), np.float32)


def _slope(rng: np.random.Generator, side: int) -> Float[np.ndarray, "H W"]:
    return _unit(_along(rng, side))


def _stripes(rng: np.random.Generator, side: int) -> Float[np.ndarray, "H W"]:
    waves: np.ndarray = np.sin(
        _along(rng, side) * 2 * np.pi * 2 ** rng.uniform(1, 5.5) + noise(rng, side) * 3
    )
    return (waves > 0).astype(np.float32) if rng.random() < 0.5 else (waves + 1) / 2


def _checks(rng: np.random.Generator, side: int) -> Float[np.ndarray, "H W"]:
    angle = rng.uniform(0, np.pi)
    count = 2 ** rng.uniform(1, 4.5)
    one = np.sin(_along(rng, side, angle) * np.pi * count)
    other = np.sin(_along(rng, side, angle + np.pi / 2) * np.pi * count)
    return (one * other > 0).astype(np.float32)


def _speckles(rng: np.random.Generator, side: int) -> Float[np.ndarray, "H W"]:
    grains = cv2.GaussianBlur(
        rng.random((side, side), dtype=np.float32), (0, 0), rng.uniform(0.6, 4)
    )
    return (_unit(grains) > rng.uniform(0.4, 0.7)).astype(np.float32)


def _along(
    rng: np.random.Generator, side: int, angle: float | None = None
) -> Float[np.ndarray, "H W"]:
    """Position along a direction, about 0..1 over the square."""
    angle = rng.uniform(0, 2 * np.pi) if angle is None else angle
    steps = np.linspace(0, 1, side, dtype=np.float32)
    position: np.ndarray = np.cos(angle) * steps[None, :] + np.sin(angle) * steps[:, None]
    return position


def _unit(values: Float[np.ndarray, "H W"]) -> Float[np.ndarray, "H W"]:
    low, high = float(values.min()), float(values.max())
    return (values - low) / max(high - low, 1e-6)


PATTERNS = (_flat, _slope, noise, noise, noise, _stripes, _checks, _speckles)
