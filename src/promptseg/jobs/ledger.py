"""What is known of jobs and their images, and who works on what: kept by SQLite, or by Redis.

Work may be done twice, for a worker may die, or be held up, at any moment; it counts once. Whoever
takes images on gets a claim for some seconds, with a token that is larger than every one before.
An image ends by the latest claim on it alone: what an older one says is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from promptseg.errors import JobError
from promptseg.jobs.job import Job, State

# What an image fails with whose worker said nothing.
DIED = "its worker ended without a word: it crashed, was killed, or was cut off"
OUT_OF_TIME = "the job's time was over"
# Seconds between two attempts at an image that ends its worker: twice as long each time.
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0


class UnknownJobError(JobError):
    """There is no such job, or it is another owner's."""


class JobConflictError(JobError):
    """A job stands otherwise than it would have to."""


class Item(NamedTuple):
    """One image of a job, as its inputs name it, and its own queries if it has some.

    `queries` are as `Job.queries`.
    """

    image: str
    queries: tuple[Mapping[str, Any], ...] | None = None


class Listing(NamedTuple):
    """A job whose images somebody counts out until `until`; so many of them are known already."""

    job: str
    asked: Job
    token: int
    known: int
    until: float


class Reporting(NamedTuple):
    """A job that has ended, of which somebody writes the manifest and tells the end, by `until`."""

    job: str
    asked: Job
    token: int
    until: float


class Claimed(NamedTuple):
    """An image that somebody has taken on: its place in the job, and how often it ended a worker.

    Only those times count when the claim was on it alone.
    """

    number: int
    item: Item
    attempts: int


class Claim(NamedTuple):
    """Images of one job that a worker may answer until `until`, by the ledger's clock."""

    job: str
    asked: Job
    token: int
    items: tuple[Claimed, ...]
    until: float


class Outcome(NamedTuple):
    """What became of an image: `state` is done, failed or cancelled.

    `result` is the name of its result in the store, `files` are those of its formats by the names
    they have for people, and `problems` are sentences, also of queries that failed alone.
    """

    state: State
    result: str | None = None
    files: Mapping[str, str] = {}
    problems: tuple[str, ...] = ()


class Entry(NamedTuple):
    """A line of a job's manifest: an image, and what became of it."""

    number: int
    item: Item
    outcome: Outcome


@dataclass(frozen=True, kw_only=True)
class Status:
    """How a job stands: images by state, and times in seconds since 1970.

    A job has ended when its last image has: done, if any is, else failed. `is_listed` is false
    until all of its inputs are known, `is_reported` until its manifest is written and its end told.
    `problems` are of the job as a whole.
    """

    id: str
    owner: str
    job: Job
    state: State
    is_listed: bool
    is_reported: bool
    queued: int
    running: int
    done: int
    failed: int
    cancelled: int
    submitted: float
    started: float | None
    ended: float | None
    problems: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """How many images are known."""
        return self.queued + self.running + self.done + self.failed + self.cancelled

    def as_json(self) -> dict[str, Any]:
        """Return all of it as doors show it, but for whose it is."""
        times = ("submitted", "started", "ended")
        return {
            "id": self.id,
            "state": self.state.value,
            "is_listed": self.is_listed,
            "is_reported": self.is_reported,
            "images": {state.value: getattr(self, state.value) for state in State}
            | {"total": self.total},
            **{name: getattr(self, name) for name in times},
            "problems": list(self.problems),
            "job": self.job.as_json(),
        }


class Ledger(Protocol):
    """The one truth about jobs; any number of threads, processes and machines may share it.

    Every method is one step: it happens wholly or not at all, whatever dies meanwhile. Times are
    the ledger's own, so that no worker's clock matters.

    Raises:
        JobError: the ledger cannot be reached, read or written to; there is no such job, or it is
            another owner's.
    """

    def submit(self, job: Job, *, owner: str = "") -> str:
        """Take a job on, and return its id; for a `key` that the owner has used, that job's.

        Raises:
            JobError: the key was used for another job.
        """

    def claim_listing(self, *, seconds: float) -> Listing | None:
        """Take on the listing of a job, of the first that waits for it; None where none does."""

    def add(self, listing: Listing, items: Sequence[Item], *, seconds: float) -> bool:
        """Add images, in order, if any, and hold the listing for so many seconds from now.

        They can be claimed at once. False, and nothing is added, where the listing holds no more.
        """

    def listed(self, listing: Listing, problems: Sequence[str] = ()) -> bool:
        """Say that all inputs are known, and what was wrong with some; False as with `add`.

        The job ends with its last image, at once where it has none.
        """

    def claim(
        self,
        *,
        most: int,
        seconds: float,
        model: str | None = None,
        job: str | None = None,
    ) -> Claim | None:
        """Take on images that wait, or whose claim has run out; None where there are none.

        All are of one job: `job`, or that of the highest priority that was submitted first; of jobs
        that name a model only those that name this one. Images that were in a claim that ended
        badly come last, and each alone; one that was alone then waits (`pause`). One that ends its
        worker as often as its job allows fails.
        """

    def claim_reporting(self, *, seconds: float) -> Reporting | None:
        """Take on a job that has ended, to write its manifest and tell its end; None without one.

        The one that was submitted first. Another follows one who dies at it: it may be done twice.
        """

    def reported(self, reporting: Reporting) -> bool:
        """Say that all is written and told; False, and nothing changes, where it holds no more."""

    def extend(self, claim: Claim | Reporting, seconds: float) -> bool:
        """Hold a claim for so many seconds from now; False where nothing of it is left."""

    def finish(self, claim: Claim, number: int, outcome: Outcome) -> bool:
        """Say what became of an image; False, and nothing changes, where the claim holds no more.

        That is: another has it by now, it has ended, or its job is cancelled or forgotten.
        """

    def release(self, claim: Claim | Listing | Reporting, *, reason: str | None = None) -> None:
        """Give back what is left of a claim: with a reason as one that ended badly, else not.

        The reason is what an image fails with that was alone, and had its last attempt.
        """

    def status(self, job: str, *, owner: str | None = None) -> Status:
        """Say how a job stands; with an `owner`, if it is theirs."""

    def jobs(self, *, owner: str | None = None) -> list[Status]:
        """Say how all jobs stand, the latest first."""

    def entries(self, job: str, *, start: int = 0) -> Iterator[Entry]:
        """Go through the images that have ended, by their numbers, from a number on."""

    def cancel(self, job: str) -> Status:
        """End what waits and what is worked on; what has ended stays."""

    def retry(self, job: str) -> Status:
        """Let images that failed or were cancelled wait again, with all their attempts.

        A job that had ended has all its time again, and a listing that was cut short goes on.
        Nothing changes where no image failed or was cancelled, and all are known.
        """

    def forget(self, job: str) -> None:
        """Drop a job that has ended.

        Raises:
            JobError: it has not.
        """

    def overdue(self) -> list[str]:
        """Name the jobs that have ended, and need not be kept any longer."""

    def next_due(self, *, model: str | None = None, job: str | None = None) -> float | None:
        """Return the seconds until something can be claimed, None where nothing is left to do.

        Images as with `claim`, and listings and reports that wait, or whose claim may run out.
        """

    def close(self) -> None:
        """Let go of what is open."""


def pause(attempts: int) -> float:
    """Return the seconds that an image waits which has ended its worker so often."""
    return min(FIRST_PAUSE * 2 ** (attempts - 1), LONGEST_PAUSE) if attempts else 0.0


def used(key: str, job: str) -> JobError:
    """Return the error of a key that another job has."""
    return JobConflictError(
        f"the key `{key}` was used for another job, `{job}`", hint="Give each job a key of its own"
    )


def not_ended(job: str) -> JobError:
    """Return the error of a job that cannot be dropped yet."""
    return JobConflictError(f"the job `{job}` has not ended", hint="Cancel it first")


def unknown(job: str) -> JobError:
    """Return the error of a job that is not there, or is another owner's."""
    return UnknownJobError(
        f"there is no job `{job:.80}`", hint="`promptseg jobs list` names those there are"
    )
