"""Video files written frame by frame: whole or not at all, with the times of their source.

Pictures are coded as VP9 by libvpx (BSD licence), which browsers and players show; x264, which some
builds of FFmpeg have too, is under the GPL and not used. Containers are MP4, WebM and Matroska.
"""

from __future__ import annotations

import logging
import os
import secrets
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, cast

from promptseg.errors import OutputError, VideoError, reason
from promptseg.geometry import Size
from promptseg.io.files import resolved
from promptseg.io.pyav import av
from promptseg.shapes import ImageArray

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.stream import VideoStream

logger = logging.getLogger(__name__)

CODEC = "libvpx-vp9"
# Constant quality, and nearly the quickest coding: one core codes 35 frames of 720p a second.
OPTIONS = {"crf": "32", "b": "0", "deadline": "realtime", "cpu-used": "7", "row-mt": "1"}
CONTAINERS = {".mp4": "mp4", ".webm": "webm", ".mkv": "matroska"}
# A millisecond, which is what WebM and Matroska have.
UNIT = Fraction(1, 1000)
ROOM_HINT = "Choose a place that can be written to, or make room there"


class VideoWriter:
    """Writes frames to a file that is there only once `finish` was called.

    As a context it finishes where nothing was raised, and else leaves no file.

    Raises:
        OutputError: the suffix is none of `CONTAINERS`, or the file cannot be written.
    """

    def __init__(self, path: str | Path, *, rate: float = 25.0) -> None:
        """`rate` is about how many frames a second has, which the coder plans by."""
        self.path = Path(path)
        if self.path.suffix.lower() not in CONTAINERS:
            raise OutputError(
                f"a video is written as {', '.join(CONTAINERS)}, got `{self.path}`",
                hint="Name a file that ends so",
            )
        self._rate = Fraction(rate).limit_denominator(1000)
        self._target = resolved(self.path)
        self._partial = self._target.parent / f".promptseg-{secrets.token_hex(8)}.part"
        self._container: OutputContainer | None = None
        self._stream: VideoStream | None = None
        self._size: Size | None = None
        self._time = 0.0
        self._shown = -1

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.finish()
        else:
            self.discard()

    def add(self, pixels: ImageArray, time: float) -> None:
        """Add a frame that is shown at `time`, in seconds from the first.

        Raises:
            VideoError: it is shown before the last one, or has another size.
            OutputError: it cannot be written.
        """
        size = Size(*pixels.shape[:2])
        if time < self._time:
            raise VideoError(
                f"a frame at {time:.3f} s comes after one at {self._time:.3f} s",
                hint="Write frames in the order in which they are shown",
            )
        if self._size not in (None, size):
            raise VideoError(f"a frame is {size}, those before it are {self._size}")
        self._size, self._time = size, time
        # Two frames of one millisecond are shown in turn.
        self._shown = max(round(time / UNIT), self._shown + 1)
        try:
            self._encode(pixels, self._shown)
        except (av.FFmpegError, OSError) as error:
            self.discard()
            raise self._unwritten(error) from error

    def finish(self) -> Path:
        """Write what is left, and put the file where it belongs; return its path.

        Raises:
            VideoError: there were no frames.
            OutputError: the file cannot be written.
        """
        if self._container is None or self._stream is None:
            raise VideoError(f"there are no frames to write to `{self.path}`")
        try:
            self._container.mux(self._stream.encode(None))
            self._container.close()
            with self._partial.open("rb+") as file:
                os.fsync(file.fileno())
            self._partial.replace(self._target)
        except (av.FFmpegError, OSError) as error:
            raise self._unwritten(error) from error
        finally:
            self.discard()
        return self.path

    def discard(self) -> None:
        """Leave no file; one that was finished, or was there before, stays."""
        if self._container is not None:
            try:
                self._container.close()
            except (av.FFmpegError, OSError):
                logger.debug("cannot close `%s`", self._partial, exc_info=True)
        self._container = None
        with suppress(OSError):
            self._partial.unlink()

    def _encode(self, pixels: ImageArray, shown: int) -> None:
        if self._stream is None or self._container is None:
            self._container, self._stream = self._open(Size(*pixels.shape[:2]))
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709")
        frame.pts, frame.time_base = shown, UNIT
        self._container.mux(self._stream.encode(frame))

    def _open(self, size: Size) -> tuple[OutputContainer, VideoStream]:
        self._target.parent.mkdir(parents=True, exist_ok=True)
        container = av.open(
            f"file:{self._partial}", "w", format=CONTAINERS[self.path.suffix.lower()]
        )
        stream = cast("VideoStream", container.add_stream(CODEC, rate=self._rate, options=OPTIONS))
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = UNIT
        # Says to players what `reformat` did.
        stream.codec_context.colorspace = av.video.reformatter.Colorspace.ITU709
        stream.codec_context.color_range = av.video.reformatter.ColorRange.MPEG
        return container, stream

    def _unwritten(self, error: Exception) -> OutputError:
        return OutputError(f"cannot write `{self.path}`: {reason(error)}", hint=ROOM_HINT)
