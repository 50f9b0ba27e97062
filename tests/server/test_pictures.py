"""Uploads are decoded once for each owner, off the event loop, within a bound of memory."""

from __future__ import annotations

import asyncio
import hashlib
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptseg.engine.digest import Name
from promptseg.errors import ImageError, ImageFormatError, ImageSizeError, OverloadedError
from promptseg.io import images
from promptseg.server import pictures as module
from promptseg.server.decoder import Decoder
from promptseg.server.pictures import Pictures
from promptseg.server.quotas import QuotaError
from uploads import HEIGHT, WIDTH, encoded, every_kind, picture

PHOTO = every_kind()["JPEG turned 6"]
ROOMY = 10_000_000


class Counting(Decoder):
    """Decodes in the thread that asks, counts, and can be held up."""

    def __init__(self, *, max_pixels=100_000):
        super().__init__(processes=0, max_pixels=max_pixels, seconds=60)
        self.count = 0
        self.go_on = threading.Event()
        self.go_on.set()

    def decode(self, data):
        self.count += 1
        assert self.go_on.wait(60)
        return super().decode(data)


def uploads(count):
    return [encoded(picture(width=width + 1), "PNG") for width in range(count)]


def with_pictures(steps, *, max_bytes=ROOMY, decoder=None):
    """Run steps with pictures, in an event loop of their own."""

    async def run():
        pictures = Pictures(decoder or Counting(), max_bytes=max_bytes)
        try:
            return await steps(pictures, pictures._decoder)
        finally:
            await pictures.close()

    return asyncio.run(run())


async def coming(pictures, count):
    """Wait until so many are being decoded."""
    while len(pictures._coming) < count:
        await asyncio.sleep(0.001)


def test_a_picture_has_the_pixels_and_the_digest_of_its_upload():
    """The pixels are read-only, and the name says whose they are."""

    async def steps(pictures, _):
        return await pictures.picture(PHOTO, owner="ann")

    found = with_pictures(steps)
    assert found.name == Name("upload:" + hashlib.sha256(PHOTO).hexdigest(), "ann")
    np.testing.assert_array_equal(found.pixels, images.decode(PHOTO))
    with pytest.raises(ValueError, match="read-only"):
        found.pixels[0, 0, 0] = 1


def test_the_same_upload_is_decoded_once():
    """A second request is answered from memory with the very same pixels."""

    async def steps(pictures, decoder):
        first = await pictures.picture(PHOTO, owner="ann")
        second = await pictures.picture(bytes(bytearray(PHOTO)), owner="ann")
        return first.pixels is second.pixels, decoder.count, pictures.bytes

    assert with_pictures(steps) == (True, 1, 3 * HEIGHT * WIDTH)


def test_sixteen_at_once_are_decoded_once():
    """All wait for the one decoding that the first has begun."""

    async def steps(pictures, decoder):
        decoder.go_on.clear()
        waiting = [asyncio.create_task(pictures.picture(PHOTO, owner="ann")) for _ in range(16)]
        await coming(pictures, 1)
        decoder.go_on.set()
        found = await asyncio.gather(*waiting)
        return {id(each.pixels) for each in found}, decoder.count

    ids, count = with_pictures(steps)
    assert (len(ids), count) == (1, 1)


@pytest.mark.parametrize("leaving", [0, 1, 2])
def test_who_leaves_harms_no_other(leaving):
    """Whoever of three is cancelled, the first one too, the others get their pixels."""

    async def steps(pictures, decoder):
        decoder.go_on.clear()
        waiting = [asyncio.create_task(pictures.picture(PHOTO, owner="ann")) for _ in range(3)]
        await coming(pictures, 1)
        await asyncio.sleep(0)
        waiting[leaving].cancel()
        await asyncio.sleep(0)
        decoder.go_on.set()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(found.pop(leaving), asyncio.CancelledError)
        return [each.pixels.shape for each in found], decoder.count

    assert with_pictures(steps) == ([(WIDTH, HEIGHT, 3)] * 2, 1)


def test_an_error_reaches_all_and_is_not_kept():
    """Of a damaged upload everybody hears, and what is sent again is tried again."""

    async def steps(pictures, decoder):
        decoder.go_on.clear()
        damaged = every_kind()["PNG RGB"][:-60]
        waiting = [asyncio.create_task(pictures.picture(damaged, owner="ann")) for _ in range(3)]
        await coming(pictures, 1)
        decoder.go_on.set()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        with pytest.raises(ImageError, match="damaged"):
            await pictures.picture(damaged, owner="ann")
        return [type(each) for each in found], decoder.count, pictures.bytes

    assert with_pictures(steps) == ([ImageError] * 3, 2, 0)


def test_an_error_that_nobody_waits_for_is_forgotten(caplog):
    """Where all have left, neither the event loop nor the log complains."""

    async def steps(pictures, decoder):
        decoder.go_on.clear()
        damaged = every_kind()["PNG RGB"][:-60]
        waiting = asyncio.create_task(pictures.picture(damaged, owner="ann"))
        await coming(pictures, 1)
        await asyncio.sleep(0)
        waiting.cancel()
        decoder.go_on.set()
        while pictures._coming:
            await asyncio.sleep(0.001)
        return pictures.bytes

    assert with_pictures(steps) == 0
    assert "never retrieved" not in caplog.text


def test_owners_share_nothing():
    """The same bytes of two owners are decoded twice, kept twice, and have two names."""

    async def steps(pictures, decoder):
        ann = await pictures.picture(PHOTO, owner="ann")
        bob = await pictures.picture(PHOTO, owner="bob")
        assert ann.name != bob.name
        assert not np.shares_memory(ann.pixels, bob.pixels)
        return decoder.count, pictures.bytes

    assert with_pictures(steps) == (2, 2 * 3 * HEIGHT * WIDTH)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5)), max_size=30),
    st.integers(0, 1200),
)
def test_what_is_kept_is_each_owners_last(asked, max_bytes):
    """A picture is decoded exactly where a plain list of the last used does not have it."""
    data = uploads(6)
    sizes = [3 * HEIGHT * (i + 1) for i in range(6)]

    async def steps(pictures, decoder):
        kept: list[tuple[str, int]] = []
        for owner, i in asked:
            before = decoder.count
            found = await pictures.picture(data[i], owner=owner)
            assert found.pixels.shape[1] == i + 1
            assert found.name.owner == owner
            assert (decoder.count == before) == ((owner, i) in kept)
            needed = 0 if (owner, i) in kept else sizes[i] + len(data[i])
            kept = [each for each in kept if each != (owner, i)]
            while needed and kept and sum(sizes[j] for _, j in kept) + needed > max_bytes:
                del kept[0]
            if needed == 0 or sizes[i] <= max_bytes:
                kept.append((owner, i))
            assert pictures.bytes == sum(sizes[j] for _, j in kept)
            assert pictures.bytes <= max_bytes

    with_pictures(steps, max_bytes=max_bytes)


def test_what_is_being_decoded_is_counted_and_not_dropped():
    """A second large upload finds no room beside the first, a small one does, later both do."""
    large, other, small = (
        encoded(picture(height=height, width=100), "BMP") for height in (100, 101, 1)
    )
    needed = len(large) + 3 * 100 * 100

    async def steps(pictures, decoder):
        decoder.go_on.clear()
        first = asyncio.create_task(pictures.picture(large, owner="ann"))
        await coming(pictures, 1)
        assert pictures.bytes == needed
        with pytest.raises(OverloadedError, match="no room") as caught:
            await pictures.picture(other, owner="bob")
        assert caught.value.retry_after == 1
        second = asyncio.create_task(pictures.picture(small, owner="bob"))
        await coming(pictures, 2)
        decoder.go_on.set()
        await asyncio.gather(first, second)
        assert pictures.bytes == 3 * 100 * 101
        await pictures.picture(small, owner="bob")  # so that the large one is the older
        await pictures.picture(other, owner="bob")
        return pictures.bytes

    assert with_pictures(steps, max_bytes=needed + 2000) == 3 * 100 * 102


@pytest.mark.parametrize("max_bytes", [0, 10])
def test_an_image_alone_always_has_room(max_bytes):
    """A service with no memory for pictures decodes each anew and keeps none."""

    async def steps(pictures, decoder):
        for _ in range(2):
            await pictures.picture(PHOTO, owner="ann")
        return decoder.count, pictures.bytes

    assert with_pictures(steps, max_bytes=max_bytes) == (2, 0)


def test_no_more_wait_than_there_are_threads(monkeypatch):
    """Beyond that who asks is told to come again, and nobody waits unseen."""
    monkeypatch.setattr(module, "MOST_AT_ONCE", 2)
    data = uploads(3)

    async def steps(pictures, decoder):
        decoder.go_on.clear()
        waiting = [asyncio.create_task(pictures.picture(each, owner="")) for each in data[:2]]
        await coming(pictures, 2)
        with pytest.raises(OverloadedError, match="no room"):
            await pictures.picture(data[2], owner="")
        decoder.go_on.set()
        return len(await asyncio.gather(*waiting))

    assert with_pictures(steps) == 2


def test_one_owner_has_half_of_the_decoder(monkeypatch):
    """The others find the rest free, and where no keys are in use all is of one."""
    monkeypatch.setattr(module, "MOST_AT_ONCE", 4)
    data = uploads(5)

    async def steps(pictures, decoder):
        decoder.go_on.clear()
        waiting = [asyncio.create_task(pictures.picture(each, owner="ann")) for each in data[:2]]
        await coming(pictures, 2)
        with pytest.raises(QuotaError, match="2 of your images"):
            await pictures.picture(data[2], owner="ann")
        waiting += [asyncio.create_task(pictures.picture(each, owner="ben")) for each in data[:2]]
        await coming(pictures, 4)
        decoder.go_on.set()
        await asyncio.gather(*waiting)
        decoder.go_on.clear()
        waiting = [asyncio.create_task(pictures.picture(each, owner="")) for each in data[:4]]
        await coming(pictures, 4)
        decoder.go_on.set()
        return len(await asyncio.gather(*waiting))

    assert with_pictures(steps) == 4


def test_one_owner_has_half_of_the_memory_for_decoding():
    """One image alone may take more than that; a second of its owner waits, another's does not."""
    data = uploads(3)
    needed = 3 * HEIGHT * 3 + len(data[2])

    async def steps(pictures, decoder):
        decoder.go_on.clear()
        waiting = [asyncio.create_task(pictures.picture(data[2], owner="ann"))]
        await coming(pictures, 1)
        with pytest.raises(QuotaError, match="1 of your images"):
            await pictures.picture(data[1], owner="ann")
        waiting.append(asyncio.create_task(pictures.picture(data[1], owner="ben")))
        await coming(pictures, 2)
        decoder.go_on.set()
        return len(await asyncio.gather(*waiting))

    assert with_pictures(steps, max_bytes=2 * needed - 1) == 2


def test_the_event_loop_goes_on_meanwhile():
    """Hashing a large upload and decoding it are done by threads."""
    large = PHOTO + bytes(3_000_000)
    hashed_in = []

    async def steps(pictures, decoder):
        decoder.go_on.clear()
        waiting = asyncio.create_task(pictures.picture(large, owner="ann"))
        await coming(pictures, 1)  # turns of the loop, while the decoder is held up
        hashed_in.append(next(iter(pictures._coming)).content)
        decoder.go_on.set()
        return (await waiting).pixels.shape

    assert with_pictures(steps) == (WIDTH, HEIGHT, 3)
    assert hashed_in == ["upload:" + hashlib.sha256(large).hexdigest()]


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", ImageError),
        (b"%PDF-1.7", ImageFormatError),
        (encoded(picture(height=400, width=300), "PNG"), ImageSizeError),
        ("text", ImageError),
    ],
)
def test_what_the_header_says_is_refused_at_once(data, kind):
    """Neither hashed nor decoded nor given room."""

    async def steps(pictures, decoder):
        with pytest.raises(kind) as caught:
            await pictures.picture(data, owner="ann")
        assert type(caught.value) is kind
        return decoder.count, pictures.bytes

    assert with_pictures(steps) == (0, 0)


def test_after_the_end_nothing_is_taken():
    """Closing forgets all, waits for what is being decoded, and says so to those who ask."""

    async def steps(pictures, decoder):
        await pictures.picture(PHOTO, owner="ann")
        decoder.go_on.clear()
        waiting = asyncio.create_task(pictures.picture(PHOTO, owner="bob"))
        await coming(pictures, 1)
        threading.Timer(0.05, decoder.go_on.set).start()
        await pictures.close()
        with pytest.raises(OverloadedError, match="the service is ending"):
            await waiting
        with pytest.raises(OverloadedError, match="the service is ending"):
            await pictures.picture(PHOTO, owner="ann")
        return pictures.bytes

    assert with_pictures(steps) == 0


def test_with_processes_it_is_the_same(photo):
    """The real decoder behind it, many at once, each its own image."""
    data = [*uploads(12), photo.read_bytes()]
    decoder = Decoder(processes=1, max_pixels=1_000_000, seconds=60)

    async def steps(pictures, _):
        tasks = (pictures.picture(each, owner=owner) for each in data for owner in ("ann", "bob"))
        return await asyncio.gather(*tasks)

    found = with_pictures(steps, decoder=decoder)
    for i, each in enumerate(data):
        for one in found[2 * i : 2 * i + 2]:
            np.testing.assert_array_equal(one.pixels, images.decode(each))
