"""Files by their addresses, in the same few words on this machine and in a store."""

from __future__ import annotations

import heapq
import io
import logging
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, NamedTuple, Protocol, cast

from promptseg.errors import JobError, MissingExtraError, OutputError, PromptsegError, reason
from promptseg.io.files import write_atomically
from promptseg.jobs.addresses import PACKAGES, local_path, protocol_of

logger = logging.getLogger(__name__)

# Entries of a folder that are in memory at a time; a larger one is read again for each portion.
PORTION = 50_000
READ_AHEAD = 1 << 20
ROOM_HINT = "Choose a place that can be written to, or make room there"


class Kind(Enum):
    """What an address leads to."""

    FILE = "file"
    FOLDER = "folder"


class Entry(NamedTuple):
    """What a folder has: a name, whether it is a folder too, and whether only a link to one."""

    name: str
    is_folder: bool
    is_link: bool = False


class Files(Protocol):
    """Files of this machine, or of one store.

    Raises:
        JobError: one cannot be read, or a folder cannot be looked into.
        OutputError: one cannot be written or removed.
    """

    def kind(self, address: str) -> Kind | None:
        """Tell what is there, None if nothing is."""

    def is_link(self, address: str) -> bool:
        """Tell whether what is there is only a link."""

    def entries(self, folder: str) -> Iterator[Entry]:
        """Go through folders and files of a folder by name; nothing where it is missing."""

    def open(self, address: str) -> BinaryIO:
        """Open a file to be read from its beginning."""

    def write(self, address: str, parts: Iterable[bytes]) -> None:
        """Write a file whole or not at all; one that is there is replaced."""

    def remove(self, folder: str) -> None:
        """Remove a folder with all that is in it; one that is missing is no error."""


def files_at(address: str | Path) -> Files:
    """Return what reads and writes at an address.

    Raises:
        JobError: it is in no store that is known, or the store refuses.
        MissingExtraError: the package of the store is not installed.
    """
    protocol = protocol_of(address)
    return LocalFiles() if protocol is None else StoreFiles(protocol, str(address))


class LocalFiles:
    """`Files` of this machine: on the disk, and not in its cache alone, once they are written."""

    def kind(self, address: str) -> Kind | None:
        """Tell what is there, as `Files.kind`."""
        path = local_path(address)
        try:
            return Kind.FOLDER if stat.S_ISDIR(path.stat().st_mode) else Kind.FILE
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None
        except OSError as error:
            raise JobError(f"cannot look for `{path}`: {reason(error)}") from error

    def is_link(self, address: str) -> bool:
        """Tell whether it is a link, as `Files.is_link`."""
        return local_path(address).is_symlink()

    def entries(self, folder: str) -> Iterator[Entry]:
        """Go through a folder, as `Files.entries`, however large it is."""
        path = local_path(folder)
        latest = ""
        while True:
            try:
                with os.scandir(path) as found:
                    later = (each for each in found if each.name > latest)
                    portion = heapq.nsmallest(PORTION, later, key=lambda each: each.name)
                    entries = [entry for each in portion if (entry := _entry(each))]
            except FileNotFoundError:
                return
            except OSError as error:
                raise JobError(f"cannot look into `{path}`: {reason(error)}") from error
            yield from entries
            if len(portion) < PORTION:
                return
            latest = portion[-1].name

    def open(self, address: str) -> BinaryIO:
        """Open a file, as `Files.open`."""
        path = local_path(address)
        try:
            if path.exists() and not (path.is_file() or path.is_dir()):
                raise ValueError("it is a pipe or a device")  # of which no end may come
            return path.open("rb")
        except FileNotFoundError:
            raise JobError(f"there is no file `{path}`") from None
        except (OSError, ValueError) as error:
            raise JobError(f"cannot open `{path}`: {reason(error)}") from error

    def write(self, address: str, parts: Iterable[bytes]) -> None:
        """Write a file, as `Files.write`."""
        write_atomically(local_path(address), lambda file: file.writelines(parts))

    def remove(self, folder: str) -> None:
        """Remove a folder, as `Files.remove`."""
        path = local_path(folder)
        try:
            shutil.rmtree(path)
        except FileNotFoundError:
            if path.exists():  # a file in it was gone before its turn
                self.remove(folder)
        except OSError as error:
            raise OutputError(f"cannot remove `{path}`: {reason(error)}") from error


class StoreFiles:
    """`Files` of a store that fsspec knows; each is written by one put.

    Of a large folder all names are in memory at a time.
    """

    def __init__(self, protocol: str, address: str) -> None:
        # Half a second to load, and not needed by those without a store.
        from fsspec.core import url_to_fs

        try:
            with _told(f"cannot use the store `{protocol}`", JobError):
                # Listings that are kept would grow, and hide what others write.
                self._files: Any = url_to_fs(address, use_listings_cache=False)[0]
        except JobError as error:
            if isinstance(error.__cause__, ImportError):
                package = PACKAGES[protocol]
                raise MissingExtraError(
                    f"the store `{protocol}` needs the package `{package}`, which is not installed",
                    hint=f"Run `pip install {package}`, wherever a job is listed or worked on",
                ) from error
            raise

    def kind(self, address: str) -> Kind | None:
        """Tell what is there, as `Files.kind`."""
        with _told(f"cannot look for `{address}`", JobError):
            try:
                found = self._files.info(address)["type"]
            except FileNotFoundError:
                return None
        return Kind.FOLDER if found == "directory" else Kind.FILE

    def is_link(self, address: str) -> bool:
        """Tell that stores have no links, as `Files.is_link`."""
        return False

    def entries(self, folder: str) -> Iterator[Entry]:
        """Go through a folder, as `Files.entries`."""
        with _told(f"cannot look into `{folder}`", JobError):
            try:
                found = {
                    Entry(_last(each["name"]), each["type"] == "directory")
                    for each in self._files.ls(folder, detail=True)
                    # Some stores keep an empty file for a folder, named as the folder itself.
                    if _last(each["name"]) and not _is_mark(each, folder)
                }
            except FileNotFoundError:
                return
        yield from sorted(found)

    def open(self, address: str) -> BinaryIO:
        """Open a file, as `Files.open`."""
        with _told(f"cannot open `{address}`", JobError):
            try:
                file = self._files.open(address, "rb")
            except FileNotFoundError:
                raise JobError(f"there is no file `{address}`") from None
            # Files of stores know `readline` without a limit only.
            return cast(BinaryIO, io.BufferedReader(_Told(file, address), READ_AHEAD))

    def write(self, address: str, parts: Iterable[bytes]) -> None:
        """Write a file, as `Files.write`."""
        with _told(f"cannot write `{address}`", OutputError), TemporaryDirectory() as scratch:
            # Not straight into the store: what is closed by an error counts there as whole.
            whole = Path(scratch) / "whole"
            with whole.open("wb") as file:
                file.writelines(parts)
            self._files.put_file(str(whole), address)

    def remove(self, folder: str) -> None:
        """Remove a folder, as `Files.remove`."""
        with _told(f"cannot remove `{folder}`", OutputError):
            try:
                self._files.rm(folder, recursive=True)
            except FileNotFoundError:
                return


class _Told(io.RawIOBase):
    """A file of a store whose errors are sentences."""

    def __init__(self, file: BinaryIO, address: str) -> None:
        self._file = file
        self._address = address

    def readable(self) -> bool:
        return True

    def readinto(self, room: Any) -> int:
        with _told(f"cannot read `{self._address}`", JobError):
            found = self._file.read(len(room))
        room[: len(found)] = found
        return len(found)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


@contextmanager
def _told(what: str, kind: type[PromptsegError]) -> Iterator[None]:
    """Tell the errors of a store in a sentence, without their own text, which may have keys."""
    try:
        yield
    except PromptsegError:
        raise
    except Exception as error:
        # Each package has errors of its own, most of which are no OSError.
        logger.debug("%s", what, exc_info=True)
        if isinstance(error, OSError) and error.errno:
            why = os.strerror(error.errno).lower()
        else:
            why = f"the store said {type(error).__name__}"
        hint = ROOM_HINT if kind is OutputError else None
        raise kind(f"{what}: {why}", hint=hint) from error


def _entry(found: os.DirEntry[str]) -> Entry | None:
    """Describe a folder or a file; None for a pipe, or a link that leads to neither."""
    try:
        if found.is_dir():
            return Entry(found.name, is_folder=True, is_link=found.is_symlink())
        return Entry(found.name, is_folder=False) if found.is_file() else None
    except OSError:  # a link to itself, or to where nobody may look
        return None


def _last(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2]


def _is_mark(found: dict[str, Any], folder: str) -> bool:
    name = found["name"].strip("/")
    return found["type"] != "directory" and folder.rstrip("/").endswith(f"/{name}")
