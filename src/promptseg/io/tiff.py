"""The strips and tiles of a TIFF file, each decoded as a small TIFF of its own.

What a block means is said by tags of the whole file, so that a file with those tags and that one
block is read by the same rules as the whole. Tags and layouts are those of TIFF 6.0.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from PIL import Image, TiffImagePlugin

from promptseg.errors import ImageError
from promptseg.geometry import Size
from promptseg.io import images
from promptseg.io.blocks import Blocks
from promptseg.shapes import ImageArray

WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
FILL_ORDER, STRIP_OFFSETS, ORIENTATION, SAMPLES, ROWS_PER_STRIP = 266, 273, 274, 277, 278
STRIP_BYTES, PLANES, PREDICTOR, COLOUR_MAP = 279, 284, 317, 320
TILE_WIDTH, TILE_LENGTH, TILE_OFFSETS, TILE_BYTES = 322, 323, 324, 325
EXTRA_SAMPLES, SAMPLE_FORMAT, JPEG_TABLES, YCBCR_SUBSAMPLING, YCBCR_POSITIONING = (
    338, 339, 347, 530, 531,
)  # fmt: skip
MEANING = (
    BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER, SAMPLES, PLANES, PREDICTOR, COLOUR_MAP,
    EXTRA_SAMPLES, SAMPLE_FORMAT, JPEG_TABLES, YCBCR_SUBSAMPLING, YCBCR_POSITIONING,
)  # fmt: skip
PLAIN, JPEG, YCBCR, SIDE_BY_SIDE = 1, 7, 6, 1
# None, LZW, JPEG, two numbers of deflate, PackBits, LZMA and Zstandard.
BY_BLOCKS = (PLAIN, 5, JPEG, 8, 32946, 32773, 34925, 50000)
BYTE, SHORT, LONG, UNDEFINED = 1, 3, 4, 7
LETTERS = {BYTE: "B", SHORT: "H", LONG: "I", UNDEFINED: "B"}
# Rows that are not compressed are read in pieces of this size, however long their strips.
BYTES_AT_ONCE = 2**20


class Stretch(NamedTuple):
    """Where bytes lie in a file."""

    offset: int
    length: int


class Field(NamedTuple):
    """The value of a tag: whole numbers, and the number of their type."""

    type: int
    values: Sequence[int]


class Kind(NamedTuple):
    """What blocks of a file have in common: byte order, and the tags that say what they mean."""

    order: str
    tags: Mapping[int, Field]


def orientation(picture: Image.Image) -> int:
    """Return the orientation that the first page states, 1 to 8, and 1 where it states none."""
    value = _tags(picture).get(ORIENTATION, 1)
    return value if value in range(1, 9) else 1


def blocks(picture: Image.Image, path: Path) -> Blocks | None:
    """Return the blocks of a file's first page, or None where it must be decoded whole.

    Raises:
        ImageError: blocks are missing, or lie beyond the end of the file.
    """
    tags = _tags(picture)
    compression, photometric = tags.get(COMPRESSION, PLAIN), tags.get(PHOTOMETRIC, 0)
    if (
        compression not in BY_BLOCKS
        or tags.get(PLANES, SIDE_BY_SIDE) != SIDE_BY_SIDE
        or (photometric == YCBCR and compression != JPEG)
    ):
        return None
    size = Size(tags[LENGTH], tags[WIDTH])
    kind = Kind("<" if tags.prefix == b"II" else ">", _meaning(tags))
    tiled = TILE_OFFSETS in tags
    if tiled:
        block = Size(tags[TILE_LENGTH], tags[TILE_WIDTH])
        offsets, lengths = tags[TILE_OFFSETS], tags[TILE_BYTES]
    else:
        block = Size(min(tags.get(ROWS_PER_STRIP, size.height), size.height), size.width)
        offsets, lengths = tags[STRIP_OFFSETS], tags[STRIP_BYTES]
    if min(*size, *block) < 1:
        return None
    stored = [Stretch(*each) for each in zip(offsets, lengths, strict=True)]
    across, down = -(-size.width // block.width), -(-size.height // block.height)
    end = path.stat().st_size
    if len(stored) != across * down or any(each.offset + each.length > end for each in stored):
        raise ImageError(f"`{path}` is damaged or cut short", hint=images.DAMAGED_HINT)
    if compression == PLAIN and not tiled:
        return _rows(path, size, block.height, stored, kind)

    def decode(row: int, column: int) -> ImageArray:
        height = block.height if tiled else min(block.height, size.height - row * block.height)
        data = _stored(path, [stored[row * across + column]])
        return _decoded(path, data, Size(height, block.width), kind)

    return Blocks(size, block, decode)


def _rows(path: Path, size: Size, strip: int, stored: Sequence[Stretch], kind: Kind) -> Blocks:
    """Cut rows that are not compressed into blocks of a megabyte, across strips."""
    one = Field(SHORT, (1,))
    bits, samples = kind.tags.get(BITS, one).values, kind.tags.get(SAMPLES, one).values
    each = sum(bits) if len(bits) > 1 else bits[0] * samples[0]
    stride = -(-size.width * each // 8)
    rows = max(1, BYTES_AT_ONCE // stride)

    def decode(row: int, column: int) -> ImageArray:
        top, bottom = row * rows, min((row + 1) * rows, size.height)
        pieces = []
        for number in range(top // strip, -(-bottom // strip)):
            first, last = max(top, number * strip), min(bottom, (number + 1) * strip)
            start = stored[number].offset + (first - number * strip) * stride
            pieces.append(Stretch(start, (last - first) * stride))
        return _decoded(path, _stored(path, pieces), Size(bottom - top, size.width), kind)

    return Blocks(size, Size(rows, size.width), decode)


def _stored(path: Path, pieces: Sequence[Stretch]) -> bytes:
    data = b""
    with images.open_file(path) as file:
        for offset, length in pieces:
            file.seek(offset)
            data += file.read(length)
    if len(data) < sum(piece.length for piece in pieces):
        raise ImageError(f"`{path}` is damaged or cut short", hint=images.DAMAGED_HINT)
    return data


def _decoded(path: Path, data: bytes, size: Size, kind: Kind) -> ImageArray:
    try:
        alone = BytesIO(alone_in_a_file(data, size, kind))
        picture = images.parse_header(alone, alone.getvalue()[:16])
        assert picture is not None
        picture.load()
    except images.BROKEN as error:
        raise ImageError(f"`{path}` is damaged or cut short", hint=images.DAMAGED_HINT) from error
    return images.to_rgb(picture)


def alone_in_a_file(data: bytes, size: Size, kind: Kind) -> bytes:
    """Write a TIFF of one strip: header, directory, values that do not fit in it, pixels."""
    order = kind.order
    tags = dict(kind.tags) | {
        WIDTH: Field(LONG, (size.width,)),
        LENGTH: Field(LONG, (size.height,)),
        ROWS_PER_STRIP: Field(LONG, (size.height,)),
        STRIP_OFFSETS: Field(LONG, (0,)),
        STRIP_BYTES: Field(LONG, (len(data),)),
    }
    packed = {
        tag: struct.pack(f"{order}{len(field.values)}{LETTERS[field.type]}", *field.values)
        for tag, field in tags.items()
    }
    begin = 8 + 2 + 12 * len(tags) + 4
    places, end = {}, begin
    for tag, value in packed.items():
        if len(value) > 4:
            places[tag] = end
            end += len(value) + len(value) % 2
    packed[STRIP_OFFSETS] = struct.pack(f"{order}I", end)
    entries = [
        struct.pack(f"{order}HHI", tag, tags[tag].type, len(tags[tag].values))
        + (struct.pack(f"{order}I", places[tag]) if tag in places else packed[tag].ljust(4, b"\0"))
        for tag in sorted(tags)
    ]
    longer = [packed[tag] + b"\0" * (len(packed[tag]) % 2) for tag in places]
    start = b"II*\0" if order == "<" else b"MM\0*"
    return b"".join([
        start, struct.pack(f"{order}IH", 8, len(tags)), *entries, bytes(4), *longer, data,
    ])  # fmt: skip


def _tags(picture: Image.Image) -> TiffImagePlugin.ImageFileDirectory_v2:
    assert isinstance(picture, TiffImagePlugin.TiffImageFile)
    return picture.tag_v2


def _meaning(tags: TiffImagePlugin.ImageFileDirectory_v2) -> dict[int, Field]:
    """Return the tags that every block needs, as whole numbers of the kind they are stored as."""
    found = {}
    for tag in MEANING:
        if tag in tags:
            value = tags[tag]
            values = value if isinstance(value, (bytes, tuple)) else (value,)
            found[tag] = Field(tags.tagtype[tag], values)
    return found
