"""What cameras, screens and files do to an image: light, colour, blur, noise, compression."""

from __future__ import annotations

import cv2
import numpy as np

from promptseg.shapes import ImageArray
from promptseg.train.textures import noise


def spoil(rng: np.random.Generator, image: ImageArray) -> ImageArray:
    """Apply a random choice of defects; geometry stays as it is."""
    pixels: np.ndarray = image.astype(np.float32)
    if rng.random() < 0.4:
        pixels = 255 * (pixels / 255) ** (2 ** rng.uniform(-0.9, 0.9))
    if rng.random() < 0.4:
        pixels = (pixels - 128) * rng.uniform(0.35, 1.3) + 128 + rng.uniform(-40, 40)
    if rng.random() < 0.3:
        pixels = pixels * rng.uniform(0.75, 1.25, 3).astype(np.float32)
    if rng.random() < 0.2:
        pixels = pixels * (0.5 + noise(rng, len(image))[..., None])
    if rng.random() < 0.18:
        grey = pixels @ np.array([0.299, 0.587, 0.114], np.float32)
        pixels = np.repeat(grey[..., None], 3, axis=2)
    if rng.random() < 0.05:
        pixels = 255 - pixels
    if rng.random() < 0.25:
        pixels = cv2.GaussianBlur(pixels, (0, 0), rng.uniform(0.4, 1.6))
    if rng.random() < 0.35:
        pixels = pixels + rng.normal(0, rng.uniform(1, 18), (*pixels.shape[:2], rng.choice([1, 3])))
    spoiled: ImageArray = np.clip(pixels, 0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 90))]
        decoded = cv2.imdecode(cv2.imencode(".jpg", spoiled, quality)[1], cv2.IMREAD_COLOR)
        spoiled = np.asarray(decoded, np.uint8)
    return spoiled
