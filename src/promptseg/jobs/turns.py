"""What a process does that works on a queue: it looks for work, and answers images when woken."""

from __future__ import annotations

import json
import logging
import threading
import time
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from pathlib import Path
from typing import Protocol, cast

import promptseg
from promptseg.errors import JobError, PromptsegError, as_record, from_record
from promptseg.jobs.answering import Answerer
from promptseg.jobs.ledger import Ledger
from promptseg.jobs.notes import Notes
from promptseg.jobs.queue import Queue
from promptseg.jobs.runner import LATER, SOON, Runner
from promptseg.jobs.webhooks import Webhooks
from promptseg.jobs.work import LEASE, Worker, end_process
from promptseg.settings import Settings

logger = logging.getLogger(__name__)

# Seconds of work after which another message is taken, as one is not to be in hand for long.
TURN = 60.0
# How long, and how often, one goes on looking where there was no image, in seconds: while a job is
# listed, its next images are there a moment later.
LINGER, LOOK_AGAIN = 2.0, 0.2
# Seconds between two looks for work of which no message has told.
LOOK_EVERY = 1.0
# Seconds that what is in hand may take to be given back.
STOP = 5.0
FAILURE = "failure.json"


class Around(Protocol):
    """What the process may ask of the worker that it is of."""

    def wake(self) -> None:
        """See that a message waits which wakes a worker."""

    def end(self) -> None:
        """End the worker that this process is of."""


class Turns:
    """The work of one process, whose model is loaded once; `folder` is shared with its parent.

    A clerk and a look-out are at work from `start` on, whatever the messages. Messages may be lost,
    so the look-out sends one where something is to be done and none waits. With `once` it ends the
    worker when nothing is left to do.
    """

    def __init__(self, settings: Settings, folder: Path, around: Around, *, once: bool) -> None:
        self._settings = settings
        self._folder = folder
        self._around = around
        self._once = once
        self._is_over = threading.Event()
        self._until = threading.Event()
        self._ready: Future[tuple[Notes, Worker]] = Future()
        self._clerk: Runner | None = None
        self._pause = SOON

    def start(self) -> None:
        """Open the queue, load the model and look out for work, all in a thread."""
        threading.Thread(target=self._live, name="promptseg-look-out", daemon=True).start()

    def take(self) -> int:
        """Answer images until there are none or the turn is over, and return how many have ended.

        Trouble with the ledger or the store is waited out, longer each time. What else goes wrong
        ends the process.
        """
        found = self._wait()
        if found is None:
            return 0
        notes, worker = found
        self._until = until = threading.Event()
        if self._is_over.is_set():
            return 0
        clock = threading.Timer(TURN, until.set)
        clock.daemon = True
        clock.start()
        notes.begin()
        ended, last = 0, time.monotonic()
        try:
            while not until.is_set() and time.monotonic() < last + LINGER:
                if count := worker.work(until):
                    ended, last = ended + count, time.monotonic()
                else:
                    until.wait(LOOK_AGAIN)
            self._pause = SOON
        except PromptsegError as error:
            logger.error("work on jobs waits for %g s: %s", self._pause, error)
            self._is_over.wait(self._pause)
            self._pause = min(2 * self._pause, LATER)
        except Exception:
            logger.exception("work on jobs failed, and its process is replaced")
            end_process()
        finally:
            clock.cancel()
        return ended

    def stop(self) -> None:
        """Have all end soon; what is in hand is given back, but for what is asked just now."""
        self._is_over.set()
        self._until.set()

    def close(self) -> None:
        """Wait until all has ended, for a while."""
        self.stop()
        if self._clerk is not None:
            self._clerk.stop(STOP)

    def _wait(self) -> tuple[Notes, Worker] | None:
        while not self._is_over.is_set():
            try:
                return self._ready.result(timeout=LOOK_AGAIN)
            except NotYet:
                continue
        return None

    def _live(self) -> None:
        try:
            queue = self._opened()
            if queue is None:
                return
            hooks = Webhooks.of(self._settings)
            clerk = Runner(queue, None, tell=None if hooks is None else hooks.tell, lease=LEASE)
            self._clerk = clerk
            clerk.start()
            answerer = self._answerer()
            notes = Notes(queue.ledger, self._folder)
            queue.ledger = cast(Ledger, notes)
            self._ready.set_result((notes, Worker(queue, answerer, lease=LEASE)))
        except Exception as error:
            if not isinstance(error, PromptsegError):
                logger.exception("the worker could not begin")
                error = PromptsegError(f"the worker could not begin: {error}")
            (self._folder / FAILURE).write_text(json.dumps(as_record(error)))
            self._around.end()
            return
        self._look_out(queue, answerer.model)

    def _opened(self) -> Queue | None:
        """Open the queue, as soon as that can be done: the parent has had it open before."""
        while not self._is_over.is_set():
            try:
                return Queue.of(self._settings)
            except JobError as error:
                logger.error("jobs wait: %s", error)
                self._is_over.wait(LOOK_EVERY)
        return None

    def _answerer(self) -> Answerer:
        settings = self._settings
        model = promptseg.load(
            settings.model,
            device=settings.device,
            dtype=settings.dtype,
            cache_bytes=settings.cache_bytes,
        )
        return Answerer.of(model, max_pixels=settings.max_pixels)

    def _look_out(self, queue: Queue, model: str) -> None:
        while not self._is_over.wait(LOOK_EVERY):
            try:
                due = queue.ledger.next_due(model=model)
                if due is None and self._once:
                    self._around.end()
                    return
                if due == 0:
                    self._around.wake()
            except PromptsegError as error:
                logger.error("jobs wait: %s", error)
            except Exception:  # nobody else would look any more
                logger.exception("looking for work failed, and goes on")


def failure(folder: Path) -> PromptsegError | None:
    """Return why a process of a worker could not begin, if one could not."""
    file = folder / FAILURE
    return from_record(json.loads(file.read_text())) if file.exists() else None
