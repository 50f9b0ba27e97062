"""A pass through a video: from packets to frames, up to the first fault.

- Containers: those of `FORMATS`; nothing else is tried, since a playlist would have other files or
  addresses opened.
- Turns and mirrors that the video states are applied, as a viewer does.
- Colours follow the matrix and the range that it states, BT.601 where it states none.
- Pixels that are not square stay so, and fields of interlaced video stay woven.
- A fault is what the container or the decoder knows of. Decoders of H.264, MPEG-4 and JPEG know
  nearly all; those of HEVC, VP9 and AV1 may make pictures of noise. MPEG streams may end anywhere.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from promptseg.errors import CutShortError, VideoError
from promptseg.geometry import Size
from promptseg.io.pyav import av
from promptseg.shapes import ImageArray

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

logger = logging.getLogger(__name__)

# By FFmpeg's names for what reads them.
FORMATS = (
    "mov,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg,gif,ivf,h264,hevc,m4v,mpegvideo,nut,mxf,"
    "yuv4mpegpipe,obu"
)
FORMATS_HINT = (
    "Readable are MP4, MOV, MKV, WebM, AVI, MPEG and GIF; a recording that was cut off may have "
    "lost its index"
)
DAMAGED_HINT = "Play it in a viewer, or copy it again from its source"
# A video is whole where it goes on after its last frame for less than this many seconds, or for
# less than so many times its longest wait between two frames. Both are chosen by hand: containers
# round, and a last picture may be shown for long.
WHOLE_SECONDS, WHOLE_WAITS = 0.25, 4


class Opened(NamedTuple):
    """A video that is open, and what it is called in errors."""

    container: InputContainer
    stream: VideoStream
    name: str

    @property
    def unit(self) -> float:
        """How many seconds one unit of its times is."""
        return float(self.stream.time_base or 1)


@contextmanager
def opened(path: str, name: str, *, max_pixels: int) -> Iterator[Opened]:
    """Open a file, and its pictures to be decoded strictly.

    Raises:
        VideoError: it is no video, or has too many pixels.
    """
    try:
        # A name such as `http://` or `concat:` is a file's all the same.
        container = av.open(
            f"file:{path}",
            container_options={"protocol_whitelist": "file", "format_whitelist": FORMATS},
        )
    except (av.FFmpegError, OSError, ValueError) as error:
        logger.debug("cannot open %s", name, exc_info=True)
        raise VideoError(f"{name} is no video that can be read", hint=FORMATS_HINT) from error
    with container:
        stream = _pictures(container, name)
        check_pixels(Size(stream.height, stream.width), name, max_pixels)
        # Else the decoder makes up what is damaged, and says so of one frame in many.
        stream.codec_context.options = {"err_detect": "explode"}
        yield Opened(container, stream, name)


def decoded(video: Opened, *, wanted: int | None = None) -> Iterator[VideoFrame]:
    """Decode from where the container stands, in the order in which frames are shown.

    Where a frame shown at `wanted` is looked for, those before it are left out, and decoding has
    to begin at a key frame that is shown no later: a frame shown before its key frame lacks what it
    refers to.

    Raises:
        CutShortError: the video is damaged or ends before its end; once, after the good frames.
    """
    waits = Waits()
    try:
        for frame in _strictly(video, wanted):
            waits.add(frame)
            yield frame
    except av.FFmpegError as error:
        logger.debug("cannot decode %s", video.name, exc_info=True)
        raise cut_short(video.name, "a frame cannot be decoded") from error
    end = _stated_end(video)
    if end is None or waits.last is None:
        return
    missing = end - waits.last * video.unit
    if missing > max(WHOLE_SECONDS, WHOLE_WAITS * waits.longest * video.unit):
        raise cut_short(video.name, f"the last {missing:.2f} s are not there")


def _strictly(video: Opened, wanted: int | None) -> Iterator[VideoFrame]:
    """Decode packet by packet, up to the first that is not whole."""
    begins = None
    for number, packet in enumerate(video.container.demux(video.stream)):
        if number == 0 and wanted is not None:
            if not (packet.is_keyframe and packet.pts is not None and packet.pts <= wanted):
                raise cut_short(video.name, "it cannot be searched")
            begins = packet.pts
        whole = not (packet.size and packet.is_corrupt)
        for frame in packet.decode() if whole else _held(video, packet):
            # Frames shown before the key frame may refer to what was not decoded.
            if begins is not None and (frame.pts is None or frame.pts < begins):
                continue
            if frame.is_corrupt:
                raise cut_short(video.name, "a frame lacks what it refers to")
            if wanted is None or (frame.pts is not None and frame.pts >= wanted):
                yield frame
        if not whole:
            raise cut_short(video.name, "a part of a frame is not there")
    # The last of the packets is none, it is there to empty the decoder.
    if wanted is None:
        check_count(video.name, number, video.stream.frames)


def _held(video: Opened, damaged: Packet[VideoStream]) -> Iterator[VideoFrame]:
    """Return the frames that the decoder holds before a damaged packet, as far as none is between.

    What was not decoded is shown no earlier than the damaged packet is due to be decoded.
    """
    for frame in video.stream.decode(None):
        if frame.pts is not None and damaged.dts is not None and frame.pts < damaged.dts:
            yield frame


def check_count(name: str, packets: int, stated: int) -> None:
    """Refuse to call whole what has fewer frames than its header states, which may state none.

    Frames that are not shown, in a video that was edited, are packets too.

    Raises:
        CutShortError: it has fewer.
    """
    if packets < stated:
        raise cut_short(name, f"{stated - packets} of {stated} frames are not there")


class Waits:
    """When the last frame is shown, and the longest time between two, in units of the stream."""

    def __init__(self) -> None:
        self.last: int | None = None
        self.longest = 0

    def add(self, frame: VideoFrame) -> None:
        """Take note of a frame."""
        if frame.pts is None:
            return
        if self.last is not None:
            self.longest = max(self.longest, frame.pts - self.last)
        self.last = frame.pts


def to_pixels(
    frame: VideoFrame, matrix: np.ndarray | None, name: str, max_pixels: int
) -> ImageArray:
    """Convert a frame to H W 3 RGB, turned and mirrored by its display matrix.

    Raises:
        VideoError: it has too many pixels.
    """
    check_pixels(Size(frame.height, frame.width), name, max_pixels)
    pixels = np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
    return pixels if matrix is None else upright(pixels, matrix)


def display_matrix(frame: VideoFrame) -> np.ndarray | None:
    """Return the nine numbers by which frames are turned and mirrored, None where they are not.

    To be asked of one frame of a video only: one that was asked is freed so late that memory grows,
    since PyAV has it and what is looked up here refer to each other.
    """
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    return None if matrix is None else np.frombuffer(bytes(matrix), dtype=np.int32)


def upright(image: ImageArray, matrix: np.ndarray) -> ImageArray:
    """Turn pixels to the nearest quarter, and mirror them, as a display matrix asks.

    Its nine numbers are (a b u, c d v, x y w), and a pixel (x, y) is shown at (ax + cy, bx + dy).
    Source: FFmpeg, libavutil/display.h.
    """
    a, b, _, c, d = (int(number) for number in matrix[:5])
    if abs(b) + abs(c) > abs(a) + abs(d):
        image, across, down = image.swapaxes(0, 1), c, b
    else:
        across, down = a, d
    if across < 0:
        image = image[:, ::-1]
    if down < 0:
        image = image[::-1]
    return np.ascontiguousarray(image)


def check_pixels(size: Size, name: str, max_pixels: int) -> None:
    """Refuse frames of too many pixels.

    Raises:
        VideoError: they have more than `max_pixels`.
    """
    if size.height * size.width > max_pixels:
        raise VideoError(
            f"{name} has {size.width} x {size.height} pixels a frame, the limit is {max_pixels}",
            hint="Make the video smaller, or raise `PROMPTSEG_MAX_PIXELS`",
        )


def cut_short(name: str, why: str) -> CutShortError:
    """Say that a video ends before its end."""
    return CutShortError(f"{name} is damaged or cut short: {why}", hint=DAMAGED_HINT)


def _pictures(container: InputContainer, name: str) -> VideoStream:
    """Find the pictures that move; a cover is none."""
    cover = av.stream.Disposition.attached_pic
    streams = [each for each in container.streams.video if not each.disposition & cover]
    if not streams:
        raise VideoError(f"{name} has no pictures that move", hint=FORMATS_HINT)
    best = container.streams.best("video")
    stream = next((each for each in streams if each is best), streams[0])
    if stream.codec_context is None:
        raise VideoError(
            f"the pictures of {name} are coded in a way that this FFmpeg does not know",
            hint="Convert it to H.264, VP9 or AV1",
        )
    stream.thread_type = "AUTO"
    return stream


def _stated_end(video: Opened) -> float | None:
    """When the pictures end, in seconds, as Matroska and WebM say in a tag; None without it.

    Other containers say how many frames there are, or nothing.
    """
    for key, value in video.stream.metadata.items():
        found = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", value)
        if key.startswith("DURATION") and found:
            hours, minutes, seconds = found.groups()
            return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    return None
