"""Clips with known masks: things that move, turn, change shape and cover each other over a photo.

All is a function of the seed, in numpy and Pillow alone. `encode` makes video files of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from places import ROOT

# Frames of the clips that the tests of files share.
LENGTH = 41
# Even, as coders that halve colours want it.
HEIGHT, WIDTH = 82, 126


@dataclass(frozen=True, eq=False)
class Clip:
    """`frames` T H W 3 uint8; `masks` T n H W bool, of what is seen of each thing."""

    frames: np.ndarray
    masks: np.ndarray


@dataclass(frozen=True, eq=False)
class Thing:
    """A blob: where its middle is, how it turns and swells, and which part of a photo it shows.

    Numbers are pixels, radians and frames; `waves` are the depths of its outline's waves.
    """

    middle: np.ndarray
    step: np.ndarray
    radius: float
    turn: float
    swell: float
    waves: np.ndarray
    phases: np.ndarray
    corner: np.ndarray
    tint: np.ndarray


def clip(
    seed: int = 0,
    *,
    length: int = 24,
    height: int = HEIGHT,
    width: int = WIDTH,
    things: int = 2,
    bar: bool = False,
) -> Clip:
    """Make a clip; later things cover earlier ones, and a `bar` that goes across them all."""
    rng = np.random.default_rng(seed)
    made = [_thing(rng, height, width) for _ in range(things)]
    drift, start = rng.uniform(-1, 1, 2), rng.uniform(60, 100, 2)
    frames = np.empty((length, height, width, 3), np.uint8)
    masks = np.zeros((length, things, height, width), np.bool_)
    y, x = np.mgrid[:height, :width].astype(np.float64)
    for t in range(length):
        frame = _sampled(x + start[0] + drift[0] * t, y + start[1] + drift[1] * t)
        for number, thing in enumerate(made):
            inside, across, down = _placed(thing, t, x, y, height, width)
            colours = 0.55 * _sampled(across + thing.corner[0], down + thing.corner[1])
            frame[inside] = (colours + 0.45 * thing.tint)[inside]
            masks[t, :number, inside] = False
            masks[t, number] = inside
        if bar:
            covered = np.abs(x - width * (t + 0.5) / length) < width / 20
            frame[covered] = (40, 42, 46)
            masks[t, :, covered] = False
        frames[t] = np.clip(np.rint(frame), 0, 255)
    return Clip(frames, masks)


def _thing(rng: np.random.Generator, height: int, width: int) -> Thing:
    radius = rng.uniform(0.16, 0.24) * min(height, width)
    return Thing(
        middle=rng.uniform(0.3, 0.7, 2) * (width, height),
        step=rng.uniform(0.01, 0.02, 2) * (width, height) * rng.choice([-1, 1], 2),
        radius=radius,
        turn=rng.uniform(0.03, 0.1) * rng.choice([-1, 1]),
        swell=rng.uniform(0.1, 0.25),
        waves=rng.uniform(0.04, 0.14, 3),
        phases=rng.uniform(0, 2 * np.pi, 3),
        corner=rng.uniform(100, 300, 2),
        tint=rng.uniform(0, 255, 3),
    )


def _placed(thing: Thing, t: int, x, y, height: int, width: int):
    """Return where a thing is in frame t, and coordinates that go with it."""
    far = np.array([width, height]) - 2 * thing.radius
    # To and fro between the borders.
    gone = np.mod(thing.middle - thing.radius + thing.step * t, 2 * far)
    middle = thing.radius + np.where(gone > far, 2 * far - gone, gone)
    dx, dy = x - middle[0], y - middle[1]
    angle = np.arctan2(dy, dx) - thing.turn * t
    reach = np.ones_like(angle)
    for number, (depth, phase) in enumerate(zip(thing.waves, thing.phases, strict=True), start=2):
        reach += depth * np.sin(number * angle + phase + 0.1 * number * t)
    radius = thing.radius * (1 + thing.swell * np.sin(0.2 * t + thing.phases[0]))
    away = np.hypot(dx, dy)
    return away < radius * reach, away * np.cos(angle), away * np.sin(angle)


def _sampled(x, y) -> np.ndarray:
    """Return the photo's colours at these places, mirrored beyond its borders."""
    photo = _photo()
    height, width = photo.shape[:2]
    across = np.abs(np.mod(np.rint(x).astype(int) + width, 2 * width) - width) % width
    down = np.abs(np.mod(np.rint(y).astype(int) + height, 2 * height) - height) % height
    return photo[down, across].astype(np.float64)


@cache
def _photo() -> np.ndarray:
    with Image.open(ROOT / "examples" / "coffee.jpg") as picture:
        return np.asarray(picture.convert("RGB"))


# A file's ending, its coder, its pixels and the coder's options: B-frames where there are any,
# short groups of pictures, and as good as lossless.
KINDS = {
    "h264.mp4": ("libx264", "yuv420p", {"bf": "3", "g": "12"}),
    "hevc.mp4": ("libx265", "yuv420p", {"x265-params": "log-level=none:keyint=12"}),
    "open.mkv": ("libx264", "yuv420p", {"bf": "3", "g": "12", "x264-params": "open-gop=1"}),
    "part.mp4": ("mpeg4", "yuv420p", {"bf": "2", "g": "12"}),
    "part.avi": ("mpeg4", "yuv420p", {"bf": "2", "g": "12"}),
    "stream.ts": ("libx264", "yuv420p", {"bf": "3", "g": "12"}),
    "program.mpg": ("mpeg2video", "yuv420p", {"bf": "2", "g": "12"}),
    "vp8.webm": ("libvpx", "yuv420p", {"auto-alt-ref": "1", "lag-in-frames": "16", "g": "12"}),
    "vp9.webm": ("libvpx-vp9", "yuv420p", {"deadline": "realtime", "cpu-used": "8", "g": "12"}),
    "lossless.mkv": ("ffv1", "bgr0", {}),
    "motion.avi": ("mjpeg", "yuvj420p", {}),
    "raw.h264": ("libx264", "yuv420p", {"bf": "3", "g": "12"}),
}
# These hold frames at one rate, and others when each is shown.
STEADY = ("part.avi", "motion.avi", "program.mpg", "raw.h264")
UNIT = Fraction(1, 1000)


def encode(
    frames: np.ndarray,
    folder: Path,
    kind: str = "h264.mp4",
    *,
    milliseconds: np.ndarray | None = None,
    rotation: int = 0,
    mirrored: bool = False,
    name: str | None = None,
) -> Path:
    """Write frames as a video file; at 25 a second unless it is said when each is shown."""
    coder, pixels, options = KINDS[kind]
    path = folder / (name or kind)
    unit = Fraction(1, 25) if kind in STEADY else UNIT
    if milliseconds is None:
        milliseconds = 40 * np.arange(len(frames))
    places = range(len(frames)) if kind in STEADY else milliseconds.tolist()
    muxing = {"movflags": "faststart"} if path.suffix == ".mp4" else {}
    with av.open(str(path), "w", options=muxing) as container:
        stream = container.add_stream(coder, rate=25, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.bit_rate = 4_000_000
        stream.pix_fmt, stream.codec_context.time_base = pixels, unit
        if rotation or mirrored:
            stream.set_display_rotation(rotation, hflip=mirrored)
        for pts, frame in zip(places, frames, strict=True):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = pts, unit
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def uneven(length: int, seed: int = 0) -> np.ndarray:
    """Return milliseconds at which frames are shown, from 20 to 80 apart."""
    steps = np.random.default_rng(seed).integers(20, 81, length)
    return np.cumsum(steps) - steps[0]


def cut(path: Path, share: float) -> Path:
    """Write the first part of a file beside it."""
    data = path.read_bytes()
    shorter = path.with_name(f"cut-{path.name}")
    shorter.write_bytes(data[: int(share * len(data))])
    return shorter


def damaged(path: Path, share: float) -> Path:
    """Write a file beside it, with 300 bytes from there on replaced by noise."""
    data = bytearray(path.read_bytes())
    place = int(share * len(data))
    data[place : place + 300] = np.random.default_rng(1).bytes(300)
    broken = path.with_name(f"damaged-{path.name}")
    broken.write_bytes(data)
    return broken


def assert_same(found, expected) -> None:
    """Check that frames are the same to the last bit, in place, time and pixels."""
    assert [frame.index for frame in found] == [frame.index for frame in expected]
    assert [frame.time for frame in found] == pytest.approx([frame.time for frame in expected])
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.pixels, other.pixels)
