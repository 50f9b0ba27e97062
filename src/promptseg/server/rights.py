"""Who may read a file that takes the place of another: whoever could read that one."""

from __future__ import annotations

import os
import stat
import sys
from contextlib import suppress
from pathlib import Path

from promptseg.errors import OutputError

if sys.platform != "win32":
    import pwd


def of(path: Path) -> os.stat_result | None:
    """Return whose a file is, and who may read it; None where there is none."""
    try:
        return path.stat()
    except OSError:
        return None


def share(file: int, like: Path) -> None:
    """Give an open file to whom the one at `like` belongs, with the same rights.

    Where there is none it is its owner's alone. Windows hands rights on by folder.

    Raises:
        OutputError: that is not permitted, and its owner or group could not read it any more.
    """
    if sys.platform == "win32" or not stat.S_ISREG(os.fstat(file).st_mode):
        return
    os.fchmod(file, 0o600)
    before = of(like)
    if before is None:
        return
    mode = stat.S_IMODE(before.st_mode)
    with suppress(OSError):
        os.fchown(file, -1, before.st_gid)
    by_group = bool(mode & stat.S_IRGRP)
    if not by_group or os.fstat(file).st_gid == before.st_gid:
        os.fchmod(file, mode)
        # Last, for it may take the right to all this away.
        with suppress(OSError):
            os.fchown(file, before.st_uid, -1)
        # Root reads any.
        is_owners = before.st_uid in (0, os.fstat(file).st_uid)
        by_group = by_group and _is_member(before.st_uid, before.st_gid)
        if is_owners or by_group or mode & stat.S_IROTH:
            return
    raise OutputError(
        f"`{like}` could not be read any more by its owner or group",
        hint="Edit it as its owner, or as root",
    )


def _is_member(user: int, group: int) -> bool:
    if sys.platform == "win32":
        return False
    try:
        known = pwd.getpwuid(user)
    except KeyError:
        return False
    return group in os.getgrouplist(known.pw_name, known.pw_gid)
