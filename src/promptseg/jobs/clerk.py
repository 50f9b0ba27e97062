"""What is to be done about jobs beside their images: to list them, to report, and to forget."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from promptseg.errors import PromptsegError
from promptseg.jobs import manifest
from promptseg.jobs.in_hand import HOLD_AGAIN, held
from promptseg.jobs.ledger import Item, Listing, Reporting, Status
from promptseg.jobs.listing import Problems, items
from promptseg.jobs.queue import Queue
from promptseg.jobs.work import LEASE

logger = logging.getLogger(__name__)

# Images that are told to the ledger in one step.
PORTION = 500
# Seconds between two looks for jobs that need not be kept.
FORGET_EVERY = 30.0

Tell = Callable[[Status, str], object]


class _Left(Exception):
    """Raised to leave a listing that is to go on later, or nobody wants any more."""


class Clerk:
    """Lists the images of a queue's jobs, reports how jobs ended, and forgets old ones.

    Any number of clerks may be at work. `tell` tells the end of a job to the address that it names.
    """

    def __init__(self, queue: Queue, *, tell: Tell | None = None, lease: float = LEASE) -> None:
        self._queue = queue
        self._tell = tell
        self._lease = lease
        self._forgot = -FORGET_EVERY

    def step(self, until: threading.Event) -> bool:
        """Do one thing that waits, until it is done or it is time; False where nothing waits.

        Raises:
            JobError: the ledger or the store cannot be reached.
            OutputError: there is no room in the store, or something cannot be removed from it.
        """
        ledger = self._queue.ledger
        if (reporting := ledger.claim_reporting(seconds=self._lease)) is not None:
            self._report(reporting)
            return True
        if (listing := ledger.claim_listing(seconds=self._lease)) is not None:
            self._list(listing, until)
            return True
        return self._forget()

    def _list(self, listing: Listing, until: threading.Event) -> None:
        """Tell the ledger the images of a job, from the first on that it does not know."""
        ledger = self._queue.ledger
        problems = Problems()
        found: list[Item] = []
        told = time.monotonic()
        try:
            # Held also where folders are gone through for long and have no image.
            with held(
                lambda seconds: ledger.add(listing, (), seconds=seconds), self._lease
            ) as lost:

                def beat() -> None:
                    if lost.is_set() or until.is_set():
                        raise _Left

                for number, item in enumerate(items(listing.asked, problems, beat=beat)):
                    beat()
                    if number >= listing.known:
                        found.append(item)
                    late = time.monotonic() - told > self._lease / HOLD_AGAIN
                    if len(found) >= PORTION or late:
                        if not ledger.add(listing, found, seconds=self._lease):
                            return
                        found, told = [], time.monotonic()
        except _Left:
            ledger.release(listing)
            return
        except PromptsegError:
            ledger.release(listing)
            raise
        except Exception:
            # Were it tried again, it would fail again, and the job would never end.
            logger.exception("the images of the job `%s` cannot all be listed", listing.job)
            problems.add("the inputs could not all be listed: the log of the worker says why")
        if ledger.add(listing, found, seconds=self._lease):
            ledger.listed(listing, problems.said)
            logger.info("job %s: all of its images are listed", listing.job)

    def _report(self, reporting: Reporting) -> None:
        """Write the manifest and the report of a job, and tell its end to who wants to know.

        Where that fails it is not given back: it is tried again when the claim on it has run out,
        and other jobs go on meanwhile.
        """
        queue = self._queue
        with held(lambda seconds: queue.ledger.extend(reporting, seconds), self._lease):
            manifest.write(queue.ledger, queue.store, reporting.job)
            status = queue.ledger.status(reporting.job)
            self._tell_end(status)
        if queue.ledger.reported(reporting):
            logger.info("job %s: %s", status.id, status.state.value)

    def _tell_end(self, status: Status) -> None:
        """Tell it, as often as that is tried; a job has ended, whoever hears of it."""
        if status.job.webhook is None:
            return
        if self._tell is None:
            logger.warning(
                "nobody was told of the end of the job `%s`: no `webhook_hosts` are allowed here",
                status.id,
            )
            return
        try:
            self._tell(status, status.job.webhook)
        except PromptsegError as error:
            logger.warning("nobody was told of the end of the job `%s`: %s", status.id, error)

    def _forget(self) -> bool:
        """Drop the jobs that need not be kept, and what came of them, at most so often."""
        if time.monotonic() < self._forgot + FORGET_EVERY:
            return False
        self._forgot = time.monotonic()
        overdue = self._queue.ledger.overdue()
        for job in overdue:
            self._queue.forget(job)
        return bool(overdue)
