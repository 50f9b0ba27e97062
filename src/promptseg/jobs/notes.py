"""Notes of the claims that a process has taken on, for whoever is left when it dies."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from promptseg.errors import PromptsegError
from promptseg.jobs.job import Job
from promptseg.jobs.ledger import Claim, Ledger

logger = logging.getLogger(__name__)


class Notes:
    """A ledger whose claims on images are noted in a file of a folder, named by the process.

    The file is no longer than what was claimed since `begin`. Everything else is the ledger's.
    """

    def __init__(self, ledger: Ledger, folder: Path) -> None:
        self._ledger = ledger
        self._file = file_of(folder, os.getpid()).open("w")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    def begin(self) -> None:
        """Say that nothing is in hand."""
        self._file.seek(0)
        self._file.truncate()

    def claim(self, **asked: Any) -> Claim | None:
        """Take on images as `Ledger.claim`."""
        claim = self._ledger.claim(**asked)
        if claim is not None:
            self._file.write(f"{claim.job} {claim.token}\n")
            self._file.flush()
        return claim

    def close(self) -> None:
        """Let go of the file and of the ledger."""
        self._file.close()
        self._ledger.close()


def give_back(ledger: Ledger, folder: Path, process: int, *, reason: str | None) -> None:
    """Give back what a process had in hand that has ended, with a reason as `Ledger.release`.

    What cannot be given back now runs out by itself.
    """
    file = file_of(folder, process)
    if not file.exists():
        return
    try:
        # A line that was being written as it died has no end, and its claim runs out by itself.
        for line in file.read_text().splitlines(keepends=True):
            job, _, token = line.partition(" ")
            if token.endswith("\n"):
                claim = Claim(job, Job(inputs=(job,)), int(token), (), 0.0)
                ledger.release(claim, reason=reason)
    except PromptsegError as error:
        logger.warning("what a process had in hand that died is given back later: %s", error)
    file.unlink()


def file_of(folder: Path, process: int) -> Path:
    """Name the file of a process's notes."""
    return folder / f"{process}.claims"
