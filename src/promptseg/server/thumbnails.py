"""Small pictures of a folder's images, made one at a time and kept as long as there is room."""

from __future__ import annotations

import asyncio
import io
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from PIL import Image

from promptseg.server.folder import Folder, Version
from promptseg.server.pictures import Pictures
from promptseg.shapes import ImageArray

SIDE = 160
QUALITY = 80
# Some 5,000 of them.
MOST_BYTES = 32 * 2**20


class Thumbnails:
    """JPEG files of at most 160 pixels each way. All methods are called in one event loop."""

    def __init__(self, folder: Folder, pictures: Pictures, *, max_bytes: int = MOST_BYTES) -> None:
        self._folder = folder
        self._pictures = pictures
        self._max_bytes = max_bytes
        self._kept: OrderedDict[tuple[str, Version], bytes] = OrderedDict()
        self._bytes = 0
        # Whoever works waits for a decoder too, and comes first.
        self._turn = asyncio.Semaphore(1)

    async def of(self, name: str, *, is_wanted: Callable[[], Awaitable[bool]]) -> bytes | None:
        """Return the small picture of an image; None where nobody wants it when its turn comes.

        Raises:
            AbsentError: there is no such image.
            ImageError: it cannot be read.
            OverloadedError: there is no room for it at the moment.
        """
        version = await asyncio.to_thread(self._folder.version, name)
        if (known := self._known(name, version)) is not None:
            return known
        async with self._turn:
            # Somebody who waited before may have had it made.
            if (known := self._known(name, version)) is not None:
                return known
            if not await is_wanted():
                return None
            data = await asyncio.to_thread(self._folder.read, name)
            pixels = await self._pictures.small(data, SIDE)
            made = await asyncio.to_thread(_encoded, pixels)
        self._keep((name, version), made)
        return made

    def _known(self, name: str, version: Version) -> bytes | None:
        known = self._kept.get((name, version))
        if known is not None:
            self._kept.move_to_end((name, version))
        return known

    def _keep(self, key: tuple[str, Version], made: bytes) -> None:
        self._kept[key] = made
        self._bytes += len(made)
        while self._bytes > self._max_bytes:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= len(oldest)


def _encoded(pixels: ImageArray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()
