"""Writing a file whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from promptseg.errors import OutputError, reason


def write_atomically(path: str | Path, write: Callable[[BinaryIO], object]) -> Path:
    """Let `write` fill a temporary file beside `path`, then move it there; return `path`.

    A reader sees the old file or the new one, never a part of either, and a failure leaves nothing
    behind. Missing folders are made. A link is followed, and a device or pipe is written to
    directly.

    Raises:
        OutputError: the file cannot be written.
    """
    asked = Path(path)
    try:
        target = asked.resolve()
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


def _replace(target: Path, write: Callable[[BinaryIO], object]) -> None:
    """Fill a new file beside `target` and move it over `target` once it is on the disk."""
    # A short name of its own: the target's may already be as long as the file system allows.
    partial = target.parent / f".promptseg-{secrets.token_hex(8)}.part"
    try:
        with partial.open("xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
