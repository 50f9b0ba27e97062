"""Scenes of a small world with words: things of a colour, a shape and a fill over a dull ground.

A thing is wholly described by three words, as in "red striped square". A thing may hide up to a
sixth of each that lies under it; what is left to be seen of a thing is its mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float

from promptseg.shapes import BoxArray, ImageArray, MaskArray, MaskStack
from promptseg.train.textures import noise, random_texture

COLOURS = {
    "red": (215, 45, 40),
    "green": (50, 170, 60),
    "blue": (50, 85, 220),
    "yellow": (230, 205, 45),
    "purple": (165, 60, 190),
    "white": (235, 235, 235),
}
SHAPES = ("circle", "square", "triangle", "cross")
FILLS = ("plain", "striped", "dotted")

MOST_THINGS = 7
# Things are drawn at twice the side and halved, so that their edges are soft.
FINER = 2
# The reach of a thing from its middle, and the width of its stripes, as shares of the image's side.
REACH = (0.10, 0.20)
STRIPE = (0.026, 0.036)
# Things stand upright but for so much, in radians: a small network takes far longer to know shapes
# that lie any way (`dev/LOG.md`).
TILT = 0.15
MOST_HIDDEN = 1 / 6


class Thing(NamedTuple):
    """What can be said of a thing."""

    colour: str
    shape: str
    fill: str


class Scene(NamedTuple):
    """A square image, its things, and a mask of each as far as it is visible."""

    image: ImageArray
    things: tuple[Thing, ...]
    masks: MaskStack

    @property
    def boxes(self) -> BoxArray:
        """The tight box round what is visible of each thing, in pixels."""
        return boxes_of(self.masks)


def random_scene(rng: np.random.Generator, *, side: int) -> Scene:
    """Draw 2 to 7 things over a ground.

    The words of a scene come from a few colours, shapes and fills of its own, so that its things
    often share some words and differ in others.
    """
    wide = FINER * side
    image = _ground(rng, side).repeat(FINER, axis=0).repeat(FINER, axis=1)
    palette = [
        rng.choice(words, rng.integers(1, most + 1), replace=False)
        for words, most in ((tuple(COLOURS), 4), (SHAPES, 3), (FILLS, 3))
    ]
    things: list[Thing] = []
    masks: list[MaskArray] = []
    for _ in range(rng.integers(2, MOST_THINGS + 1)):
        thing = Thing(*(str(rng.choice(words)) for words in palette))
        mask = _free_place(rng, thing.shape, masks, wide)
        if mask is None:
            continue
        for other in masks:
            other &= ~mask
        masks.append(mask)
        things.append(thing)
        _paint(rng, image, thing, mask)
    halved = np.stack([mask[::FINER, ::FINER] for mask in masks])
    return Scene(_halved(rng, image), tuple(things), halved)


def boxes_of(masks: MaskStack) -> BoxArray:
    """Return the tight box round each mask, of which none is empty."""
    corners = []
    for mask in masks:
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        corners.append((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
    return np.array(corners, np.float64).reshape(-1, 4)


def _free_place(
    rng: np.random.Generator, shape: str, others: Sequence[MaskArray], side: int
) -> MaskArray | None:
    """Draw an outline that leaves enough to be seen of the others, or nothing after many tries."""
    for _ in range(20):
        reach = rng.uniform(*REACH) * side
        middle = rng.uniform(0.8 * reach, side - 0.8 * reach, 2)
        mask = _outline(shape, middle, reach, rng.uniform(-TILT, TILT), side)
        hidden = [(mask & other).sum() for other in others]
        if all(
            lost <= MOST_HIDDEN * other.sum() for lost, other in zip(hidden, others, strict=True)
        ):
            return mask
    return None


def _outline(
    shape: str, middle: Float[np.ndarray, " 2"], reach: float, turn: float, side: int
) -> MaskArray:
    """Draw a shape of about equal area whatever its kind."""
    canvas = np.zeros((side, side), np.uint8)
    if shape == "circle":
        centre = (round(float(middle[0])), round(float(middle[1])))
        return np.asarray(cv2.circle(canvas, centre, round(0.9 * reach), 1, -1) > 0)
    corners = {"square": _regular(4), "triangle": _regular(3), "cross": _cross()}[shape]
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    scale = {"square": 1.15, "triangle": 1.25, "cross": 1.1}[shape]
    polygon = middle + scale * reach * corners @ rotation.T
    return np.asarray(cv2.fillPoly(canvas, [np.round(polygon).astype(np.int32)], 1) > 0)


def _regular(corners: int) -> Float[np.ndarray, "q 2"]:
    """A polygon that stands on a side."""
    angles = 2 * np.pi * (np.arange(corners) + 0.5) / corners + np.pi / 2
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _cross() -> Float[np.ndarray, "12 2"]:
    """Two bars across each other, each a third as thick as it is long."""
    arm = 1 / 3
    quarter = np.array([(1.0, -arm), (1.0, arm), (arm, arm)])
    turn = np.array([[0, 1], [-1, 0]])
    quarters = [quarter @ np.linalg.matrix_power(turn, i) for i in range(4)]
    return np.asarray(np.concatenate(quarters) / np.hypot(1, arm))


def _paint(
    rng: np.random.Generator, image: Float[np.ndarray, "H W 3"], thing: Thing, mask: MaskArray
) -> None:
    """Colour the pixels of a mask as the thing's words say."""
    colour = np.clip(np.array(COLOURS[thing.colour]) * rng.uniform(0.8, 1.1), 0, 255)
    colour = colour + rng.normal(0, 8, 3)
    dark = thing.colour == "white" or rng.random() < 0.7
    other = 0.25 * colour if dark else 0.3 * colour + 170
    rows, columns = np.nonzero(mask)
    share = _pattern(rng, thing.fill, rows / len(mask), columns / len(mask))
    image[rows, columns] = colour + share[:, None] * (other - colour)


def _pattern(
    rng: np.random.Generator,
    fill: str,
    rows: Float[np.ndarray, " n"],
    columns: Float[np.ndarray, " n"],
) -> Float[np.ndarray, " n"]:
    """Say where the other colour is, as noughts and ones: nowhere, in stripes, or in dots."""
    turn, width = rng.uniform(0, np.pi), rng.uniform(*STRIPE)
    along = (np.cos(turn) * columns + np.sin(turn) * rows) / width + rng.uniform(0, 2)
    across = (np.cos(turn) * rows - np.sin(turn) * columns) / width + rng.uniform(0, 2)
    if fill == "striped":
        return np.asarray(along % 2 < 1, np.float64)
    if fill == "dotted":
        nearest = np.hypot((along % 2.6) - 1.3, (across % 2.6) - 1.3)
        return np.asarray(nearest < 0.8, np.float64)
    return np.zeros(len(rows))


def _ground(rng: np.random.Generator, side: int) -> Float[np.ndarray, "H W 3"]:
    """Paint a ground that is darker and duller than any thing: a texture, or a slope of light."""
    light = rng.uniform(30, 120)
    if rng.random() < 0.5:
        texture = np.asarray(random_texture(rng, side), np.float64)
        grey = texture.mean(axis=2, keepdims=True)
        dull = grey + rng.uniform(0, 0.3) * (texture - grey)
        return np.asarray(light + rng.uniform(0.1, 0.35) * (dull - dull.mean()))
    slope = rng.uniform(0, 60) * (noise(rng, side)[..., None] - 0.5)
    return np.asarray(light + slope + rng.normal(0, 8, 3))


def _halved(rng: np.random.Generator, image: Float[np.ndarray, "_ _ 3"]) -> ImageArray:
    """Halve the side and add a little noise."""
    small = image.reshape(len(image) // FINER, FINER, -1, FINER, 3).mean(axis=(1, 3))
    noisy = small + rng.normal(0, rng.uniform(0, 8), small.shape)
    return np.asarray(np.clip(np.round(noisy), 0, 255), np.uint8)
