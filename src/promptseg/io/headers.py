"""Reading the size that an image's first bytes state, without a decoder and without memory.

What strangers send is measured by this before anything is made of it: a few bytes are looked at,
nothing is unpacked, and no count in them is trusted to be a loop's length. A decoder may still find
another size further on, so it is to be held to the one stated here.

Sources: PNG (W3C, 3rd edition, 11.2.1), JPEG (ITU-T T.81, B.2.2), GIF89a (sections 18 and 20), WebP
(RFC 9649, 2.4 to 2.7; RFC 6386, 9.1), BMP (`BITMAPCOREHEADER`, `BITMAPINFOHEADER`), TIFF 6.0
(section 2) and its extension to 64 bits.
"""

from __future__ import annotations

import struct

from promptseg.errors import ImageError, ImageFormatError
from promptseg.geometry import Size
from promptseg.io.images import FORMATS_HINT

# Segments of a JPEG, blocks of a GIF or entries of a TIFF before the size; images have some tens.
MOST_STEPS = 20_000
# Kinds of JPEG segments that state a size: SOF0 to SOF15, without DHT, JPG and DAC.
FRAME_STARTS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Kinds that are a marker alone: TEM, RST0 to RST7 and SOI.
BARE_MARKERS = frozenset((0x01, *range(0xD0, 0xD9)))
TIFF_WIDTH, TIFF_HEIGHT = 256, 257
# How a whole number of each of TIFF's types is unpacked: byte, short, long, and long of 64 bits.
TIFF_TYPES = {1: "B", 3: "H", 4: "I", 16: "Q"}
NONE = Size(0, 0)


def stated_size(data: bytes) -> Size:
    """Return the size that an image's header states, as stored: no orientation is applied.

    Raises:
        ImageFormatError: the bytes begin as no format that is read.
        ImageError: there are none, or the header is damaged.
    """
    if not data:
        raise ImageError("the image is empty", hint="Send the bytes of a whole image file")
    try:
        size = _size(data)
    except (struct.error, IndexError, OverflowError):  # cut short, or pointing beyond the end
        size = NONE
    if size.height < 1 or size.width < 1:
        raise ImageError(
            "the header of the image is damaged or cut short",
            hint="Open it in a viewer, or copy it again from its source",
        )
    return size


def _size(data: bytes) -> Size:
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _png(data)
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg(data)
    if data.startswith((b"GIF87a", b"GIF89a")):
        return _gif(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _webp(data)
    if data.startswith(b"BM"):
        return _bmp(data)
    if data[:2] in (b"II", b"MM") and data[2:4] in (b"*\0", b"\0*", b"+\0", b"\0+"):
        return _tiff(data)
    raise ImageFormatError("the bytes are not an image of a known format", hint=FORMATS_HINT)


def _png(data: bytes) -> Size:
    kind, width, height = struct.unpack_from(">4sII", data, 12)
    return Size(height, width) if kind == b"IHDR" else NONE


def _jpeg(data: bytes) -> Size:
    at = 2
    for _ in range(MOST_STEPS):
        at = data.find(b"\xff", at)  # decoders skip what lies between segments
        if at < 0:
            break
        marker = data[at + 1]
        if marker in FRAME_STARTS:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return Size(height, width)
        if marker == 0xFF:  # padding
            at += 1
        elif marker in BARE_MARKERS:
            at += 2
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return NONE


def _gif(data: bytes) -> Size:
    """Return the screen's size, or more where the first frame reaches beyond it."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at = 13 + (6 << (flags & 7) if flags & 0x80 else 0)
    in_blocks = False
    for _ in range(MOST_STEPS):
        byte = data[at]
        if in_blocks:
            at += byte + 1
            in_blocks = byte != 0
        elif byte == 0x21:  # an extension
            at += 2
            in_blocks = True
        elif byte == 0x2C:  # a frame
            left, top, across, down = struct.unpack_from("<4H", data, at + 1)
            return Size(max(height, top + down), max(width, left + across))
        elif byte == 0x3B:  # the end
            break
        else:
            at += 1
    return NONE


def _webp(data: bytes) -> Size:
    kind = data[12:16]
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", data, 26)
        return Size(height & 0x3FFF, width & 0x3FFF)
    if kind == b"VP8L" and data[20] == 0x2F:
        (bits,) = struct.unpack_from("<I", data, 21)
        return Size((bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1)
    if kind == b"VP8X" and len(data) >= 30:
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
        return Size(height, width)
    return NONE


def _bmp(data: bytes) -> Size:
    (length,) = struct.unpack_from("<I", data, 14)
    if length == 12:
        width, height = struct.unpack_from("<HH", data, 18)
    else:
        # The height is negative where the rows go from top to bottom.
        width, height = struct.unpack_from("<Ii", data, 18)
    return Size(abs(height), width)


def _tiff(data: bytes) -> Size:
    order = "<" if data.startswith(b"II") else ">"
    large = b"+" in data[2:4]
    (start,) = struct.unpack_from(order + ("Q" if large else "I"), data, 8 if large else 4)
    count = struct.Struct(order + ("Q" if large else "H"))
    entry = struct.Struct(order + ("HHQ8s" if large else "HHI4s"))
    first = start + count.size
    found = {}
    for i in range(min(count.unpack_from(data, start)[0], MOST_STEPS)):
        tag, kind, length, value = entry.unpack_from(data, first + i * entry.size)
        if tag in (TIFF_WIDTH, TIFF_HEIGHT):
            form = struct.Struct(order + TIFF_TYPES.get(kind, "B"))
            fits = kind in TIFF_TYPES and length == 1 and form.size <= len(value)
            found[tag] = form.unpack_from(value)[0] if fits else 0
    return Size(found.get(TIFF_HEIGHT, 0), found.get(TIFF_WIDTH, 0))
