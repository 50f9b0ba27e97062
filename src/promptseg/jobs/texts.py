"""What a ledger writes down, as JSON, and back."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any, Protocol

from promptseg.jobs.job import Job, State
from promptseg.jobs.ledger import Item, Outcome, Status


def job_text(job: Job) -> str:
    """Write a job, the same one always alike."""
    return json.dumps(job.as_json(), sort_keys=True)


# A worker's claims are of few jobs, and the inputs of one may be many.
@lru_cache(maxsize=8)
def job_of(text: str) -> Job:
    """Read what `job_text` wrote."""
    return Job.from_json(json.loads(text))


def item_text(item: Item) -> str:
    """Write an image and its own queries; in ASCII, since a file's name may be no Unicode."""
    return json.dumps(item)


def item_of(text: str) -> Item:
    """Read what `item_text` wrote."""
    image, queries = json.loads(text)
    return Item(image, None if queries is None else tuple(queries))


def outcome_text(outcome: Outcome) -> str:
    """Write what became of an image."""
    return json.dumps({**outcome._asdict(), "state": outcome.state.value})


def outcome_of(text: str) -> Outcome:
    """Read what `outcome_text` wrote."""
    said: dict[str, Any] = json.loads(text)
    return Outcome(State(said["state"]), said["result"], said["files"], tuple(said["problems"]))


class Row(Protocol):
    """The columns of a job by their names (`sqlite_rows.SCHEMA`)."""

    def __getitem__(self, name: str, /) -> Any:
        """Return one of them."""


COUNTS = ("queued", "running", "done", "failed", "cancelled")


def status_of(row: Row) -> Status:
    """Say how a job stands."""
    return Status(
        id=row["id"],
        owner=row["owner"],
        job=job_of(row["asked"]),
        state=_state_of(row),
        is_listed=bool(row["is_listed"]),
        # What was reported before it was tried again was another end.
        is_reported=bool(row["is_reported"]) and row["ended"] is not None,
        submitted=row["submitted"],
        started=row["started"],
        ended=row["ended"],
        problems=tuple(json.loads(row["problems"])),
        **{name: row[name] for name in COUNTS},
    )


def _state_of(row: Row) -> State:
    if row["ended"] is None:
        return State.QUEUED if row["started"] is None else State.RUNNING
    if row["is_cancelled"]:
        return State.CANCELLED
    return State.DONE if row["done"] else State.FAILED
