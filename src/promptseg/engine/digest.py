"""Naming an image by its content."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np

from promptseg.shapes import ImageArray

# A copy of the last image is kept up to this size: a little more than an 8K frame.
REMEMBERED_BYTES = 100 * 2**20


class Name(NamedTuple):
    """What an image is known by: its content, and whose it is.

    What is kept of an image for one owner is never found for another.
    """

    content: str
    owner: str = ""


class Remembered(NamedTuple):
    """An image as it was when it was named."""

    image: ImageArray
    digest: str


class ImageDigest:
    """Names images by SHA-256 of their size and pixels.

    The last image is kept to compare with: a caller who refines one image asks with the same
    pixels again and again, and comparing takes a tenth of the time of hashing (2.6 ms beside 22 ms
    at 1080p on an EPYC core).
    """

    def __init__(self) -> None:
        self._last: Remembered | None = None

    def __call__(self, image: ImageArray) -> str:
        """Return the name of an image."""
        # Read once, so that another thread cannot put its own image in between.
        last = self._last
        if last is not None and np.array_equal(last.image, image):
            return last.digest
        digest = hashlib.sha256(repr(image.shape).encode())
        digest.update(np.ascontiguousarray(image).data)
        named = digest.hexdigest()
        if image.nbytes <= REMEMBERED_BYTES:
            self._last = Remembered(image.copy(), named)
        return named
