"""Jobs as callers of the service reach them, and as it works on them itself (docs/jobs.md)."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

from pydantic_core import to_json

from promptseg.api import Model
from promptseg.engine.scheduler import Scheduler
from promptseg.errors import JobError, OutputError, OverloadedError
from promptseg.jobs import accepting, manifest
from promptseg.jobs.answering import Answerer, identity_of
from promptseg.jobs.job import Job, State
from promptseg.jobs.ledger import JobConflictError, Status, UnknownJobError
from promptseg.jobs.pipeline import Pace
from promptseg.jobs.queue import Queue
from promptseg.jobs.runner import Runner
from promptseg.jobs.store import JOB
from promptseg.jobs.webhooks import Webhooks
from promptseg.server.decoder import Decoder
from promptseg.server.job_queries import MOST_WAITING, JobQueries
from promptseg.server.job_words import status_words
from promptseg.server.quotas import QuotaError
from promptseg.server.settings import ServerSettings
from promptseg.shapes import ImageArray

logger = logging.getLogger(__name__)

ResultT = TypeVar("ResultT")

# Threads that ask the ledger and the store, of their own: where one of these is slow, nobody whose
# image is to be decoded waits for it.
THREADS = 8
# How long a count of all jobs is good, and how long one is waited for, in seconds.
COUNT_EVERY, COUNT_SECONDS = 2.0, 1.0
PIECE = 64 * 2**10
# After so many seconds one may ask again where the ledger could not be reached, or a job too many
# is not taken.
AWAY_SECONDS, FULL_SECONDS = 5.0, 60.0
# What an image under way may end within when the service does; then it is given back.
LAST_SECONDS = 2.0
# How soon an image is to be decoded again for which there was no place, in seconds.
PLACE_SECONDS = 0.2


class Counts(NamedTuple):
    """How many jobs and images are in each state, and the age of the oldest job that waits."""

    jobs: Counter[State]
    images: Counter[State]
    oldest_seconds: float


class Jobs:
    """The jobs of a queue, each for its owner alone; another's are as if they were not there.

    Every method that waits does so beside the event loop. `failed` is called whenever work on jobs
    fails, but for images that fail alone.

    Each raises OverloadedError where the ledger or the store cannot be reached.

    Raises:
        ConfigError: webhooks have no secret.
    """

    def __init__(
        self,
        queue: Queue,
        settings: ServerSettings,
        *,
        model: Model,
        scheduler: Scheduler,
        decoder: Decoder,
        failed: Callable[[], object] = int,
    ) -> None:
        self._queue = queue
        self._settings = settings
        self._model = model.name
        self._decoder = decoder
        self._is_ending = threading.Event()
        is_own = not queue.is_shared
        self.is_worked_on = is_own if settings.work_on_jobs is None else settings.work_on_jobs
        room = min(settings.waiting, settings.waiting_each) // 4
        self._queries = JobQueries(scheduler, most=max(min(room, MOST_WAITING), 1))
        allowed = Webhooks.of(settings)
        self._runner = Runner(
            queue,
            self._answerer(model),
            tell=None if allowed is None else allowed.tell,
            # What hangs is given up. To end the process would be to end it for callers too.
            on_hang=self._queries.take_back,
            on_failure=failed,
        )
        self._threads = ThreadPoolExecutor(THREADS, "promptseg-ledger")
        self._submitting = threading.Lock()
        self._counting: asyncio.Task[Counts | None] | None = None
        self._counted = -COUNT_EVERY

    def start(self) -> None:
        """Begin to work on jobs, as far as this service does."""
        self._runner.start()

    def stop(self) -> None:
        """Work on no more jobs, and give back what is in hand."""
        self._is_ending.set()
        if not self._runner.stop(LAST_SECONDS):
            self._queries.end()
            if not self._runner.stop(LAST_SECONDS):
                logger.warning("an image of a job takes long, and is left; it is tried again later")

    def close(self) -> None:
        """Let go of the ledger, when nobody asks any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._queue.ledger.close()

    async def submit(self, owner: str, make: Callable[[], Job]) -> Status:
        """Take on what `make` returns; of one key of an owner only one.

        Raises:
            QuotaError: the owner has as many as are allowed.
            JobConflictError: the key was used for another job.
            PromptsegError: it cannot be made, or names another model, or a webhook of a host that
                is not allowed.
        """

        job = await self._aside(lambda: self._checked(make()))

        def submitted() -> Status:
            with self._submitting:
                self._require_room(owner, job.key)
                return self._queue.ledger.status(self._queue.submit(job, owner=owner))

        return await self._run(submitted)

    async def status(self, owner: str, job: str) -> Status:
        """Say how a job stands.

        Raises:
            UnknownJobError: it is not there, or not this owner's.
        """
        return await self._run(lambda: self._own(owner, job))

    async def latest(self, owner: str, most: int) -> AsyncIterator[bytes]:
        """Say how an owner's jobs stand, the latest first, as `JobsBody` has it.

        Each tells all that was asked, so that to write many at once would hold up all callers.
        """

        def parts() -> Iterator[bytes]:
            yield b'{"jobs":['
            for number, each in enumerate(self._queue.ledger.jobs(owner=owner)[:most]):
                yield (b"," if number else b"") + to_json(status_words(each))
            yield b"]}"

        return await self._pieces(parts())

    async def cancel(self, owner: str, job: str) -> Status:
        """End what is left of a job.

        Raises:
            UnknownJobError: as `status`.
        """

        def cancelled() -> Status:
            self._own(owner, job)
            return self._queue.ledger.cancel(job)

        return await self._run(cancelled)

    async def retry(self, owner: str, job: str) -> Status:
        """Let images that failed or were cancelled wait again.

        Raises:
            UnknownJobError: as `status`.
            QuotaError: the job had ended, and its owner has as many others as are allowed.
        """

        def retried() -> Status:
            with self._submitting:
                if self._own(owner, job).state.has_ended:
                    self._require_room(owner)
                return self._queue.retry(job)

        return await self._run(retried)

    async def forget(self, owner: str, job: str) -> None:
        """Drop a job, and what came of it.

        Raises:
            UnknownJobError: as `status`.
            JobConflictError: it has not ended.
        """

        def forgotten() -> None:
            self._own(owner, job)
            self._queue.forget(job)

        await self._run(forgotten)

    async def results(self, owner: str, job: str) -> AsyncIterator[bytes]:
        """Go through the answers so far, line by line, in the order of images.

        Raises:
            UnknownJobError: as `status`.
        """

        def lines() -> Iterator[bytes]:
            self._own(owner, job)
            for entry in self._queue.ledger.entries(job):
                if entry.outcome.result is not None:
                    yield self._queue.store.read(entry.outcome.result)

        return await self._pieces(lines())

    async def manifest(self, owner: str, job: str) -> AsyncIterator[bytes]:
        """Go through what became of images so far, a line for each.

        Raises:
            UnknownJobError: as `status`.
        """

        def lines() -> Iterator[bytes]:
            self._own(owner, job)
            yield from map(manifest.line_of, self._queue.ledger.entries(job))

        return await self._pieces(lines())

    async def report(self, owner: str, job: str) -> AsyncIterator[bytes]:
        """Go through how a job went so far: a line of numbers, then one for each problem.

        Raises:
            UnknownJobError: as `status`.
        """

        def lines() -> Iterator[bytes]:
            yield from manifest.report(self._own(owner, job), self._queue.ledger.entries(job))

        return await self._pieces(lines())

    async def file(self, owner: str, job: str, number: int, name: str) -> AsyncIterator[bytes]:
        """Go through the bytes of a file of an image, by its number in the job.

        Raises:
            UnknownJobError: as `status`, or there is no such file.
        """

        def parts() -> Iterator[bytes]:
            self._own(owner, job)
            entry = next(self._queue.ledger.entries(job, start=number), None)
            if entry is None or entry.number != number or name not in entry.outcome.files:
                raise UnknownJobError(
                    "the job has no such file", hint="Its manifest names the files of each image"
                )
            with self._queue.store.open(entry.outcome.files[name]) as file:
                while part := file.read(PIECE):
                    yield part

        return await self._pieces(parts())

    async def counts(self) -> Counts | None:
        """Count all jobs, at most every few seconds; None where that fails, or takes long."""
        is_over = self._counting is None or self._counting.done()
        if is_over and time.monotonic() >= self._counted + COUNT_EVERY:
            self._counted = time.monotonic()
            self._counting = asyncio.create_task(self._count())
        assert self._counting is not None
        await asyncio.wait({self._counting}, timeout=COUNT_SECONDS)
        return self._counting.result() if self._counting.done() else None

    async def _count(self) -> Counts | None:
        try:
            return _counted(await self._run(self._queue.ledger.jobs))
        except OverloadedError:
            return None

    def _decode(self, data: bytes) -> ImageArray:
        """Decode an image where uploads are, as soon as there is a place for it there.

        Raises:
            ImageError: as `Decoder.decode`.
            OverloadedError: the service ends before.
        """
        while True:
            try:
                return self._decoder.decode(data)
            except OverloadedError:
                if self._is_ending.wait(PLACE_SECONDS):
                    raise

    def _answerer(self, model: Model) -> Answerer | None:
        if not self.is_worked_on:
            return None
        return Answerer(
            ask=self._queries.ask,
            model=model.name,
            identity=identity_of(model),
            pace=Pace(),
            # An image that breaks its decoder breaks none of the service.
            decode=self._decode,
            max_pixels=self._settings.max_pixels,
        )

    def _checked(self, job: Job) -> Job:
        accepting.check(job, webhook_hosts=self._settings.webhook_hosts)
        is_only_worker = self.is_worked_on and not self._queue.is_shared
        if is_only_worker and job.model not in (None, self._model):
            raise JobError(
                f"no worker has the model `{job.model:.60}`",
                hint=f"This service has `{self._model}`; leave `model` out to take it",
            )
        return job

    def _require_room(self, owner: str, key: str | None = None) -> None:
        """Refuse one more job than an owner may have; one that is there already takes no room."""
        most, own = self._settings.max_jobs, self._queue.ledger.jobs(owner=owner)
        if key is not None and any(each.job.key == key for each in own):
            return
        count = sum(not each.state.has_ended for each in own)
        if count >= most:
            raise QuotaError(
                f"{count} of your jobs have not ended, and {most} are allowed",
                hint="Wait until one ends, or cancel one",
                retry_after=FULL_SECONDS,
            )

    def _own(self, owner: str, job: str) -> Status:
        """Return how a job stands, if it is its owner's."""
        if not JOB.fullmatch(job):
            raise absent()
        try:
            return self._queue.ledger.status(job, owner=owner)
        except UnknownJobError:
            raise absent() from None

    async def _pieces(self, parts: Iterator[bytes]) -> AsyncIterator[bytes]:
        """Put small parts together; what is wrong with the first is raised before any is sent."""

        def next_piece() -> bytes:
            taken, length = [], 0
            for part in parts:
                taken.append(part)
                length += len(part)
                if length >= PIECE:
                    break
            return b"".join(taken)

        async def rest(piece: bytes) -> AsyncIterator[bytes]:
            while piece:
                yield piece
                piece = await self._run(next_piece)

        return rest(await self._run(next_piece))

    async def _run(self, work: Callable[[], ResultT]) -> ResultT:
        """Do something with the ledger or the store in a thread; their troubles are our own."""
        try:
            return await self._aside(work)
        except (UnknownJobError, JobConflictError):
            raise
        except (JobError, OutputError) as error:
            # Not in its own words, which have paths and addresses of this machine.
            logger.error("the jobs cannot be reached: %s", error)
            raise OverloadedError(
                "the jobs cannot be reached at the moment",
                hint="Ask again after the seconds in `Retry-After`; the service's log says why",
                retry_after=AWAY_SECONDS,
            ) from error

    async def _aside(self, work: Callable[[], ResultT]) -> ResultT:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def absent() -> UnknownJobError:
    """Make the one error of a job that is not there, or not one's own."""
    return UnknownJobError(
        "there is no such job", hint="It may have expired; `GET /v1/jobs` lists yours"
    )


def _counted(known: list[Status]) -> Counts:
    images: Counter[State] = Counter()
    for each in known:
        images.update({state: getattr(each, state.value) for state in State})
    waiting = [each.submitted for each in known if each.state is State.QUEUED]
    oldest = max(time.time() - min(waiting), 0.0) if waiting else 0.0
    return Counts(Counter(each.state for each in known), images, oldest)
