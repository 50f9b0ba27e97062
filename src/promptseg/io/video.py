"""Frames of a video, in order, whatever it comes as: one iterator for files, folders and cameras.

A source is

- a video file (docs: `video_decoding`), or a pipe with one in it;
- a folder of images, in the order of the numbers in their names: `2.png` before `10.png`;
- an array T H W 3, or a list of paths, arrays and Pillow images;
- any other iterable of these, such as a generator, which is read once, from its beginning on.

Files and images are decoded ahead in a thread, a few frames and no more, so that memory does not
grow with the length. All images follow the rules of `io.images`; all frames have one size.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from promptseg.errors import CutShortError, VideoError
from promptseg.geometry import Size
from promptseg.io.ahead import Ahead
from promptseg.io.frame import Frame
from promptseg.io.frame_sources import FrameSource, Picture, Source, as_frame, pictures_of
from promptseg.settings import MAX_PIXELS

logger = logging.getLogger(__name__)

# Frames that lie ready: enough that decoding and a network do not wait for each other.
READY = 4


def frames(
    source: FrameSource,
    *,
    start: int = 0,
    end: int | None = None,
    stride: int = 1,
    backward: bool = False,
    rate: float = 25.0,
    max_pixels: int = MAX_PIXELS,
) -> Frames:
    """Return every `stride`-th frame of a video from `start` to before `end`, or to its end.

    With `backward` they come from the other end: first the one before `end`, then every
    `stride`-th before it, down to `start`. `rate` is how many frames a second has where the source
    knows no times.

    Raises:
        VideoError: the source is missing, no video, or cannot be read backward; the numbers make no
            sense.
        MissingExtraError: it is a video file, and PyAV is not installed.
    """
    if start < 0 or stride < 1 or (end is not None and end <= start):
        raise VideoError(
            f"frames go from `start` to before `end` by `stride`, got {start}, {end}, {stride}",
            hint="`start` is 0 or more, `end` is larger, and `stride` is 1 or more",
        )
    if not rate > 0:
        raise VideoError(f"`rate` is frames a second, more than 0, got {rate:g}")
    found = _source(source, rate, max_pixels)
    known = found.known_length
    if known is not None and start >= known:
        raise VideoError(f"there is no frame {start}: {found.name} has {known}, counted from 0")
    made = (found.read_backward if backward else found.read)(start, end, stride)
    length = end if known is None else min(end or known, known)
    name = f"{found.name} from frame {start} on" if start else found.name
    return Frames(
        Ahead(made, room=READY) if found.ahead else made,
        name,
        None if known is None or length is None else len(range(start, length, stride)),
    )


def live(
    source: Iterable[Picture], *, patience: float = 10.0, max_pixels: int = MAX_PIXELS
) -> Frames:
    """Return the latest frame of a camera each time, and drop those that nobody was there to take.

    A thread takes the frames as they come, so a tracker that is too slow skips some and is never
    late; their `index` says how many there were. Times are those of arrival, but a `Frame` has its
    own. The camera is any iterable of frames, such as `frames(...)` of a pipe, or a generator round
    a camera's driver. One that gives no frame for `patience` seconds is cut short.

    Raises:
        VideoError: it is no iterable.
    """
    if isinstance(source, (str, Path)):
        raise VideoError(
            f"a live source is an iterable of frames, got `{source}`",
            hint="For a pipe pass `frames(path)`, for a camera a generator of its pictures",
        )
    made = Ahead(_arriving(source, max_pixels), room=1, newest=True, patience=patience)
    return Frames(made, "the camera", None)


class Frames(Iterator[Frame]):
    """An iterator over frames that ends at the last good one, and says where it ended too early.

    Closing it, or leaving it as a context, ends the thread that decodes ahead; so does forgetting
    it.

    Raises, while it is read:
        VideoError: there is no good frame at all, or a frame has another size than those before.
    """

    def __init__(self, made: Iterator[Frame], name: str, length: int | None) -> None:
        self._made, self._name = made, name
        self._size: Size | None = None
        self._closed = False
        self.length = length
        """How many frames there are to come in all, as far as is known; None where it is not."""
        self.cut_short: CutShortError | None = None
        """Once it has ended: why before the source's end, None where that was reached."""

    @property
    def size(self) -> Size | None:
        """How large frames are, once there was one."""
        return self._size

    def __enter__(self) -> Frames:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __next__(self) -> Frame:
        """Return the next frame."""
        if self._closed:
            raise StopIteration
        try:
            frame = next(self._made)
        except CutShortError as error:
            if self._size is None:
                raise
            self.cut_short = error
            logger.warning("%s", error)
            self.close()
            raise StopIteration from None
        except StopIteration:
            if self._size is None:
                raise VideoError(f"{self._name} has no frames") from None
            raise
        size = Size(*frame.pixels.shape[:2])
        if self._size is not None and size != self._size:
            self.close()
            raise VideoError(
                f"frame {frame.index} of {self._name} is {size}, those before it are {self._size}",
                hint="All frames of a video have one size: cut it where that changes",
            )
        self._size = size
        return frame

    def close(self) -> None:
        """End reading, and the thread that reads ahead; there are no more frames after it."""
        self._closed = True
        close = getattr(self._made, "close", None)
        if close is not None:
            close()


def _source(source: FrameSource, rate: float, max_pixels: int) -> Source:
    if isinstance(source, (str, Path)) and not Path(source).is_dir():
        # PyAV is an extra, which images do without.
        from promptseg.io.video_file import VideoFile

        return VideoFile(source, max_pixels=max_pixels)
    return pictures_of(source, rate=rate, max_pixels=max_pixels)


def _arriving(source: Iterable[Picture], max_pixels: int) -> Iterator[Frame]:
    """Take frames as they come; each is copied, since drivers use their memory again."""
    began = time.monotonic()
    for index, item in enumerate(source):
        frame = as_frame(item, index, time.monotonic() - began, max_pixels)
        yield replace(frame, pixels=frame.pixels.copy())
