"""Queries of jobs, asked of the service's model in turn with those of its callers."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Future
from queue import SimpleQueue

import numpy as np

from promptseg.batch import Answered, Batch, Query
from promptseg.engine.scheduler import Answered as Given
from promptseg.engine.scheduler import Scheduler
from promptseg.errors import JobError, OverloadedError, PromptsegError
from promptseg.results import Masks
from promptseg.shapes import ImageArray

# By which they take turns with callers; no owner of a key has a name with a space.
CLIENT = "the jobs"
# Queries of an image that wait at a time; the rest of the room is for callers.
MOST_WAITING = 8
# How soon a query that found no room is asked again, and how soon at last, in seconds.
AGAIN_SECONDS, LAST_AGAIN_SECONDS = 0.05, 1.0


class JobQueries:
    """Puts queries of jobs into a scheduler, at most so many at a time; threads may share it."""

    def __init__(self, scheduler: Scheduler, *, most: int = MOST_WAITING) -> None:
        self._scheduler = scheduler
        self._most = most
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._waiting: set[Future[Given]] = set()

    def ask(self, batch: Batch) -> Iterator[Answered]:
        """Answer a batch of arrays, image by image, and hand out each answer as it is known.

        Whoever leaves takes back what has no answer yet.

        Raises:
            JobError: it was taken back by `take_back` or `end`.
        """
        for image in batch.images:
            assert isinstance(image.image, np.ndarray)
            yield from self._about(image.image, image.queries)

    def take_back(self) -> None:
        """Give up what is being asked."""
        with self._lock:
            waiting = list(self._waiting)
        for future in waiting:
            future.cancel()

    def end(self) -> None:
        """Give up what is being asked, and ask nothing any more."""
        self._ending.set()
        self.take_back()

    def _about(self, pixels: ImageArray, queries: Sequence[Query]) -> Iterator[Answered]:
        left, asked = deque(queries), dict[Future[Given], Query]()
        ended: SimpleQueue[Future[Given]] = SimpleQueue()
        try:
            while left or asked:
                while left and len(asked) < self._most:
                    query = left.popleft()
                    try:
                        future = self._submitted(query, pixels)
                    except JobError:
                        raise
                    except PromptsegError as error:
                        yield Answered(query.id, error)
                        continue
                    asked[future] = query
                    future.add_done_callback(ended.put)
                if not asked:
                    continue
                query = asked.pop(future := ended.get())
                self._drop(future)
                outcome = _outcome(future)
                if isinstance(outcome, OverloadedError):  # no fault of the query
                    left.append(query)
                else:
                    yield Answered(query.id, outcome)
        finally:
            for future in asked:
                future.cancel()
                self._drop(future)

    def _submitted(self, query: Query, pixels: ImageArray) -> Future[Given]:
        """Ask a query as soon as there is room.

        Raises:
            JobError: nothing is asked any more.
            PromptsegError: it does not fit the image, or the model.
        """
        request = query.of(pixels)
        again = AGAIN_SECONDS
        while not self._ending.is_set():
            try:
                future = self._scheduler.submit(request, client=CLIENT)
            except OverloadedError:
                self._ending.wait(again)
                again = min(2 * again, LAST_AGAIN_SECONDS)
                continue
            with self._lock:
                self._waiting.add(future)
            if self._ending.is_set():  # `end` may have been too early to see it
                future.cancel()
            return future
        raise _taken_back()

    def _drop(self, future: Future[Given]) -> None:
        with self._lock:
            self._waiting.discard(future)


def _outcome(future: Future[Given]) -> Masks | PromptsegError:
    try:
        return future.result().masks
    except CancelledError:
        raise _taken_back() from None
    except PromptsegError as error:
        return error


def _taken_back() -> JobError:
    return JobError("what was asked about an image was taken back")
