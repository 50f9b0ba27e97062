"""Whatever is uploaded, it is an image or one of our errors, and the service stays as it was."""

from __future__ import annotations

import gc
import random
import re
import sys
import time
import zlib
from pathlib import Path

import psutil
import pytest

from promptseg.errors import ImageError, ImageFormatError, ImageSizeError
from promptseg.server.decoder import Decoder
from uploads import every_kind, huge, png, png_chunk, tiff, unpacking

KINDS = every_kind()
LEAK = re.compile(r"0x|/|\\|<|object at|Traceback|PIL|numpy")
MEGABYTE = 2**20
# Several times what such an image takes on a busy machine.
LONGEST = 10.0


@pytest.fixture(scope="module", autouse=True)
def _what_was_there_before_is_not_looked_at():
    """What other tests have loaded is far more than what these tests leave to be collected."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module")
def decoder():
    # Damage can make an image as large as may be, and 50 megapixels take a busy machine too long.
    decoder = Decoder(processes=1, max_pixels=10_000_000, seconds=LONGEST)
    decoder.decode(KINDS["PNG RGB"])
    yield decoder
    decoder.close()


@pytest.fixture
def steady(decoder):
    """Whatever a test sends: afterwards memory, descriptors and processes are as before."""
    gc.collect()
    before, memory = held(), psutil.Process().memory_info().rss
    yield
    gc.collect()
    assert psutil.Process().memory_info().rss - memory < 64 * MEGABYTE
    decoder.decode(KINDS["PNG RGB"])
    assert all(now <= then for now, then in zip(held(), before, strict=True))


def held():
    me = psutil.Process()
    return me.num_fds() if hasattr(me, "num_fds") else 0, len(me.children())


def outcome(decoder, data):
    """Return the size of what was decoded, or the error's kind, having looked at what it says."""
    try:
        return decoder.decode(data).shape
    except ImageError as error:
        for said in (str(error), error.hint or ""):
            assert not LEAK.search(said.replace("0..1", "")), said
        return type(error)


def damaged(chance, whole):
    """Cut, change, insert, remove or repeat a few bytes."""
    data = bytearray(whole)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data)) if data else 0
        kind = chance.randrange(6)
        if kind == 0:
            del data[at:]
        elif kind == 1:
            del data[at : at + chance.randint(1, 9)]
        elif kind == 2:
            data[at:at] = chance.randbytes(chance.randint(1, 9))
        elif kind == 3:
            data[at:at] = data[at : at + chance.randint(1, 99)]
        elif data:
            data[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
    return bytes(data)


@pytest.mark.usefixtures("steady")
def test_thousands_of_damaged_images_change_nothing(decoder):
    """Each gives pixels or an `ImageError` within seconds; the process that decodes survives."""
    chance = random.Random(20)
    child = decoder._children[0].pid
    kinds, slowest = set(), 0.0
    for i in range(2000):
        data = damaged(chance, list(KINDS.values())[i % len(KINDS)])
        began = time.monotonic()
        kinds.add(str(outcome(decoder, data)))
        slowest = max(slowest, time.monotonic() - began)
    assert slowest < LONGEST
    assert {str(ImageError), str(ImageFormatError), "(11, 13, 3)"} <= kinds
    assert decoder._children[0].pid == child


@pytest.mark.usefixtures("steady")
@pytest.mark.parametrize("data", huge().values(), ids=huge())
def test_a_huge_image_is_refused_from_its_header(data):
    """No process is even started, so a hundred are refused in a moment."""
    decoder = Decoder(processes=1, max_pixels=50_000_000, seconds=LONGEST)
    began = time.monotonic()
    assert {outcome(decoder, data) for _ in range(100)} == {ImageSizeError}
    assert time.monotonic() - began < 5
    assert decoder._children[0].pid is None


@pytest.mark.usefixtures("steady")
@pytest.mark.parametrize("data", unpacking().values(), ids=unpacking())
def test_what_unpacks_to_much_is_refused(decoder, data):
    """A profile, texts, pixels or tags beyond the image's size: refused, or not unpacked."""
    assert outcome(decoder, data) in (ImageError, (5, 5, 3))


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited by address space on Linux")
def test_the_decoding_process_grows_no_more_than_the_image():
    """At its peak it has the memory that it starts with, the upload's copies, and what is spare."""
    # One of its own, as other tests make a process decode what is large by right.
    decoder = Decoder(processes=1, max_pixels=50_000_000, seconds=LONGEST)
    try:
        for data in unpacking().values():
            outcome(decoder, data)
        status = Path(f"/proc/{decoder._children[0].pid}/status").read_text()
    finally:
        decoder.close()
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", status)
    assert int(peak) * 1024 < 200 * MEGABYTE


@pytest.mark.usefixtures("steady")
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"\0" * 1000,
        b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
        b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 7 5\n",
        b"\xc5\xd0\xd3\xc6 EPS in a box",
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
        b"\0\0\0\x20ftypavif\0\0\0\0avifmif1",
        b"\0\0\1\0\1\0\x10\x10\0\0\1\0 \0h\4\0\0\x16\0\0\0",
        b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x14ftypjp2 ",
        b"\xff\x4f\xff\x51\0\x29",
        b"8BPS\0\1\0\0\0\0\0\0\0\3",
        b"P6 3 3 255 " + bytes(27),
        b"PK\3\4",
        b"GIF88a",
        b"{}",
        "Bild".encode("utf-16"),
    ],
)
def test_other_kinds_of_bytes_are_not_tried(decoder, data):
    """Pillow could read some of these, and run a program for others; here they are no images."""
    assert outcome(decoder, data) is (ImageFormatError if data else ImageError)


@pytest.mark.usefixtures("steady")
def test_a_strip_of_two_gigabytes_is_not_made_room_for(decoder):
    """A small TIFF whose one strip claims to be huge is damaged."""
    entries = [
        (256, 4, 1, 5),
        (257, 4, 1, 5),
        (258, 3, 1, 8),
        (259, 3, 1, 8),
        (262, 3, 1, 1),
        (273, 4, 1, 8),
        (278, 4, 1, 2**31 - 1),
        (279, 4, 1, 2**31 - 1),
    ]
    assert outcome(decoder, tiff(*entries, tail=zlib.compress(bytes(10)))) is ImageError


@pytest.mark.usefixtures("steady")
def test_a_flood_of_segments_is_not_walked_for_ever(decoder):
    """Millions of empty segments, blocks or chunks before the pixels take no noticeable time."""
    began = time.monotonic()
    assert outcome(decoder, b"\xff\xd8\xff" + b"\xe0\0\2\xff" * 3_000_000) is ImageError
    assert outcome(decoder, b"GIF89a\1\0\1\0\0\0\0" + b"!\xfe\1x\0" * 3_000_000) is ImageError
    assert time.monotonic() - began < 5
    chunks = png_chunk(b"tEXt", b"a\0b") * 20_000
    assert outcome(decoder, png(5, 5, chunks)) is ImageError
