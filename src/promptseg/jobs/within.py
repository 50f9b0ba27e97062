"""Where a job may read: in folders of this machine, and beneath addresses, that somebody named."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from promptseg.errors import JobError
from promptseg.jobs.addresses import local_path, protocol_of
from promptseg.jobs.files import Entry, Files, Kind

HINT = "Name what lies in a folder, or beneath an address, that is allowed"


def require_within(address: str, within: Sequence[str]) -> None:
    """Refuse to read what lies in none of these folders and addresses; without any all is allowed.

    A path lies where its links lead, and where that is, is not told.

    Raises:
        JobError: it lies elsewhere.
    """
    if within and not any(_lies_in(address, each) for each in within):
        raise JobError(f"`{address:.200}` lies where nothing may be read", hint=HINT)


class FilesWithin:
    """`Files` of which none is looked at, or for, that lies elsewhere.

    `beat` is called at every entry of a folder, and may raise.
    """

    def __init__(
        self, files: Files, within: Sequence[str], beat: Callable[[], object] = int
    ) -> None:
        self._files = files
        self._within = within
        self._beat = beat

    def kind(self, address: str) -> Kind | None:
        """Tell what is there, as `Files.kind`."""
        require_within(address, self._within)
        return self._files.kind(address)

    def is_link(self, address: str) -> bool:
        """Tell whether it is a link, as `Files.is_link`."""
        return self._files.is_link(address)

    def entries(self, folder: str) -> Iterator[Entry]:
        """Go through a folder, as `Files.entries`."""
        require_within(folder, self._within)
        for entry in self._files.entries(folder):
            self._beat()
            yield entry

    def open(self, address: str) -> BinaryIO:
        """Open a file, as `Files.open`."""
        require_within(address, self._within)
        return self._files.open(address)

    def write(self, address: str, parts: Iterable[bytes]) -> None:
        """Write a file, as `Files.write`."""
        require_within(address, self._within)
        self._files.write(address, parts)

    def remove(self, folder: str) -> None:
        """Remove a folder, as `Files.remove`."""
        require_within(folder, self._within)
        self._files.remove(folder)


def _lies_in(address: str, place: str) -> bool:
    protocol = protocol_of(address)
    if protocol != protocol_of(place):
        return False
    if protocol is None:
        try:
            return _real(local_path(address)).is_relative_to(_real(local_path(place)))
        except (OSError, ValueError):  # links in a ring, or a name that no file has
            return False
    beneath, found = _parts(place), _parts(address)
    return found[: len(beneath)] == beneath and {"", ".", ".."}.isdisjoint(found)


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _parts(address: str) -> list[str]:
    return address.partition("://")[2].rstrip("/").split("/")
