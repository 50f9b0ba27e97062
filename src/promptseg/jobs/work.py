"""Images of jobs, worked on: claimed from the ledger, and taken through the pipeline."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing

from promptseg.jobs.answering import Answerer, Answering
from promptseg.jobs.in_hand import InHand, Task
from promptseg.jobs.pipeline import run
from promptseg.jobs.queue import Queue

# How long a claim outlives its worker, in seconds; a worker holds it anew all the while.
LEASE = 30.0
# Groups of images in a claim: one is asked about while the next is read.
GROUPS = 2


def end_process() -> None:
    """End this process at once, with what hangs in it."""
    if hasattr(signal, "SIGKILL"):
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(1)


class Worker:
    """Answers images of a queue's jobs, of those that name its model or none.

    Any number of workers may be at work, in whatever processes and machines; where one dies its
    images are another's as soon as its claims have run out, `lease` seconds later. `on_hang` is
    called where an image takes longer than its job allows.
    """

    def __init__(
        self,
        queue: Queue,
        answerer: Answerer,
        *,
        lease: float = LEASE,
        on_hang: Callable[[], object] = end_process,
    ) -> None:
        self._queue = queue
        self._answerer = answerer
        self._lease = lease
        self._on_hang = on_hang
        self._most = GROUPS * answerer.pace.group

    def work(self, until: threading.Event, *, job: str | None = None) -> int:
        """Answer images, of one job if one is named, until none can be claimed or it is time.

        Return how many have ended. What is in hand when it is time is given back, but for images
        that the model is being asked about.

        Raises:
            JobError: the ledger or the store cannot be reached; what was in hand is given back.
            OutputError: there is no room in the store.
        """
        ended = 0
        while not until.is_set():
            with InHand(self._queue.ledger, self._lease, self._on_hang) as in_hand:
                stages = Answering(self._queue, self._answerer, in_hand)
                found_any = False
                tasks = self._tasks(in_hand, until, job)
                with closing(run(stages, tasks, self._answerer.pace)) as done:
                    for _ in done:
                        found_any = True
                        if until.is_set():
                            break
            ended += in_hand.ended
            if not found_any:
                break
        return ended

    def _tasks(self, in_hand: InHand, until: threading.Event, job: str | None) -> Iterator[Task]:
        """Go through images as they are claimed.

        One that is claimed alone may have ended its worker before, and is worked on with no others,
        so that none of them has part in what becomes of it.
        """
        ledger = self._queue.ledger
        while not until.is_set():
            claim = ledger.claim(
                most=self._most, seconds=self._lease, model=self._answerer.model, job=job
            )
            if claim is None:
                return
            is_alone = len(claim.items) == 1
            if is_alone and in_hand:
                ledger.release(claim)
                return
            in_hand.take(claim)
            for claimed in claim.items:
                yield Task(claim, claimed)
            if is_alone:
                return
