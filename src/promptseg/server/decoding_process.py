"""The process that decodes uploads apart from the service, so that it may be killed.

`python -m promptseg.server.decoding_process SECONDS` reads images from its standard input and
writes pixels, or what is wrong with an image, to its standard output, one image after the other,
until its input ends. It has no more memory than an image of the stated size needs, writes no file,
and ends by itself where an image takes longer than the `SECONDS` after which it should be killed.
"""

from __future__ import annotations

import json
import logging
import math
import signal
import struct
import sys
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from promptseg.errors import ImageError, ImageSizeError, as_record
from promptseg.geometry import Size
from promptseg.io import images
from promptseg.shapes import ImageArray

if sys.platform != "win32":
    import resource

logger = logging.getLogger(__name__)

# What is asked: the bytes of the upload that follow, the width and height that it states, and the
# longest side that its pixels may have, 0 for all of them.
ASKED = struct.Struct(">QIII")
# What is answered: bytes of the error's record that follows, or 0 and the size of the pixels.
ANSWERED = struct.Struct(">III")
READY = b"ready"
UNREADABLE = "the image could not be decoded"

# The most that was seen is 31, of a lossless WebP with transparency; JPEG and PNG in RGB take 15 to
# 17, RGBA 23, a TIFF of floating numbers 28 (address space at its peak, 16 Mpixels, Pillow 13).
BYTES_A_PIXEL = 40
# Of an upload there are copies in Python, in Pillow and in the library of its format.
COPIES = 4
SPARE_BYTES = 64 * 2**20
# Where the system does not say how much address space is in use.
UNKNOWN_BYTES = 2**30


def main(seconds: float) -> None:
    """Answer images until the input ends."""
    # Ctrl+C and a service manager's signal go to the whole group, and what was begun is finished.
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    Image.init()  # reads modules, which is not possible with little memory later
    _forbid_files()
    used = _address_space()
    asked, answers = sys.stdin.buffer, sys.stdout.buffer
    answers.write(READY)
    answers.flush()
    while len(head := asked.read(ASKED.size)) == ASKED.size:
        length, width, height, side = ASKED.unpack(head)
        _limit_memory(used + SPARE_BYTES + COPIES * length + BYTES_A_PIXEL * width * height)
        _set_alarm(math.ceil(seconds) + 1)
        try:
            _send_pixels(answers, decode(asked.read(length), Size(height, width), side=side))
        except ImageError as error:
            _send_error(answers, error)
        _set_alarm(0)


def decode(data: bytes, stated: Size, *, side: int = 0) -> ImageArray:
    """Decode an image that may have no more pixels than its header was seen to state.

    With a `side` it is made smaller, so that neither of its sides is longer.

    Raises:
        ImageError: it has more, is damaged, or takes more memory than its size explains.
    """
    try:
        if side:
            return images.decode_small(data, side, max_pixels=stated.height * stated.width)
        return images.decode(data, max_pixels=stated.height * stated.width)
    except ImageSizeError as error:
        raise ImageError(
            "the image states more than one size", hint="Save it anew in an image editor"
        ) from error
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageError(
            "the image takes far more memory than its size explains", hint=images.DAMAGED_HINT
        ) from error
    except Exception as error:
        logger.debug("cannot decode an upload", exc_info=True)
        raise ImageError(UNREADABLE, hint=images.DAMAGED_HINT) from error


def _send_pixels(answers: BinaryIO, pixels: ImageArray) -> None:
    height, width = pixels.shape[:2]
    answers.write(ANSWERED.pack(0, height, width))
    answers.write(pixels.data)
    answers.flush()


def _send_error(answers: BinaryIO, error: ImageError) -> None:
    record = json.dumps(as_record(error)).encode()
    answers.write(ANSWERED.pack(len(record), 0, 0) + record)
    answers.flush()


def _forbid_files() -> None:
    if sys.platform != "win32":
        for kind in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE):
            resource.setrlimit(kind, (0, 0))


def _limit_memory(most: int) -> None:
    if sys.platform != "win32":
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        # macOS knows the limit by name only.
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_AS, (most, hard))


def _address_space() -> int:
    """Return how many bytes of addresses this process uses now."""
    if sys.platform != "win32":
        with suppress(OSError, ValueError, IndexError):
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            return pages * resource.getpagesize()
    return UNKNOWN_BYTES


def _set_alarm(seconds: int) -> None:
    """End this process after so long, even inside a decoder and with no parent to do it."""
    if sys.platform != "win32":
        signal.alarm(seconds)


if __name__ == "__main__":
    main(float(sys.argv[1]))
