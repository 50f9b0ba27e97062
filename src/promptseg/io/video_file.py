"""Video files: any stretch of their frames, found to the frame without decoding what is before."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from promptseg.errors import CutShortError, VideoError, reason
from promptseg.io.frame import Frame
from promptseg.io.pyav import av
from promptseg.io.video_decoding import (
    Opened,
    check_count,
    decoded,
    display_matrix,
    opened,
    to_pixels,
)

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

# Key frames that are tried before the file is read from its beginning.
SEEKS = 3
# Frames read backward are held in stretches of no more than so many, and so many bytes; a short
# stretch costs decoding from the same key frame again and again.
STRETCH, STRETCH_BYTES = 256, 256 * 2**20
# Where a file states no times, its frames are shown at the rate it states, else at this one.
FRAMES_A_SECOND = 25


class Index(NamedTuple):
    """When each frame is shown, in units of the stream, in order; it takes 8 bytes for each.

    Of key frames, `keys` are the times when they are shown, and `sought` those when they are
    decoded, by which containers are searched. `packets` counts frames that are not shown too, as
    headers do.
    """

    times: np.ndarray
    keys: np.ndarray
    sought: np.ndarray
    packets: int


class VideoFile:
    """A video file, of which any stretch of frames can be read, again and again.

    Raises:
        VideoError: it is missing, no video, or has too many pixels.
    """

    ahead = True

    def __init__(self, path: str | Path, *, max_pixels: int) -> None:
        self.path, self.name, self._max_pixels = Path(path), f"`{path}`", max_pixels
        _check(self.path)
        # A pipe can be read but once, so it is not tried out.
        self.searchable = self.path.is_file()
        self._stated, self._frame_bytes = 0, 1
        if self.searchable:
            with self._opened() as video:
                self._stated = video.stream.frames
                self._frame_bytes = 3 * video.stream.height * video.stream.width

    @property
    def known_length(self) -> int | None:
        """How many frames its header says there are, None where it does not say."""
        return self._stated or None

    @cached_property
    def length(self) -> int:
        """How many frames it has, looked up without decoding where that is possible.

        Raises:
            VideoError: it is a pipe, or can no longer be opened.
        """
        if not self.searchable:
            raise VideoError(
                f"{self.name} is a pipe, which can only be read from its beginning on",
                hint="Write it to a file first",
            )
        if self._index is not None:
            return len(self._index.times)
        total = 0
        with self._opened() as video, suppress(CutShortError):
            for _ in decoded(video):
                total += 1
        return total

    def read(self, start: int = 0, end: int | None = None, stride: int = 1) -> Iterator[Frame]:
        """Decode every `stride`-th frame from `start` to before `end`.

        Raises:
            CutShortError: it is damaged or ends before its end; once, after the good frames.
            VideoError: it can no longer be opened, or a frame has too many pixels.
        """
        matrix = None
        for index, shown, frame in self._from(start):
            if index == start:
                matrix = display_matrix(frame)
            if (index - start) % stride == 0:
                yield Frame(index, shown, to_pixels(frame, matrix, self.name, self._max_pixels))
            # Before the next is decoded, which may be damaged.
            if end is not None and index + 1 >= end:
                return

    def read_backward(self, start: int, end: int | None, stride: int) -> Iterator[Frame]:
        """Decode every `stride`-th frame from the one before `end` down to `start`.

        Decoding goes forward, so it is done in stretches, each from a key frame on. Where the end
        of the file is asked for and damaged, the last good frame comes first.

        Raises:
            CutShortError: a frame that would be next cannot be read; or once, after all the others,
                the end of the file.
            VideoError: as `length` and `read`.
        """
        asked, end = end, self.length if end is None else min(end, self.length)
        wanted = range(end - 1, start - 1, -stride)
        size = max(1, min(STRETCH, STRETCH_BYTES // max(self._frame_bytes, 1)))
        fault = None
        for first in range(0, len(wanted), size):
            stretch = wanted[first : first + size]
            held: list[Frame] = []
            try:
                # What came before an error stays in it.
                held.extend(self.read(stretch[-1], stretch[0] + 1, stride))
            except CutShortError as error:
                if first or asked is not None or not held:
                    raise
                fault = error
            while held:
                yield held.pop()
        if fault is not None:
            raise fault

    def _from(self, start: int) -> Iterator[tuple[int, float, VideoFrame]]:
        """Decode from frame `start` on, by way of a key frame before it, else by counting."""
        if start and self._index is not None:
            with self._opened() as video:
                frames = _sought(video, self._index, start)
                if frames is not None:
                    origin = int(self._index.times[0])
                    for position, frame in enumerate(frames, start=start):
                        yield position, ((frame.pts or 0) - origin) * video.unit, frame
                    check_count(self.name, self._index.packets, self._stated)
                    return
        with self._opened() as video:
            rate = video.stream.average_rate or video.stream.guessed_rate or FRAMES_A_SECOND
            first: int | None = None
            for position, frame in enumerate(decoded(video)):
                shown = position / float(rate)
                if frame.pts is not None:
                    first = frame.pts if first is None else first
                    shown = (frame.pts - first) * video.unit
                if position >= start:
                    yield position, shown, frame

    @cached_property
    def _index(self) -> Index | None:
        """Go through the packets; None where they do not tell when all frames are shown."""
        if not self.searchable:
            return None
        times, keys, sought = array("q"), array("q"), array("q")
        hidden = 0
        with self._opened() as video, suppress(av.FFmpegError):
            for packet in video.container.demux(video.stream):
                if not packet.size or packet.is_discard:
                    hidden += bool(packet.size)
                    continue
                if packet.pts is None:
                    return None
                if packet.is_corrupt:
                    break
                times.append(packet.pts)
                if packet.is_keyframe:
                    keys.append(packet.pts)
                    sought.append(packet.pts if packet.dts is None else packet.dts)
        first = None
        with self._opened() as video, suppress(CutShortError):
            first = next(decoded(video), None)
        shown = np.unique(np.asarray(times))
        # Where frames share a time, or the first ones cannot be decoded, they have to be counted.
        if first is None or len(shown) < len(times) or first.pts != shown[0]:
            return None
        order = np.argsort(np.asarray(keys))
        return Index(shown, np.asarray(keys)[order], np.asarray(sought)[order], len(times) + hidden)

    def _opened(self) -> AbstractContextManager[Opened]:
        return opened(str(self.path), self.name, max_pixels=self._max_pixels)


def _sought(video: Opened, index: Index, start: int) -> Iterator[VideoFrame] | None:
    """Go to a key frame shown no later than frame `start`, and decode from `start` on.

    None where the container leads elsewhere, or what lies before `start` is damaged.
    """
    if start >= len(index.times):
        return None
    wanted = int(index.times[start])
    latest = int(np.searchsorted(index.keys, wanted, side="right"))
    for sought in index.sought[max(latest - SEEKS, 0) : latest][::-1]:
        with suppress(av.FFmpegError, CutShortError, StopIteration):
            video.container.seek(int(sought), stream=video.stream)
            frames = decoded(video, wanted=wanted)
            first = next(frames)
            if first.pts == wanted:
                return chain([first], frames)
    return None


def _check(path: Path) -> None:
    """Refuse what is no file that can be read."""
    try:
        if not path.exists():
            raise VideoError(f"there is no file `{path}`")
        if path.is_file():
            with path.open("rb") as file:
                if not file.read(1):
                    raise VideoError(f"`{path}` is empty")
    except VideoError:
        raise
    except (OSError, ValueError) as error:
        raise VideoError(f"cannot open `{path}`: {reason(error)}") from error
