"""Files as a whole: written all or not at all, known by their content, kept for one process."""

from __future__ import annotations

import errno
import filecmp
import hashlib
import logging
import os
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from promptseg.errors import ImageError, OutputError, reason
from promptseg.io import images

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

logger = logging.getLogger(__name__)

# What a lock of another process is called, here and on Windows.
TAKEN = (errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK)


def write_atomically(path: str | Path, write: Callable[[BinaryIO], object]) -> Path:
    """Let `write` fill a temporary file beside `path`, then move it there; return `path`.

    A reader sees the old file or the new one, never a part of either, and a failure leaves nothing
    behind; a process that is killed may leave `.promptseg-*.part`. A file that has this content
    already stays untouched. Missing folders are made. A link is followed, and a device or pipe is
    written to directly.

    Raises:
        OutputError: the file cannot be written.
    """
    asked = Path(path)
    try:
        target = resolved(asked)
        if target.is_symlink():
            raise OutputError(f"cannot write `{asked}`: it is a link that leads to itself")
        if target.is_dir():
            raise OutputError(f"cannot write `{asked}`: it is a folder", hint="Name a file in it")
        if target.exists() and not target.is_file():
            # Moving a file over /dev/null would destroy it for every other program.
            with target.open("wb") as device:
                write(device)
            return asked
        target.parent.mkdir(parents=True, exist_ok=True)
        _replace(target, write)
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(
            f"cannot write `{asked}`: {reason(error)}",
            hint="Choose a place that can be written to, or make room there",
        ) from error
    return asked


def write_text(path: str | Path, text: str) -> Path:
    """Write `text` as UTF-8, whole or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    return write_atomically(path, lambda file: file.write(text.encode()))


def fingerprint(path: Path) -> str:
    """Name a file by its content.

    Raises:
        ImageError: it is missing or cannot be read.
    """
    digest = hashlib.sha256()
    with images.open_file(path) as file:
        try:
            while part := file.read(1 << 20):
                digest.update(part)
        except OSError as error:
            raise ImageError(f"cannot read `{path}`: {reason(error)}") from error
    return digest.hexdigest()


def resolved(path: Path) -> Path:
    """Follow links and dots; a link that leads to itself stays what it is."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return path.absolute()


def hold(path: Path) -> BinaryIO | None:
    """Lock a file, which is made, until what comes back is closed; None where others hold it.

    The lock ends with the process, however that ends, and the file stays. Where the file system
    knows no locks the log says so, and there is none.

    Raises:
        OSError: the file cannot be made.
    """
    file = path.open("ab")
    try:
        _lock(file)
    except OSError as error:
        if error.errno in TAKEN:
            file.close()
            return None
        logger.warning(
            "nothing keeps other runs out of `%s`, which cannot be locked: %s",
            path.parent,
            reason(error),
        )
    return file


def _lock(file: BinaryIO) -> None:
    if sys.platform == "win32":
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _replace(target: Path, write: Callable[[BinaryIO], object]) -> None:
    """Fill a new file beside `target` and move it over `target` once it is on the disk."""
    # A short name of its own: the target's may already be as long as the file system allows.
    partial = target.parent / f".promptseg-{secrets.token_hex(8)}.part"
    try:
        with partial.open("xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        if not (target.exists() and filecmp.cmp(partial, target, shallow=False)):
            partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
