"""A process that works on a queue of this machine, and is started again when it dies.

A damaged image may end the process that reads it. What it had in hand is given back at once, so
that others of its images are tried again, and the one that ends every process fails.
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory

from promptseg.errors import JobError, from_record
from promptseg.jobs.notes import file_of, give_back
from promptseg.jobs.queue import Queue

logger = logging.getLogger(__name__)

# What runs in the process: it is given a folder for its notes and a line to its supervisor, which
# ends when it is to end, and on which it says why it could not begin.
Work = Callable[[Path, Connection], object]

# Processes in a row that may die before they are ready.
MOST_EARLY = 3
# Seconds before a process is started again, and how often it is looked at.
PAUSE, LOOK_EVERY = 1.0, 0.2
# Seconds that a process may take to give back what it has in hand.
GRACE = 30.0


class Supervisor:
    """Keeps one process at work on a queue, until it ends by itself or is to end.

    How often an image may end it is the ledger's matter. Where it dies three times in a row before
    it is ready to take an image, it is not started again.
    """

    def __init__(
        self, queue: Queue, work: Work, *, pause: float = PAUSE, grace: float = GRACE
    ) -> None:
        self._queue = queue
        self._work = work
        self._pause = pause
        self._grace = grace
        self._until = threading.Event()
        self._child: BaseProcess | None = None

    def stop(self) -> None:
        """Have it end soon; called again, at once. May be called by a signal's handler."""
        if self._until.is_set() and self._child is not None:
            self._child.kill()
        self._until.set()

    def run(self) -> None:
        """Work, until nothing is left to do where the process ends then, or until `stop`.

        Raises:
            JobError: the process dies before it is ready, again and again.
            PromptsegError: it says that it cannot begin, and why.
        """
        early = 0
        with TemporaryDirectory(prefix="promptseg-") as made:
            folder = Path(made)
            while not self._until.is_set():
                line, child = self._start(folder)
                try:
                    if self._has_ended(child, line):
                        return
                finally:
                    self._end(child, line)
                    was_ready = file_of(folder, child.pid or 0).exists()
                    how = _how(child.exitcode)
                    given = None if self._until.is_set() else f"its worker was ended {how}"
                    give_back(self._queue.ledger, folder, child.pid or 0, reason=given)
                early = 0 if was_ready else early + 1
                if early == MOST_EARLY:
                    raise JobError(
                        f"the worker's process was ended {early} times before it was ready, {how}",
                        hint="`promptseg doctor` says what this machine can do",
                    )
                if not self._until.is_set():
                    logger.warning("the worker's process was ended %s, and is started again", how)
                    self._until.wait(self._pause)

    def _start(self, folder: Path) -> tuple[Connection, BaseProcess]:
        # Nothing of this process is in the new one, whatever threads there are here.
        context = multiprocessing.get_context("spawn")
        line, end = context.Pipe()
        child = context.Process(target=self._work, args=(folder, end), name="promptseg-worker")
        child.start()
        end.close()
        self._child = child
        return line, child

    def _has_ended(self, child: BaseProcess, line: Connection) -> bool:
        """Wait for the end of the process; true where it was one as it should be.

        Raises:
            PromptsegError: it has said why it cannot begin.
        """
        while child.is_alive() and not self._until.is_set():
            child.join(LOOK_EVERY)
        said = None
        with suppress(EOFError, OSError):
            said = line.recv() if line.poll() else None
        if said is not None:
            raise from_record(said)
        return self._until.is_set() or child.exitcode == 0

    def _end(self, child: BaseProcess, line: Connection) -> None:
        """Have the process give back what it has in hand, and end."""
        line.close()
        child.join(self._grace)
        if child.is_alive():
            logger.warning("an image is being worked on for long, and its process is ended")
            child.kill()
            child.join()


def _how(status: int | None) -> str:
    """Say what ended a process."""
    if status is None or status >= 0:
        return f"with the status {status}"
    try:
        return f"by {signal.Signals(-status).name}"
    except ValueError:
        return f"by the signal {-status}"
