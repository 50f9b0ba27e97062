"""What a process does that a supervisor keeps at work: it answers images until its line ends."""

from __future__ import annotations

import signal
import threading
from multiprocessing.connection import Connection
from pathlib import Path

from promptseg.errors import as_record
from promptseg.jobs.turns import Turns, failure
from promptseg.settings import Settings


class Bell:
    """Wakes the thread that answers images, of this very process."""

    def __init__(self) -> None:
        self.is_over = threading.Event()
        self._rung = threading.Event()

    def wake(self) -> None:
        """See that the next wait is over."""
        self._rung.set()

    def end(self) -> None:
        """See that no image is taken on any more."""
        self.is_over.set()
        self._rung.set()

    def wait(self) -> None:
        """Wait until something is to be done."""
        self._rung.wait()
        self._rung.clear()


def work(settings: Settings, folder: Path, line: Connection, *, once: bool) -> None:
    """Work on the queue of the settings until the other end of the line is closed.

    With `once` until nothing is left to do. Where it cannot begin it says why on the line.
    """
    # Ctrl+C and a service manager's signal go to all processes, and the supervisor says what to do.
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    bell = Bell()
    turns = Turns(settings, folder, bell, once=once)

    def listen() -> None:
        try:
            line.recv()
        except (EOFError, OSError):
            turns.stop()
            bell.end()

    threading.Thread(target=listen, name="promptseg-line", daemon=True).start()
    turns.start()
    while not bell.is_over.is_set():
        bell.wait()
        if not bell.is_over.is_set():
            turns.take()
    turns.close()
    if (error := failure(folder)) is not None:
        line.send(as_record(error))
