"""Very many images that a service can read, answered while nobody waits (docs/jobs.md)."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from promptseg.client import wire
from promptseg.client.connection import Body, Connection
from promptseg.errors import JobError, PromptsegError
from promptseg.results import Masks

PATH = "/v1/jobs"
# What a service may call a job, safe in an address.
NAME = re.compile(r"[A-Za-z0-9_-]{1,80}")
ENDED = ("done", "failed", "cancelled")
# The wait before a service is asked again that has let go of whoever watched.
AGAIN_SECONDS = 1.0


class JobStatus(NamedTuple):
    """How a job stands: `images` counts them by state, and has the `total`.

    `is_listed` is false until all of its images are known, `is_reported` until nothing is left to
    be done about it. `problems` are of the job as a whole, and `job` is what was asked. Times are
    seconds since 1970.
    """

    id: str
    state: str
    is_listed: bool
    is_reported: bool
    images: Mapping[str, int]
    submitted: float
    started: float | None
    ended: float | None
    problems: tuple[str, ...]
    job: Mapping[str, Any]

    @property
    def has_ended(self) -> bool:
        """Whether it is done, failed or cancelled."""
        return self.state in ENDED


class JobAnswer(NamedTuple):
    """What one query of a job came to: the address of its image, its id, its masks or its error."""

    image: str
    id: str
    verb: str
    outcome: Masks | PromptsegError


class Jobs:
    """The caller's jobs, as a service keeps them; `Client.jobs` has them.

    Every method raises JobError where there is no such job of the caller's, or the service keeps
    none; and, beside what it says, what those of `Client` do.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def submit(self, job: Mapping[str, object]) -> JobStatus:
        """Ask for a job: an object as docs/jobs.md has it, with `inputs` that the service can read.

        Of several with one `key` only the first makes a job.

        Raises:
            JobError, PromptError: it makes no sense, or reads what it may not.
            OverloadedError: as many of the caller's jobs as may be have not ended.
        """
        try:
            said = wire.written(job)
        except (TypeError, ValueError) as error:
            raise JobError(f"a job is an object of JSON: {error}") from None
        return _status(self._connection.ask("POST", PATH, Body({"job": said})))

    def status(self, job: str) -> JobStatus:
        """Say how a job stands."""
        return _status(self._connection.ask("GET", _path(job)))

    def watch(self, job: str) -> Iterator[JobStatus]:
        """Say how a job stands whenever that changes, until nothing is left to be done about it.

        A service that ends meanwhile is asked again when it is back.
        """
        while True:
            with self._connection.stream("GET", f"{_path(job)}/events") as events:
                for event in events:
                    if event.kind in ("progress", "result"):
                        yield _status(wire.parsed(event.data))
                    if event.kind == "result":
                        return
            time.sleep(AGAIN_SECONDS)

    def results(self, job: str) -> Iterator[JobAnswer]:
        """Go through what was found so far, in the order of images; none is held.

        Raises:
            ServiceError: the service has an answer that cannot be read.
        """
        with self._connection.lines(f"{_path(job)}/results") as lines:
            for line in lines:
                yield _answer(wire.parsed(line))

    def cancel(self, job: str) -> JobStatus:
        """End what is left of a job; what has ended stays."""
        return _status(self._connection.ask("POST", f"{_path(job)}/cancel"))

    def retry(self, job: str) -> JobStatus:
        """Let images that failed or were cancelled wait again.

        Raises:
            OverloadedError: as `submit`.
        """
        return _status(self._connection.ask("POST", f"{_path(job)}/retry"))

    def forget(self, job: str) -> None:
        """Have the service drop a job, and all that came of it.

        Raises:
            JobError: it has not ended.
        """
        self._connection.ask("DELETE", _path(job))


def _path(job: object) -> str:
    if not isinstance(job, str) or not NAME.fullmatch(job):
        raise JobError(f"the id of a job is letters and digits, got {job!r:.60}")
    return f"{PATH}/{job}"


def _status(said: Mapping[str, Any]) -> JobStatus:
    match said:
        case {
            "id": str(name),
            "state": str(state),
            "is_listed": bool(is_listed),
            "is_reported": bool(is_reported),
            "images": {"total": int()} as images,
            "submitted": float() | int() as submitted,
            "started": float() | int() | None as started,
            "ended": float() | int() | None as ended,
            "problems": [*problems],
            "job": {"inputs": list()} as job,
        } if NAME.fullmatch(name):
            return JobStatus(
                id=name,
                state=state,
                is_listed=is_listed,
                is_reported=is_reported,
                images=images,
                submitted=submitted,
                started=started,
                ended=ended,
                problems=tuple(map(str, problems)),
                job=job,
            )
    raise wire.nonsense("it does not say how a job stands")


def _answer(said: Mapping[str, Any]) -> JobAnswer:
    match said:
        case {"image": str(image), "id": str(name), "verb": str(verb)}:
            return JobAnswer(image, name, verb, wire.outcome_of(said))
    raise wire.nonsense("a line is no answer to a query")
