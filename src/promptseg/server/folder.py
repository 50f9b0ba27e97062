"""A folder of images for the annotator: which there are, and nothing but those.

A name is taken only if the listing has it, so that no name leads out of the folder; and neither
does a link.
"""

from __future__ import annotations

import logging
import os
import stat
import threading
from pathlib import Path
from typing import NamedTuple

from promptseg.errors import ConfigError, ImageError, OutputError, reason
from promptseg.geometry import Size
from promptseg.io.images import SUFFIXES
from promptseg.server.measured import measure, require_bytes

logger = logging.getLogger(__name__)

NONE = Size(0, 0)
# File systems take no longer ones.
LONGEST_NAME = 255
LINK_PROBLEM = "it is a link that leads out of the folder, or nowhere"


class Version(NamedTuple):
    """By which it is told that a file is not what it was."""

    changed: int
    length: int
    number: int


class Entry(NamedTuple):
    """An image of the folder; `problem` says why it cannot be opened, and has no size then."""

    name: str
    size: Size = NONE
    problem: str | None = None


class Measured(NamedTuple):
    """What was found of a file when it was as `version` says."""

    version: Version
    entry: Entry


class Folder:
    """The images directly in a folder, by their names. Threads may share it.

    Raises:
        ConfigError: the folder is not there, or cannot be looked into.
    """

    def __init__(self, path: Path, *, max_pixels: int, max_bytes: int) -> None:
        try:
            self.path = path.resolve(strict=True)
            if not self.path.is_dir():
                raise ConfigError(f"`{path}` is no folder", hint="Name the folder of the images")
            self._names = _images(self.path)
        except OSError as error:
            raise ConfigError(f"cannot look into the folder `{path}`: {reason(error)}") from error
        self.name = self.path.name or str(self.path)
        self.writable = os.access(self.path, os.W_OK | os.X_OK)
        self._max_pixels = max_pixels
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._measured: dict[str, Measured] = {}
        if not self.writable:
            logger.warning("the folder of images is read-only, so nothing is kept beside them")

    def entries(self) -> list[Entry]:
        """List the images in the order of their names; a file is looked into where it changed."""
        names = sorted(self._read_names())
        with self._lock:
            self._measured = {
                name: self._measured[name] for name in names if name in self._measured
            }
        return [self.entry(name) for name in names]

    def entry(self, name: str) -> Entry:
        """Return what a listing says of an image; it is looked into where it changed."""
        try:
            name.encode()
        except UnicodeEncodeError:
            shown = os.fsencode(name).decode(errors="replace")
            return Entry(shown, problem="its name is no text in UTF-8")
        try:
            path = self.file(name)
        except AbsentError:
            is_link = (self.path / name).is_symlink()
            return Entry(name, problem=LINK_PROBLEM if is_link else "it is no file")
        version = version_of(path)
        if version is None:
            return Entry(name, problem="it is no file")
        with self._lock:
            known = self._measured.get(name)
        if known is not None and known.version == version:
            return known.entry
        entry = self._look_into(name, path)
        with self._lock:
            self._measured[name] = Measured(version, entry)
        return entry

    def file(self, name: str) -> Path:
        """Return where an image of the listing is.

        Raises:
            AbsentError: there is none of this name, or it leads out of the folder.
        """
        if not self.has(name):
            raise absent()
        path = self.path / name
        try:
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                path = path.resolve(strict=True)
                mode = path.stat().st_mode
        except (OSError, RuntimeError, ValueError):
            raise absent() from None
        if not path.is_relative_to(self.path) or not stat.S_ISREG(mode):
            raise absent()
        return path

    def has(self, name: str) -> bool:
        """Whether the listing has an image of this name."""
        return name in self._names or name in self._read_names()

    def read(self, name: str) -> bytes:
        """Return the bytes of an image of the listing.

        Raises:
            AbsentError: as `file`.
            ImageError: it cannot be read, or has too many bytes.
        """
        path = self.file(name)
        try:
            require_bytes(path.stat().st_size, self._max_bytes)
            with path.open("rb") as file:
                return file.read(self._max_bytes)
        except ImageError:
            raise
        except OSError as error:
            raise ImageError(f"the file cannot be read: {reason(error)}") from None

    def version(self, name: str) -> Version:
        """Return what an image of the listing is known by until it changes.

        Raises:
            AbsentError: as `file`.
        """
        version = version_of(self.file(name))
        if version is None:
            raise absent()
        return version

    def _read_names(self) -> frozenset[str]:
        try:
            names = _images(self.path)
        except OSError as error:
            logger.warning("cannot look into the folder of images: %s", reason(error))
            names = frozenset()
        self._names = names
        return names

    def _look_into(self, name: str, path: Path) -> Entry:
        try:
            size = measure(path, max_pixels=self._max_pixels, max_bytes=self._max_bytes)
        except ImageError as error:
            # Where the file is, is nobody's business who asks.
            return Entry(name, problem=str(error).replace(f"`{path}`", "the file"))
        return Entry(name, size)


class AbsentError(ImageError):
    """There is no folder of images, no such image in it, or no such part of an image."""


class ReadOnlyError(OutputError):
    """The folder is one that nothing may be written to."""


class UnwrittenError(OutputError):
    """What was to be kept in the folder cannot be written."""


def absent() -> AbsentError:
    """Make the one error of a name that the listing does not have."""
    return AbsentError(
        "there is no such image in the folder", hint="`GET /v1/folder` lists its images"
    )


def version_of(path: Path) -> Version | None:
    """Return what a file is known by until it changes; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return Version(found.st_mtime_ns, found.st_size, found.st_ino)


def _images(folder: Path) -> frozenset[str]:
    """Take the names that are images'; hidden files, such as macOS's `._` twins, are not."""
    with os.scandir(folder) as entries:
        return frozenset(
            entry.name
            for entry in entries
            if not entry.name.startswith(".")
            and entry.name.lower().endswith(SUFFIXES)
            and not entry.is_dir(follow_symlinks=False)
        )
