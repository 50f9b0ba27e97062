"""A queue worked on in this process: one thread for its images, one for all else about its jobs."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from promptseg.errors import PromptsegError
from promptseg.jobs.answering import Answerer
from promptseg.jobs.clerk import Clerk, Tell
from promptseg.jobs.queue import Queue
from promptseg.jobs.work import LEASE, Worker, end_process

logger = logging.getLogger(__name__)

# How often one looks for work where there was none, in seconds.
LOOK_EVERY = 0.3
# How soon one tries again after trouble with the ledger or the store, and how soon at last.
SOON, LATER = 1.0, 30.0


class Runner:
    """Threads that work on a queue, from `start` to `stop`; without an `answerer` on no images.

    Trouble with the ledger or the store, such as a full disk, is logged and told to `on_failure`,
    and it is tried again.
    """

    def __init__(
        self,
        queue: Queue,
        answerer: Answerer | None,
        *,
        tell: Tell | None = None,
        lease: float = LEASE,
        on_hang: Callable[[], object] = end_process,
        on_failure: Callable[[], object] = int,
    ) -> None:
        self._queue = queue
        self._on_failure = on_failure
        self._model = None if answerer is None else answerer.model
        self._until = threading.Event()
        clerk = Clerk(queue, tell=tell, lease=lease)
        steps = [("promptseg-clerk", lambda: clerk.step(self._until))]
        if answerer is not None:
            worker = Worker(queue, answerer, lease=lease, on_hang=on_hang)
            steps.append(("promptseg-jobs", lambda: worker.work(self._until) > 0))
        self._threads = [
            threading.Thread(target=self._live, args=[step], name=name, daemon=True)
            for name, step in steps
        ]

    def start(self) -> None:
        """Begin to work."""
        for thread in self._threads:
            thread.start()

    def stop(self, seconds: float) -> bool:
        """Give back what is in hand; False where that takes longer than so many seconds."""
        until = time.monotonic() + seconds
        self._until.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(until - time.monotonic(), 0.0))
        return not any(thread.is_alive() for thread in self._threads)

    def is_done(self) -> bool:
        """Whether nothing is left to do, for this model.

        Raises:
            JobError: the ledger cannot be reached.
        """
        return self._queue.ledger.next_due(model=self._model) is None

    def _live(self, step: Callable[[], bool]) -> None:
        """Take one step after the other until it is time."""
        pause = SOON
        while not self._until.is_set():
            try:
                wait = 0.0 if step() else LOOK_EVERY
                pause = SOON
            except Exception as error:
                if self._until.is_set():  # it was ended unfinished
                    return
                self._on_failure()
                if isinstance(error, PromptsegError):
                    logger.error("jobs wait for %g s: %s", pause, error)
                else:
                    logger.exception("work on jobs failed, and goes on in %g s", pause)
                wait, pause = pause, min(2 * pause, LATER)
            self._until.wait(wait)
