"""Images that are read window by window, by the rules of `io.images`, so that they may be large.

What is held in memory is the window, and what has to be decoded for it:

- `.npy` files are mapped into memory for as long as a window is read.
- TIFF is decoded strip by strip or tile by tile, where it is not compressed, or by deflate, LZW,
  PackBits, JPEG, LZMA or Zstandard, and its channels lie side by side. Only the first page is read.
- BMP in grey or colour is read row by row.
- Arrays are cut; of a `numpy.memmap` the operating system keeps in memory what it likes.
- Everything else, such as PNG and JPEG, is decoded whole and kept.

`max_pixels` bounds what is decoded in one piece: a strip or tile of a file in pieces, the whole of
any other. A file in pieces may have `MOST_PIXELS` in all.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tokenize import TokenError
from typing import BinaryIO, TypeAlias

import numpy as np
from PIL import Image, ImageFile

from promptseg.errors import ImageError
from promptseg.geometry import Size
from promptseg.io import images, tiff
from promptseg.io.blocks import Blocks
from promptseg.settings import MAX_PIXELS
from promptseg.shapes import ImageArray

logger = logging.getLogger(__name__)

# A square of 131,072 pixels each way.
MOST_PIXELS = 2**34
# Decoded blocks are kept up to this size, so that the tiles of a row do not decode a strip each.
KEPT_BYTES = 256 * 2**20
# Pixels that are read at a time to make an image smaller: 24 MiB.
PIXELS_AT_ONCE = 2**23
NPY_START = b"\x93NUMPY"
# What a header that is no literal, or a strange one, makes of `numpy.load`.
BROKEN_NPY = (*images.BROKEN, FloatingPointError, TokenError, RecursionError, MemoryError)
ORIENTATIONS = range(1, 9)

ReadWindow: TypeAlias = "Callable[[int, int, int, int], ImageArray]"


@dataclass(frozen=True, eq=False)
class LargeImage:
    """An image of which any window can be read; `in_pieces` says that it is not held whole."""

    size: Size
    in_pieces: bool
    pixels: ReadWindow

    def read(self, x0: int, y0: int, x1: int, y1: int, *, factor: int = 1) -> ImageArray:
        """Return the pixels of a window, its far edges not included.

        With a factor above 1, as many pixels each way are averaged into one, rounded; those at the
        right and lower edge are of what is left there. This takes the memory of a band of rows.

        Raises:
            ImageError: the window is empty or leaves the image, or the file is damaged there.
        """
        if not (0 <= x0 < x1 <= self.size.width and 0 <= y0 < y1 <= self.size.height):
            raise ImageError(
                f"the window ({x0}, {y0}, {x1}, {y1}) is not one of an image of {self.size}",
                hint="A window is (x0, y0, x1, y1) in whole pixels, the last two not included",
            )
        if factor == 1:
            return self.pixels(x0, y0, x1, y1)
        rows = max(1, PIXELS_AT_ONCE // (x1 - x0) // factor) * factor
        bands = [
            Image.fromarray(self.pixels(x0, top, x1, min(top + rows, y1))).reduce(factor)
            for top in range(y0, y1, rows)
        ]
        return np.concatenate([np.asarray(band) for band in bands])

    def whole(self, *, max_pixels: int = MAX_PIXELS) -> ImageArray:
        """Return all pixels.

        Raises:
            ImageError: there are more than `max_pixels`, or the file is damaged.
        """
        height, width = self.size
        if height * width > max_pixels:
            raise ImageError(
                f"a picture of {self.size} is too large to be drawn, the limit is {max_pixels} "
                "pixels",
                hint="Leave out formats that are drawn, or raise `PROMPTSEG_MAX_PIXELS`",
            )
        return self.read(0, 0, width, height)

    def overview(self, most: int) -> ImageArray:
        """Return the whole image, reduced by the least whole factor to at most `most` each way."""
        factor = -(-max(self.size) // most)
        return self.read(0, 0, self.size.width, self.size.height, factor=factor)


def open_image(
    source: str | Path | Image.Image | np.ndarray, *, max_pixels: int = MAX_PIXELS
) -> LargeImage:
    """Make an image, or the file of one, ready to be read window by window.

    No file is kept open. One that changes meanwhile gives what is in it by then, or an error.

    Raises:
        ImageError: the image is missing, damaged, of another kind, or too large.
    """
    if isinstance(source, np.ndarray):
        return _of_array(source)
    if isinstance(source, (str, Path)):
        return _of_file(Path(source), max_pixels)
    return _held(images.to_rgb(source))


def _held(image: ImageArray) -> LargeImage:
    size = Size(*image.shape[:2])
    return LargeImage(size, in_pieces=False, pixels=lambda x0, y0, x1, y1: image[y0:y1, x0:x1])


def _of_array(array: np.ndarray) -> LargeImage:
    images.check_axes(array)
    images.to_rgb(array[:1, :1])  # a kind of numbers without a meaning is refused now
    size = Size(*array.shape[:2])
    _require_at_most(size, "the array")
    return LargeImage(
        size,
        in_pieces=isinstance(array, np.memmap),
        pixels=lambda x0, y0, x1, y1: images.to_rgb(array[y0:y1, x0:x1]),
    )


def _of_file(path: Path, max_pixels: int) -> LargeImage:
    if not path.is_file():  # nothing, a folder, or a pipe, which can be read only once
        return _held(images.read(path, max_pixels=max_pixels))
    with images.open_file(path) as file:
        start = file.read(16)
        file.seek(0)
        if start.startswith(NPY_START):
            return _of_numpy(path)
        blocks, orientation = _blocks(file, start, path)
    if blocks is None or blocks.block.height * blocks.block.width > max_pixels:
        return _held(images.read(path, max_pixels=max_pixels))
    _require_at_most(blocks.size, f"`{path}`")
    most = max(1, KEPT_BYTES // (3 * blocks.block.height * blocks.block.width))
    return _turned(blocks.keeping(lru_cache(most)(blocks.decode)), orientation)


def _of_numpy(path: Path) -> LargeImage:
    def mapped() -> np.ndarray:
        try:
            with np.errstate(over="raise"):  # a product of sides that only warns by default
                array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
        except BROKEN_NPY as error:
            raise ImageError(
                f"`{path}` is damaged or cut short", hint=images.DAMAGED_HINT
            ) from error
        return array

    def pixels(x0: int, y0: int, x1: int, y1: int) -> ImageArray:
        # Mapped anew each time: pages that were read count as this process's until it is unmapped.
        return images.to_rgb(mapped()[y0:y1, x0:x1].copy())

    size = _of_array(mapped()).size
    return LargeImage(size, in_pieces=True, pixels=pixels)


def _blocks(file: BinaryIO, start: bytes, path: Path) -> tuple[Blocks | None, int]:
    """Return how a file is cut into blocks and its orientation; no blocks where it is read whole.

    A header that makes no sense is left to `images.read`, which knows what to say.
    """
    try:
        picture = images.parse_header(file, start)
        if picture is not None and picture.format == "BMP":
            return _rows_of_bmp(picture, path), 1
        if picture is not None and picture.format == "TIFF":
            return tiff.blocks(picture, path), tiff.orientation(picture)
    except ImageError:
        raise
    except images.BROKEN:
        logger.debug("%s is not read in pieces", path, exc_info=True)
    return None, 1


def _rows_of_bmp(picture: ImageFile.ImageFile, path: Path) -> Blocks | None:
    """Cut a BMP into rows of blocks, several to a block; palettes and run lengths are left."""
    width, height = picture.size
    if picture.mode not in ("L", "RGB") or len(picture.tile) != 1:
        return None
    codec, _, offset, details = picture.tile[0]
    if codec != "raw" or not isinstance(details, tuple):
        return None
    rawmode, stride, direction = details
    rows = max(1, PIXELS_AT_ONCE // 32 // width)

    def decode(row: int, column: int) -> ImageArray:
        top, bottom = row * rows, min((row + 1) * rows, height)
        first = top if direction == 1 else height - bottom
        with images.open_file(path) as file:
            file.seek(offset + first * stride)
            data = file.read((bottom - top) * stride)
        size = (width, bottom - top)
        try:
            part = Image.frombytes(picture.mode, size, data, "raw", rawmode, stride, direction)
        except images.BROKEN as error:
            raise ImageError(
                f"`{path}` is damaged or cut short", hint=images.DAMAGED_HINT
            ) from error
        return images.to_rgb(part)

    return Blocks(Size(height, width), Size(rows, width), decode)


def _turned(blocks: Blocks, orientation: int) -> LargeImage:
    """Read windows of an image as it is shown, where it is stored turned or mirrored."""
    swapped = orientation in (5, 6, 7, 8)
    size = Size(*blocks.size[::-1]) if swapped else blocks.size

    def pixels(x0: int, y0: int, x1: int, y1: int) -> ImageArray:
        if orientation in (2, 3, 6, 7):
            x0, x1 = size.width - x1, size.width - x0
        if orientation in (3, 4, 7, 8):
            y0, y1 = size.height - y1, size.height - y0
        window = (y0, x0, y1, x1) if swapped else (x0, y0, x1, y1)
        return images.upright(blocks.read(*window), orientation)

    return LargeImage(size, in_pieces=True, pixels=pixels)


def _require_at_most(size: Size, what: str) -> None:
    if size.height * size.width > MOST_PIXELS:
        raise ImageError(
            f"{what} has {size.width} x {size.height} pixels, the limit is {MOST_PIXELS} in all",
            hint="Cut it into files of their own",
        )
