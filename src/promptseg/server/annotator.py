"""What the annotator's routes share beside the service: a folder, and what is kept to be quick."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from promptseg.server.annotations import Annotations
from promptseg.server.answering import late
from promptseg.server.folder import AbsentError, Folder
from promptseg.server.pyramid import Pyramids
from promptseg.server.replays import Replays
from promptseg.server.service import Service
from promptseg.server.thumbnails import Thumbnails


@dataclass(frozen=True, kw_only=True)
class Place:
    """A folder of images, what is drawn on them, and their small pictures."""

    folder: Folder
    annotations: Annotations
    thumbnails: Thumbnails


@dataclass(frozen=True, kw_only=True)
class Annotator:
    """What the page stands on; `place` is None without a folder."""

    place: Place | None = None
    pyramids: Pyramids = field(default_factory=Pyramids)
    replays: Replays = field(default_factory=Replays)
    files: asyncio.Lock = field(default_factory=asyncio.Lock)

    @classmethod
    def of(cls, service: Service) -> Annotator:
        """Make it as the service's settings say.

        Raises:
            ConfigError: the folder is not there.
        """
        settings = service.settings
        if settings.folder is None:
            return cls()
        folder = Folder(
            settings.folder, max_pixels=settings.max_pixels, max_bytes=settings.picture_bytes
        )
        return cls(
            place=Place(
                folder=folder,
                annotations=Annotations(folder),
                thumbnails=Thumbnails(folder, service.pictures),
            )
        )

    def require_place(self) -> Place:
        """Return the folder and what belongs to it.

        Raises:
            AbsentError: there is none.
        """
        if self.place is None:
            raise AbsentError(
                "this service has no folder of images",
                hint="Whoever runs it names one: `promptseg annotate FOLDER`",
            )
        return self.place

    async def read(self, name: str) -> bytes:
        """Return the bytes of an image of the folder, read beside the event loop.

        Raises:
            AbsentError: there is no folder, or no such image in it.
            ImageError: it cannot be read.
        """
        return await asyncio.to_thread(self.require_place().folder.read, name)

    @asynccontextmanager
    async def one_at_a_time(self, seconds: float) -> AsyncIterator[None]:
        """Wait for one's turn to make files, which take a core and the disk.

        Raises:
            DeadlineError: it did not come in time.
        """
        try:
            await asyncio.wait_for(self.files.acquire(), seconds)
        except (TimeoutError, asyncio.TimeoutError):
            raise late(seconds) from None
        try:
            yield
        finally:
            self.files.release()
