"""Scenes made on the fly: an image and the masks of the things in it.

Five kinds: things pasted over a photo, a plane cut into regions, a pattern of like things, a photo
with real masks, and a photo cut into regions of like colour (Felzenszwalb and Huttenlocher 2004) as
pseudo-objects.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool
from skimage.segmentation import felzenszwalb

from promptseg.shapes import ImageArray, MaskArray, MaskStack
from promptseg.train.outlines import random_outline
from promptseg.train.photos import Photos, random_crop, random_window, squash
from promptseg.train.spoil import spoil
from promptseg.train.textures import noise, random_colour, random_texture

LEAST_PIXELS = 24
MOST_MASKS = 48


class Scene(NamedTuple):
    """A square image and the masks of its things, as far as they are visible."""

    image: ImageArray
    masks: MaskStack


class SceneMaker:
    """Makes scene number `i` of a seed, always the same one."""

    def __init__(self, photos: Photos, *, side: int, seed: int) -> None:
        self.photos = photos
        self.side = side
        self.seed = seed

    def __call__(self, index: int) -> Scene:
        """Make a scene with at least one mask."""
        rng = np.random.default_rng((self.seed, index))
        while True:
            maker = MAKERS[rng.choice(len(MAKERS), p=CHANCES)]
            image, masks = maker(rng, self.photos, self.side)
            kept = _worth_asking(masks)
            if len(kept):
                return Scene(spoil(rng, image), kept)


def pasted(rng: np.random.Generator, photos: Photos, side: int) -> Scene:
    """Paste things over a photo or a texture, each hiding what lies under it."""
    canvas = _background(rng, photos, side).astype(np.float32)
    masks: list[MaskArray] = []
    for _ in range(rng.integers(2, 10)):
        thing, alpha = _thing(rng, photos, side)
        top, left = (int(rng.uniform(-0.25, 1.0 - 0.75 * n / side) * side) for n in alpha.shape)
        _paste(rng, canvas, masks, thing, alpha, top, left)
    return Scene(np.clip(canvas, 0, 255).astype(np.uint8), _stack(masks, side))


def pattern(rng: np.random.Generator, photos: Photos, side: int) -> Scene:
    """Repeat like things, in rows as windows stand or scattered as cells lie."""
    canvas: np.ndarray = _background(rng, photos, side).astype(np.float32)
    if rng.random() < 0.6:
        canvas = 0.25 * canvas + 0.75 * random_colour(rng)
    masks: list[MaskArray] = []
    reach = int(side * rng.uniform(0.05, 0.22))
    thing, alpha = _thing(rng, photos, side, reach=reach)
    like_colour = random_colour(rng)
    in_rows = rng.random() < 0.5
    gap = rng.uniform(1.05, 1.8) * np.array(alpha.shape)
    spots = [
        (top, left)
        for top in np.arange(rng.uniform(0, 0.5) * gap[0], side, gap[0])
        for left in np.arange(rng.uniform(0, 0.5) * gap[1], side, gap[1])
    ]
    if not in_rows:
        spots = [tuple(rng.uniform(-0.05, 1.0, 2) * side) for _ in range(rng.integers(4, 40))]
    for i in rng.permutation(len(spots))[:MOST_MASKS]:
        top, left = spots[i]
        if not in_rows and rng.random() < 0.8:
            outline = random_outline(rng, max(6, int(reach * rng.uniform(0.6, 1.3))))
            alpha = cv2.GaussianBlur(outline.astype(np.float32), (0, 0), rng.uniform(0.4, 1.2))
            texture = random_texture(rng, len(outline)).astype(np.float32)
            thing = 0.75 * like_colour + 0.25 * texture
        _paste(rng, canvas, masks, thing, alpha, int(top), int(left))
    return Scene(np.clip(canvas, 0, 255).astype(np.uint8), _stack(masks, side))


def regions(rng: np.random.Generator, photos: Photos, side: int) -> Scene:
    """Cut the plane into cells with bent borders and surfaces of their own, at times walls."""
    count = int(2 ** rng.uniform(1.6, 6))
    seeds = rng.uniform(0, side, (count, 2)).astype(np.float32)
    rows, columns = np.mgrid[:side, :side].astype(np.float32)
    bend = side * rng.uniform(0.0, 0.18)
    rows = rows + bend * (noise(rng, side) - 0.5)
    columns = columns + bend * (noise(rng, side) - 0.5)
    away = (rows[..., None] - seeds[:, 0]) ** 2 + (columns[..., None] - seeds[:, 1]) ** 2
    labels = away.argmin(axis=2)

    surface = _background(rng, photos, side).astype(np.float32)
    alike = rng.random() < 0.4
    tint = rng.uniform(5, 30) if alike else rng.uniform(30, 90)
    image = surface + rng.normal(0, tint, (count, 1 if alike else 3))[labels]
    if not alike:
        for label in rng.choice(count, min(count, 4), replace=False):
            image[labels == label] = random_texture(rng, side)[labels == label]
    if alike or rng.random() < 0.4:
        image = _walls(rng, image, labels)
    masks = labels[None] == np.arange(count)[:, None, None]
    return Scene(np.clip(image, 0, 255).astype(np.uint8), masks)


def masked(rng: np.random.Generator, photos: Photos, side: int) -> Scene:
    """Take a part of a photo that people have annotated."""
    photo = photos.masked[rng.choice(len(photos.masked), p=photos.masked_chances)]
    image = photos.photo(photo.name)
    window = random_window(rng, *image.shape[:2], least=0.4)
    flip, turns = rng.random() < 0.5, int(rng.integers(4)) if rng.random() < 0.3 else 0
    runs = [photo.runs[i] for i in rng.permutation(len(photo.runs))[:MOST_MASKS]]
    masks = [np.rot90(squash(run.to_mask()[window], side, flip=flip), turns) for run in runs]
    pixels = np.rot90(squash(image[window], side, flip=flip), turns)
    return Scene(np.ascontiguousarray(pixels), np.ascontiguousarray(_stack(masks, side)))


def pseudo(rng: np.random.Generator, photos: Photos, side: int) -> Scene:
    """Take a photo and call its regions of like colour things, at two scales: parts and wholes."""
    image = random_crop(rng, photos.photo(photos.plain[rng.integers(len(photos.plain))]), side)
    smooth = cv2.GaussianBlur(image, (0, 0), 1.0)
    masks: list[MaskArray] = []
    for finest, coarsest in ((6.0, 9.0), (8.0, 11.5)):
        scale = rng.uniform(finest, coarsest)
        labels = felzenszwalb(
            smooth, scale=2**scale, sigma=0.4, min_size=int(side * side * 2 ** (scale / 2 - 13))
        )
        found = rng.permutation(labels.max() + 1)[: MOST_MASKS // 2]
        masks += [_smoothed(labels == label) for label in found]
    return Scene(image, _stack(masks, side))


def _background(rng: np.random.Generator, photos: Photos, side: int) -> ImageArray:
    if rng.random() < 0.7:
        name = photos.plain[rng.integers(len(photos.plain))]
        return random_crop(rng, photos.photo(name), side)
    return random_texture(rng, side)


def _thing(
    rng: np.random.Generator, photos: Photos, side: int, *, reach: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Make something to paste: its pixels and its alpha in 0..1."""
    reach = reach or int(side * 2 ** rng.uniform(-4.2, -0.1))
    reach = max(6, reach)
    draw = rng.random()
    if draw < 0.35:
        picture = photos.cutout(photos.cutouts[rng.integers(len(photos.cutouts))])
        picture = squash(picture, reach, flip=rng.random() < 0.5)
        pixels, alpha = picture[..., :3].astype(np.float32), picture[..., 3] / np.float32(255)
    elif draw < 0.5:
        pixels, alpha = _annotated_thing(rng, photos, reach)
    else:
        alpha = random_outline(rng, reach).astype(np.float32)
        name = photos.plain[rng.integers(len(photos.plain))]
        photo = random_crop(rng, photos.photo(name), reach, least=0.1)
        surface = photo if draw < 0.7 else random_texture(rng, reach)
        pixels = _shaded(rng, surface.astype(np.float32), alpha)
    return _placed(rng, pixels, alpha)


def _annotated_thing(
    rng: np.random.Generator, photos: Photos, reach: int
) -> tuple[np.ndarray, np.ndarray]:
    """Cut an annotated thing out of its photo."""
    photo = photos.masked[rng.integers(len(photos.masked))]
    crop = photo.runs[rng.integers(len(photo.runs))].to_crop()
    height, width = crop.mask.shape
    image = photos.photo(photo.name)[crop.top : crop.top + height, crop.left : crop.left + width]
    pixels = squash(image, reach, flip=False).astype(np.float32)
    return pixels, squash(crop.mask, reach, flip=False).astype(np.float32)


def _placed(
    rng: np.random.Generator, pixels: np.ndarray, alpha: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Turn, stretch and recolour a thing, and soften its edge."""
    reach = len(alpha)
    if rng.random() < 0.6:
        turn = cv2.getRotationMatrix2D((reach / 2, reach / 2), rng.uniform(-180, 180), 1.0)
        pixels = cv2.warpAffine(pixels, turn, (reach, reach), borderMode=cv2.BORDER_REFLECT)
        alpha = cv2.warpAffine(alpha, turn, (reach, reach))
    if rng.random() < 0.5:
        width = max(4, int(reach * rng.uniform(0.4, 1.0)))
        pixels, alpha = cv2.resize(pixels, (width, reach)), cv2.resize(alpha, (width, reach))
    if rng.random() < 0.5:
        pixels = pixels * rng.uniform(0.5, 1.3) + rng.normal(0, 20, 3)
    if rng.random() < 0.15:
        pixels = np.repeat(pixels.mean(axis=2, keepdims=True), 3, axis=2)
    return pixels, cv2.GaussianBlur(alpha, (0, 0), rng.uniform(0.3, 0.9))


def _shaded(rng: np.random.Generator, surface: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Give a flat surface the light of a round thing, at times a rim."""
    if rng.random() < 0.5:
        depth = cv2.distanceTransform((alpha > 0.5).astype(np.uint8), cv2.DIST_L2, 3)
        bulge = np.sqrt(depth / max(float(depth.max()), 1.0))[..., None]
        surface = surface * (1 + rng.uniform(-0.6, 0.6) * (bulge - 0.5))
    if rng.random() < 0.2:
        wide = int(rng.integers(1, max(2, len(alpha) // 12) + 1))
        rim = (alpha > 0.5) & ~(cv2.erode(alpha, np.ones((2 * wide + 1,) * 2)) > 0.5)
        surface = np.where(rim[..., None], random_colour(rng), surface)
    if rng.random() < 0.25:
        inner = random_outline(rng, len(alpha)) & (noise(rng, len(alpha)) > 0.5)
        surface = np.where(inner[..., None], surface * 0.4 + 0.6 * random_colour(rng), surface)
    lit: np.ndarray = np.clip(surface, 0, 255)
    return lit


def _paste(
    rng: np.random.Generator,
    canvas: np.ndarray,
    masks: list[MaskArray],
    thing: np.ndarray,
    alpha: np.ndarray,
    top: int,
    left: int,
) -> None:
    """Lay a thing on the canvas with a shadow at times, and take its place from the masks below."""
    side = len(canvas)
    full = np.zeros((side, side), np.float32)
    colours = np.zeros((side, side, 3), np.float32)
    y0, x0 = max(top, 0), max(left, 0)
    y1, x1 = min(top + alpha.shape[0], side), min(left + alpha.shape[1], side)
    if y0 >= y1 or x0 >= x1:
        return
    cut = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
    full[y0:y1, x0:x1] = alpha[cut]
    colours[y0:y1, x0:x1] = thing[cut]
    if rng.random() < 0.25:
        offset = np.array([[1, 0, rng.uniform(-8, 8)], [0, 1, rng.uniform(0, 10)]], np.float32)
        shadow = cv2.blur(cv2.warpAffine(full, offset, (side, side)), (9, 9))
        canvas *= 1 - rng.uniform(0.2, 0.7) * shadow[..., None]
    canvas += full[..., None] * (colours - canvas)
    visible = full > 0.5
    for mask in masks:
        mask &= ~visible
    masks.append(visible)


def _walls(rng: np.random.Generator, image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Draw the borders between regions as lines, dark or light, as of membranes and grout."""
    thick = int(rng.integers(1, 4))
    levels = labels.astype(np.float32)
    span = np.ones((2 * thick + 1,) * 2)
    border = cv2.dilate(levels, span) != cv2.erode(levels, span)
    strength = cv2.GaussianBlur(border.astype(np.float32), (0, 0), rng.uniform(0.4, 1.5))
    strength = strength * rng.uniform(0.4, 1.0)
    if rng.random() < 0.5:
        strength = strength * np.clip(noise(rng, len(labels)) * 2, 0, 1)
    walled: np.ndarray = image + strength[..., None] * (random_colour(rng) - image)
    return walled


def _smoothed(mask: MaskArray) -> MaskArray:
    return cv2.medianBlur(mask.astype(np.uint8), 5) > 0


def _stack(masks: list[MaskArray], side: int) -> MaskStack:
    return np.stack(masks) if masks else np.zeros((0, side, side), bool)


def _worth_asking(masks: MaskStack) -> Bool[np.ndarray, "k H W"]:
    """Keep masks that are neither specks nor nearly the whole image."""
    # Areas at stride 2, where the annotator looks, so that no thing vanishes there.
    areas = 4 * _halved(masks).sum(axis=(1, 2))
    whole = masks.shape[1] * masks.shape[2]
    kept: np.ndarray = masks[(areas >= LEAST_PIXELS) & (areas <= 0.8 * whole)]
    return kept


def _halved(masks: MaskStack) -> Bool[np.ndarray, "n h w"]:
    """Half the side, a pixel being set where at least two of its four are."""
    counts = sum(masks[:, y::2, x::2].astype(np.uint8) for y in (0, 1) for x in (0, 1))
    return np.asarray(counts >= 2)


# How often each kind is made; more photos than at first, see `dev/LOG.md`, third stretch.
MAKERS = (pasted, regions, pattern, masked, pseudo)
CHANCES = (0.30, 0.10, 0.10, 0.28, 0.22)
