"""How large an image file is as it will be shown: its header and its orientation, nothing decoded.

A listing of thousands of files is made of this, so as little of each is read as will do.

Sources: EXIF 2.3 (4.5.4 and tag 0x0112), PNG (3rd edition, 11.3.3.1), WebP (RFC 9649, 2.7.1.5).
"""

from __future__ import annotations

import struct
from pathlib import Path

from promptseg.errors import ImageError, ImageSizeError, reason
from promptseg.geometry import Size
from promptseg.io import headers, images

# Most headers end within the first of these; where a camera puts a small picture before the size,
# within the second; else the whole file is read.
PARTS = (2**14, 2**18)
# Orientations that exchange width and height (EXIF 2.3, tag 0x0112).
ON_ITS_SIDE = (5, 6, 7, 8)
EXIF = b"Exif\0\0"
SHORT = 3
# The most that a JPEG's header can state (ITU T.81, B.2.2).
MOST_SIDE = 65_535
MOST_STEPS = 1000
# Kinds of JPEG segments that end the header: the scan, and the end.
LAST_MARKERS = (0xDA, 0xD9)


def measure(path: Path, *, max_pixels: int, max_bytes: int) -> Size:
    """Return the size of an image file as it is shown.

    What a PNG says of its orientation after its pixels is not looked for.

    Raises:
        ImageError: it is no image, damaged, too large, or cannot be read.
    """
    with images.open_file(path) as file:
        try:
            length = path.stat().st_size
            require_bytes(length, max_bytes)
            data = b""
            for part in (*PARTS, length):
                data += file.read(max(0, part - len(data)))
                try:
                    size = _shown(data, is_whole=len(data) >= length)
                except ImageError:
                    if len(data) >= length:
                        raise
                else:
                    break
            else:
                raise ImageError("the file became shorter while it was read")
        except OSError as error:
            if isinstance(error, ImageError):
                raise
            raise ImageError(f"the file cannot be read: {reason(error)}") from error
    require_size(size, max_pixels)
    return size


def require_size(size: Size, max_pixels: int) -> None:
    """Refuse an image of more pixels than are taken, or of a side that no JPEG could have.

    A line of millions of pixels is squashed, and its mask drawn, many times as slowly as a photo.

    Raises:
        ImageSizeError: it has.
    """
    images.check_pixels(size, "the image", max_pixels, hint=images.SMALLER_HINT)
    if max(size) > MOST_SIDE:
        raise ImageSizeError(
            f"the image is {size}, and no side may have more than {MOST_SIDE} pixels",
            hint="Cut it into parts",
        )


def require_bytes(length: int, most: int) -> None:
    """Refuse a file of more bytes than may be read.

    Raises:
        ImageSizeError: it has.
    """
    if length > most:
        raise ImageSizeError(
            f"the image has {length} bytes, the limit is {most}",
            hint="Save it smaller, or as JPEG or WebP",
        )


def orientation(data: bytes) -> int:
    """Return the orientation that the bytes of an image say, 1 to 8; 1 where they say none."""
    try:
        value = _orientation(data)
    except (struct.error, IndexError, OverflowError):
        return 1
    return value if value in range(1, 9) else 1


def _shown(data: bytes, *, is_whole: bool) -> Size:
    size = headers.stated_size(data)
    if not is_whole and _says_later(data):
        raise ImageError("what says the orientation comes later")
    return Size(size.width, size.height) if orientation(data) in ON_ITS_SIDE else size


def _says_later(data: bytes) -> bool:
    """Whether the orientation stands behind the pixels, as WebP has it, or anywhere, as TIFF."""
    if data.startswith(b"RIFF"):
        return data[12:16] == b"VP8X" and bool(data[20] & 0x08)
    return data[:2] in (b"II", b"MM")


def _orientation(data: bytes) -> int:
    if data.startswith(b"\xff\xd8"):
        return _of_jpeg(data)
    if data.startswith(b"\x89PNG"):
        return _of_chunks(data, 8, order=">", name=b"eXIf", tail=4)
    if data.startswith(b"RIFF"):
        return _of_chunks(data, 12, order="<", name=b"EXIF", tail=0)
    return _of_tiff(data) if data[:2] in (b"II", b"MM") else 1


def _of_jpeg(data: bytes) -> int:
    at = 2
    for _ in range(MOST_STEPS):
        at = data.find(b"\xff", at)
        if at < 0:
            break
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker in LAST_MARKERS:
            break
        if marker in headers.BARE_MARKERS:
            at += 2
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        if marker == 0xE1 and data.startswith(EXIF, at + 4):
            return _of_tiff(data[at + 4 + len(EXIF) : at + 2 + length])
        at += 2 + length
    return 1


def _of_chunks(data: bytes, at: int, *, order: str, name: bytes, tail: int) -> int:
    """Look for a chunk; PNG puts its length first and a sum last, RIFF pads to even lengths."""
    for _ in range(MOST_STEPS):
        if order == ">":
            length, kind = struct.unpack_from(">I4s", data, at)
        else:
            kind, length = struct.unpack_from("<4sI", data, at)
        if kind == name:
            return _of_tiff(data[at + 8 : at + 8 + length].removeprefix(EXIF))
        at += 8 + length + (tail or length % 2)
    return 1


def _of_tiff(data: bytes) -> int:
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None:
        return 1
    large = b"+" in data[2:4]
    (start,) = struct.unpack_from(order + ("Q" if large else "I"), data, 8 if large else 4)
    (count,) = struct.unpack_from(order + ("Q" if large else "H"), data, start)
    entry = struct.Struct(order + ("HHQ8s" if large else "HHI4s"))
    first = start + (8 if large else 2)
    for number in range(min(count, MOST_STEPS)):
        tag, kind, length, value = entry.unpack_from(data, first + number * entry.size)
        if tag == images.EXIF_ORIENTATION:
            return (
                int(struct.unpack_from(order + "H", value)[0])
                if (kind, length) == (SHORT, 1)
                else 1
            )
    return 1
