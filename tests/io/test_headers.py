"""The size that a header states is read without a decoder, and is the one that a decoder finds."""

from __future__ import annotations

import io
import random
import struct
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, UnidentifiedImageError

from promptseg.errors import ImageError, ImageFormatError
from promptseg.geometry import Size
from promptseg.io import headers, images
from uploads import HEIGHT, WIDTH, every_kind, huge, png, tiff, unpacking

KINDS = every_kind()


def size_by_pillow(data):
    """The slow twin: let Pillow read the whole header."""
    picture = images.parse_header(io.BytesIO(data), data[:16])
    return Size(picture.height, picture.width)


@pytest.mark.parametrize("name", KINDS)
def test_the_stated_size_is_that_of_the_file(name):
    """Every format, mode and compression states the size that it was made with."""
    assert headers.stated_size(KINDS[name]) == (HEIGHT, WIDTH)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", KINDS)
def test_damage_hides_no_pixels(name):
    """A changed header states what Pillow finds; where it finds more, decoding is refused."""
    chance = random.Random(name)
    whole = KINDS[name]
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 3)):
            data[chance.randrange(min(len(data), 400))] = chance.choice((0, 1, 127, 255))
        try:
            found = size_by_pillow(bytes(data))
            stated = headers.stated_size(bytes(data))
        except (*images.BROKEN, UnidentifiedImageError, AttributeError):
            continue
        if found.height * found.width > stated.height * stated.width:
            with pytest.raises(ImageError):
                images.decode(bytes(data), max_pixels=stated.height * stated.width)


@given(st.binary(max_size=400), st.sampled_from([whole[:40] for whole in KINDS.values()]))
def test_any_bytes_have_a_size_or_are_refused(tail, start):
    """Whatever follows the beginning of a header, only `ImageError` is raised."""
    try:
        size = headers.stated_size(start[: len(tail) % 41] + tail)
    except ImageError:
        return
    assert min(size) >= 1


@pytest.mark.parametrize("name", KINDS)
def test_a_header_cut_short_is_refused(name):
    """Of each file its first bytes up to the size are damaged or no image at all."""
    for length in range(16):
        with pytest.raises(ImageError):
            headers.stated_size(KINDS[name][:length])


@pytest.mark.parametrize(
    ("name", "data"),
    [pytest.param(*each, id=each[0]) for each in {**huge(), **unpacking()}.items()],
)
def test_bombs_are_measured_without_memory(name, data):
    """Neither a huge size nor chunks that unpack to much take memory here."""
    tracemalloc.start()
    size = headers.stated_size(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000
    assert (size.height * size.width > 2**27) == (name in huge())


@pytest.mark.parametrize(
    "data",
    [
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 7 5\n",
        b"%PDF-1.7\n",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"\0\0\0\x18ftypheic\0\0\0\0",
        b"\0\0\0\x1cftypavif\0\0\0\0",
        b"\0\0\1\0\1\0\x10\x10",
        b"\0\0\0\x0cjP  \r\n\x87\n",
        b"8BPS\0\1",
        b"\x89PNG",
        b"RIFF\0\0\0\0WAVE",
        b" ",
    ],
)
def test_other_formats_are_named_as_such(data):
    """PostScript, PDF, SVG, HEIC, AVIF, ICO, JPEG 2000, Photoshop and sound are no images here."""
    with pytest.raises(ImageFormatError, match="not an image of a known format") as caught:
        headers.stated_size(data)
    assert "PNG, JPEG" in caught.value.hint


def test_no_bytes_are_empty():
    """An upload of nothing is called that."""
    with pytest.raises(ImageError, match="the image is empty"):
        headers.stated_size(b"")


def test_padding_and_rubbish_between_segments_are_skipped():
    """A JPEG may have 0xFF before a marker; decoders skip other bytes too."""
    frame = b"\xc0\0\x11\x08" + struct.pack(">HH", 7, 9)
    data = b"\xff\xd8\xff\xe0\0\x04ab" + b"xy" + b"\xff\xff\xff" + frame
    assert headers.stated_size(data) == (7, 9)


def test_a_bitmap_from_top_to_bottom_has_a_positive_height():
    """A negative height says where the rows begin."""
    data = b"BM" + bytes(12) + struct.pack("<Iii", 40, 9, -7) + bytes(40)
    assert headers.stated_size(data) == (7, 9)
    assert headers.stated_size(b"BM" + bytes(12) + struct.pack("<IHH", 12, 9, 7)) == (7, 9)


@pytest.mark.parametrize(
    "data",
    [
        png(0, 7),
        tiff((256, 4, 1, 5)),
        tiff((256, 4, 2, 5), (257, 4, 1, 5)),
        tiff((256, 5, 1, 5), (257, 4, 1, 5)),
        b"II*\0\xff\xff\xff\xff",
        b"II+\0\x08\0\0\0" + b"\xff" * 8,
        b"\xff\xd8\xff" + b"\xff" * 100_000,
        b"\xff\xd8\xff" + b"\xe0\0\0\xff" * 100_000,
        b"GIF89a\1\0\1\0\0\0\0" + b"!" * 100_000,
        b"RIFF\0\0\0\0WEBPJUNK" + bytes(40),
    ],
)
def test_a_header_without_a_size_is_damaged(data):
    """No size, a size of nothing, one of an odd type, or one behind endless padding."""
    with pytest.raises(ImageError, match="header of the image is damaged"):
        headers.stated_size(data)


def test_pillow_agrees_on_whole_files():
    """The slow twin finds the same, but for TIFF, whose orientation it applies to the size."""
    for data in KINDS.values():
        assert sorted(size_by_pillow(data)) == sorted(headers.stated_size(data))


def test_an_image_of_one_frame_larger_than_its_screen_is_the_frame():
    """A GIF's frame may reach beyond its screen, which Pillow then widens."""
    file = io.BytesIO()
    Image.new("L", (9, 7)).save(file, "GIF")
    data = bytearray(file.getvalue())
    data[6:10] = struct.pack("<HH", 2, 3)
    assert headers.stated_size(bytes(data)) == size_by_pillow(bytes(data)) == (7, 9)
