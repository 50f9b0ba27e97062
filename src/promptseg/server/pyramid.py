"""Large images as squares at several sizes, so that a page draws what is in sight and no more.

Level 0 is the image, and each next one half of the one before, rounded up, until it is one square.
"""

from __future__ import annotations

import io
import threading
from collections import OrderedDict

import numpy as np
from PIL import Image

from promptseg.engine.digest import Name
from promptseg.geometry import Size
from promptseg.server.folder import AbsentError
from promptseg.server.pictures import Picture
from promptseg.shapes import ImageArray

TILE = 512
# Nothing is seen of the compression at this quality, with colours at full size.
QUALITY = 95
MOST_BYTES = 128 * 2**20
# Rows that are made smaller at a time: the library works on a copy.
ROWS = 1024


def levels(size: Size) -> int:
    """Return how many levels an image has."""
    squares = (max(size) + TILE - 1) // TILE
    return 1 + (squares - 1).bit_length()


class Pyramids:
    """The smaller levels of images that are looked at, least recently used going first.

    What is kept takes at most `max_bytes`, or is one image alone. Threads may share it.
    """

    def __init__(self, *, max_bytes: int = MOST_BYTES) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._making = threading.Lock()
        self._kept: OrderedDict[Name, tuple[ImageArray, ...]] = OrderedDict()

    @property
    def held_bytes(self) -> int:
        """How much memory the levels take."""
        with self._lock:
            return sum(map(_bytes, self._kept.values()))

    def tile(self, picture: Picture, level: int, x: int, y: int) -> bytes:
        """Return a square of a level as JPEG; `x` and `y` count squares from the left and the top.

        Squares at the right and the lower edge are smaller.

        Raises:
            AbsentError: there is no such square.
        """
        pixels = self._level(picture, level)
        square = pixels[y * TILE : (y + 1) * TILE, x * TILE : (x + 1) * TILE]
        if x < 0 or y < 0 or not square.size:
            raise absent()
        file = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(square)).save(
            file, "JPEG", quality=QUALITY, subsampling=0
        )
        return file.getvalue()

    def _level(self, picture: Picture, level: int) -> ImageArray:
        if not 0 <= level < levels(Size(*picture.pixels.shape[:2])):
            raise absent()
        if level == 0:
            return picture.pixels
        if (known := self._known(picture.name)) is None:
            # A page asks for several squares at once, and the levels are made for the first.
            with self._making:
                known = self._known(picture.name)
                if known is None:
                    known = _smaller(picture.pixels)
                    self._keep(picture.name, known)
        return known[level - 1]

    def _known(self, name: Name) -> tuple[ImageArray, ...] | None:
        with self._lock:
            known = self._kept.get(name)
            if known is not None:
                self._kept.move_to_end(name)
            return known

    def _keep(self, name: Name, made: tuple[ImageArray, ...]) -> None:
        with self._lock:
            self._kept[name] = made
            while len(self._kept) > 1 and sum(map(_bytes, self._kept.values())) > self._max_bytes:
                self._kept.popitem(last=False)


def absent() -> AbsentError:
    """Make the error of a square that an image does not have."""
    return AbsentError(
        "the image has no such tile", hint="`pyramid` of its session says how many levels there are"
    )


def _smaller(pixels: ImageArray) -> tuple[ImageArray, ...]:
    made: list[ImageArray] = []
    for _ in range(levels(Size(*pixels.shape[:2])) - 1):
        pixels = _half(pixels)
        made.append(pixels)
    return tuple(made)


def _half(pixels: ImageArray) -> ImageArray:
    """Average each two by two pixels; a row or column left over stays by itself."""
    strips = [
        np.asarray(Image.fromarray(pixels[row : row + ROWS]).reduce(2))
        for row in range(0, len(pixels), ROWS)
    ]
    return np.concatenate(strips)


def _bytes(made: tuple[ImageArray, ...]) -> int:
    return sum(each.nbytes for each in made)
