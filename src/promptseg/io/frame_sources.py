"""What frames are read from, other than video files: images, arrays and iterables of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
from PIL import Image

from promptseg.errors import CutShortError, ImageError, VideoError
from promptseg.io import images
from promptseg.io.frame import Frame

Picture: TypeAlias = "str | Path | np.ndarray | Image.Image | Frame"
FrameSource: TypeAlias = "str | Path | np.ndarray | Iterable[Picture]"

SOURCE_HINT = (
    "Pass a video file, a folder of images, an array T H W 3, or an iterable of images or arrays"
)


class Source(Protocol):
    """What frames are read from."""

    @property
    def name(self) -> str:
        """What it is called in errors."""
        ...

    @property
    def ahead(self) -> bool:
        """Whether reading it is work that a thread may do ahead."""
        ...

    @property
    def known_length(self) -> int | None:
        """How many frames it has, None where that is not known without looking."""
        ...

    def read(self, start: int, end: int | None, stride: int) -> Iterator[Frame]:
        """Read every `stride`-th frame from `start` to before `end`."""
        ...

    def read_backward(self, start: int, end: int | None, stride: int) -> Iterator[Frame]:
        """Read every `stride`-th frame from the one before `end` down to `start`."""
        ...


class Pictures:
    """Images that can be had in any order; one of them is held at a time."""

    def __init__(
        self, items: Sequence[Picture], name: str, *, rate: float, max_pixels: int
    ) -> None:
        self.name, self._items, self._rate, self._max_pixels = name, items, rate, max_pixels
        self.ahead = any(isinstance(item, (str, Path)) for item in items)

    @property
    def known_length(self) -> int:
        """How many images there are."""
        return len(self._items)

    def read(self, start: int, end: int | None, stride: int) -> Iterator[Frame]:
        """Read every `stride`-th image from `start` to before `end`.

        Raises:
            CutShortError: a file cannot be read.
            ImageError: an array is no image.
        """
        for index in range(start, self._end(end), stride):
            yield self._frame(index)

    def read_backward(self, start: int, end: int | None, stride: int) -> Iterator[Frame]:
        """Read every `stride`-th image from the one before `end` down to `start`; as `read`."""
        for index in range(self._end(end) - 1, start - 1, -stride):
            yield self._frame(index)

    def _end(self, end: int | None) -> int:
        return len(self._items) if end is None else min(end, len(self._items))

    def _frame(self, index: int) -> Frame:
        return as_frame(self._items[index], index, index / self._rate, self._max_pixels)


class Passing:
    """An iterable that is gone through once, such as a generator."""

    ahead = False
    known_length = None

    def __init__(self, items: Iterable[Picture], *, rate: float, max_pixels: int) -> None:
        self.name = "the source"
        self._items, self._rate, self._max_pixels = items, rate, max_pixels

    def read(self, start: int, end: int | None, stride: int) -> Iterator[Frame]:
        """Take every `stride`-th image from `start` to before `end`; those between are let go of.

        Raises:
            CutShortError: a file cannot be read.
            ImageError: an array is no image.
        """
        for index, item in islice(enumerate(self._items), start, end, stride):
            yield as_frame(item, index, index / self._rate, self._max_pixels)

    def read_backward(self, start: int, end: int | None, stride: int) -> Iterator[Frame]:
        """Refuse, since what has passed is gone.

        Raises:
            VideoError: always.
        """
        raise VideoError(
            "an iterable that is gone through once cannot be read backward",
            hint="Pass a list, a folder of images or a video file",
        )


def pictures_of(source: FrameSource, *, rate: float, max_pixels: int) -> Source:
    """Take a folder, an array or an iterable as a source of frames.

    Raises:
        VideoError: it is none of these, or the folder has no images.
    """
    if isinstance(source, (str, Path)):
        return Pictures(in_folder(Path(source)), f"`{source}`", rate=rate, max_pixels=max_pixels)
    if isinstance(source, np.ndarray) and source.ndim != 4:
        raise VideoError(
            f"an array of frames has shape `T H W 3`, got {source.shape}", hint=SOURCE_HINT
        )
    if isinstance(source, (np.ndarray, list, tuple)):
        return Pictures(source, "the source", rate=rate, max_pixels=max_pixels)  # type: ignore[arg-type]
    # A picture is an iterable to Python, of rows.
    if not isinstance(source, Iterable) or isinstance(source, (bytes, dict, Image.Image)):
        raise VideoError(f"a video cannot be {type(source).__name__}", hint=SOURCE_HINT)
    return Passing(source, rate=rate, max_pixels=max_pixels)


def in_folder(folder: Path) -> list[Path]:
    """Return the images of a folder in the order of the numbers in their names.

    Raises:
        VideoError: it has none, or cannot be looked into.
    """
    try:
        return sorted(images.find([folder]), key=lambda path: natural_order(path.name))
    except ImageError as error:
        raise VideoError(str(error), hint=error.hint) from error


def natural_order(name: str) -> tuple[tuple[tuple[int, int, str], ...], str]:
    """Return what sorts names as people do: `2` before `10`, and capitals beside small letters."""
    parts = re.findall(r"([0-9]+)|([^0-9]+)", name)
    key = tuple(
        (0, int(number), "") if number else (1, 0, text.casefold()) for number, text in parts
    )
    return key, name


def as_frame(item: Picture, index: int, shown: float, max_pixels: int) -> Frame:
    """Read or convert an image; a frame stays what it is.

    Raises:
        CutShortError: a file cannot be read.
        ImageError: an array is no image.
    """
    if isinstance(item, Frame):
        return item
    if not isinstance(item, (str, Path)):
        return Frame(index, shown, images.to_rgb(item))
    try:
        return Frame(index, shown, images.read(item, max_pixels=max_pixels))
    except ImageError as error:
        raise CutShortError(str(error), hint=error.hint) from error
