"""The pixels of uploads, decoded once and kept for their owner."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple, TypeAlias

from promptseg.engine.digest import Name
from promptseg.errors import OverloadedError
from promptseg.server.decoder import Decoder, closing
from promptseg.server.quotas import QuotaError
from promptseg.shapes import ImageArray

# Hashing so many bytes takes a fraction of a millisecond; more is hashed in a thread.
HASHED_HERE = 2**17
# Each waits in a thread of its own, until the decoder is free or says that it will not be.
MOST_AT_ONCE = 64


# `bytes` is a name of its own in `Pictures`.
Upload: TypeAlias = bytes


class Picture(NamedTuple):
    """The pixels of an upload, read-only, and the name that they have for its owner."""

    name: Name
    pixels: ImageArray


class Coming(NamedTuple):
    """A picture that is being decoded, and the memory that is set aside for it."""

    picture: asyncio.Future[Picture]
    bytes: int


class Pictures:
    """Decodes uploads off the event loop; who sends the same again is answered from memory.

    An upload is known by its owner and its SHA-256, so nobody can find out what another has sent.
    Those who send the same at once wait for one decoding, which goes on when some of them leave.

    `max_bytes` bounds what is kept here, least recently used going first, and what is being
    decoded: of each of these the upload, and three bytes for each pixel that its header states.
    Pixels that others hold on to, such as a session, are counted only for as long as they are
    kept here too. An image by itself always has room.

    All methods are called in one event loop.
    """

    def __init__(self, decoder: Decoder, *, max_bytes: int) -> None:
        self._decoder = decoder
        self._max_bytes = max_bytes
        self._kept: OrderedDict[Name, Picture] = OrderedDict()
        self._kept_bytes = 0
        self._coming: dict[Name, Coming] = {}
        self._threads = ThreadPoolExecutor(MOST_AT_ONCE, thread_name_prefix="picture")
        self._closed = False

    @property
    def bytes(self) -> int:
        """Bytes that are kept, or set aside for what is being decoded."""
        return self._kept_bytes + self._coming_bytes

    async def picture(self, data: Upload, *, owner: str) -> Picture:
        """Return the pixels of an upload.

        Raises:
            ImageFormatError: it is of no format that is read.
            ImageSizeError: it has too many pixels.
            ImageError: it cannot be decoded.
            OverloadedError: there is no room for so many pixels now.
            QuotaError: this owner's that are being decoded have half of the room.
        """
        # First, for it is quick and refuses most of what is wrong.
        size = self._decoder.stated_size(data)
        name = Name(f"upload:{await _digest(data)}", owner)
        kept = self._kept.get(name)
        if kept is not None:
            self._kept.move_to_end(name)
            return kept
        coming = self._coming.get(name)
        if coming is None:
            needed = 3 * size.height * size.width + len(data)
            self._require_share(owner, needed)
            self._make_room(needed)
            coming = self._coming[name] = Coming(self._decode(name, data), needed)
        # Who leaves does not take it away from the others.
        return await asyncio.shield(coming.picture)

    async def small(self, data: Upload, side: int) -> ImageArray:
        """Return the pixels of an upload, neither side longer than `side`; they are not kept.

        Raises:
            ImageError, OverloadedError: as `picture`.
        """
        self._make_room(len(data))
        decoded = partial(self._decoder.decode, data, side=side)
        return await asyncio.get_running_loop().run_in_executor(self._threads, decoded)

    async def close(self) -> None:
        """Forget all pictures and end the decoder; what is being decoded is lost."""
        self._closed = True
        await asyncio.to_thread(self._decoder.close)
        coming = [each.picture for each in self._coming.values()]
        await asyncio.gather(*coming, return_exceptions=True)
        self._threads.shutdown()
        self._kept.clear()
        self._kept_bytes = 0

    @property
    def _coming_bytes(self) -> int:
        return sum(coming.bytes for coming in self._coming.values())

    def _require_share(self, owner: str, needed: int) -> None:
        """Leave the others half of the room; without keys there is one owner, and none other."""
        own = [coming.bytes for name, coming in self._coming.items() if name.owner == owner]
        crowded = sum(own) + needed > self._max_bytes // 2 or len(own) >= MOST_AT_ONCE // 2
        if owner and own and crowded:
            raise QuotaError(
                f"{len(own)} of your images are being decoded, and no more fit",
                hint="Send it again when there is an answer to one of them",
                retry_after=1,
            )

    def _make_room(self, needed: int) -> None:
        if self._closed:
            raise closing()
        crowded = self._coming and self._coming_bytes + needed > self._max_bytes
        if crowded or len(self._coming) >= MOST_AT_ONCE:
            raise OverloadedError(
                "there is no room for another image now", hint="Send it again later", retry_after=1
            )
        self._shrink(self._max_bytes - self._coming_bytes - needed)

    def _shrink(self, most: int) -> None:
        """Forget pictures until those kept have at most so many bytes."""
        while self._kept and self._kept_bytes > most:
            _, oldest = self._kept.popitem(last=False)
            self._kept_bytes -= oldest.pixels.nbytes

    def _decode(self, name: Name, data: Upload) -> asyncio.Future[Picture]:
        def decoded() -> Picture:
            pixels = self._decoder.decode(data)
            pixels.flags.writeable = False
            return Picture(name, pixels)

        future = asyncio.get_running_loop().run_in_executor(self._threads, decoded)
        future.add_done_callback(lambda future: self._arrived(name, future))
        return future

    def _arrived(self, name: Name, future: asyncio.Future[Picture]) -> None:
        del self._coming[name]
        # Asked in any case, for an error that nobody has waited for is reported as a fault.
        if future.cancelled() or future.exception() is not None or self._closed:
            return
        picture = future.result()
        self._kept[name] = picture
        self._kept_bytes += picture.pixels.nbytes
        self._shrink(self._max_bytes - self._coming_bytes)


async def _digest(data: Upload) -> str:
    if len(data) <= HASHED_HERE:
        return hashlib.sha256(data).hexdigest()
    return (await asyncio.to_thread(hashlib.sha256, data)).hexdigest()
