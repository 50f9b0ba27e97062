"""A job watched from a terminal, or from a script, until it has ended."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

from promptseg.cli import console
from promptseg.jobs.job import State
from promptseg.jobs.ledger import Status
from promptseg.jobs.queue import Queue

LOOK_EVERY = 0.3
# Where nobody reads along, a line every so many seconds is enough.
SAY_EVERY = 10.0
# Seconds without anybody at work, after which it is said who could be.
ALONE = 5.0
# Problems of a job that are said one by one.
SHOWN = 20


def watch(queue: Queue, job: str, *, as_json: bool = False) -> int:
    """Show how a job goes on until it has ended, and return the exit status that says how.

    Ctrl+C ends the watching, and not the job.

    Raises:
        JobError: there is no such job, or the ledger cannot be reached.
    """
    try:
        last = _follow(queue, job, as_json=as_json)
    except KeyboardInterrupt:
        console.note(
            f"the job goes on; `promptseg jobs watch {job}` looks again, "
            f"`promptseg jobs cancel {job}` ends it"
        )
        return console.INTERRUPTED
    if not as_json:
        for problem in last.problems[:SHOWN]:
            console.problem(problem)
        if len(last.problems) > SHOWN:
            console.problem(f"and {len(last.problems) - SHOWN} more, which `report.txt` has")
        console.note(summary(last))
    return exit_status(last)


def summary(status: Status) -> str:
    """Say in a line how a job stands."""
    counts = [
        f"{count} {word}"
        for count, word in (
            (status.queued, "queued"),
            (status.running, "running"),
            (status.done, "done"),
            (status.failed, "failed"),
            (status.cancelled, "cancelled"),
        )
        if count
    ]
    more = "" if status.is_listed or status.state.has_ended else ", and more are looked for"
    return f"job {status.id}: {status.state.value}; images: {', '.join(counts) or 'none'}{more}"


def exit_status(status: Status) -> int:
    """Return 0 where all was done, 1 where something failed, 2 where the job came to nothing."""
    if status.state is not State.DONE:
        return console.NOTHING_DONE
    is_whole = not status.failed and not status.cancelled and not status.problems
    return console.OK if is_whole else console.SOME_FAILED


def _follow(queue: Queue, job: str, *, as_json: bool) -> Status:
    """Show each change until the last, and return that."""
    states = _states(queue, job, hinting=not as_json)
    if as_json:
        said = ""
        for status in states:
            if (line := json.dumps(status.as_json())) != said:
                console.show(line)
                said = line
        return status
    if not console.is_terminal():
        return _tell(states)
    status = next(states)
    with console.meter(job, total=status.total, done=_ended(status)) as show:
        for status in states:
            show(_ended(status), status.total)
    return status


def _tell(states: Iterator[Status]) -> Status:
    """Say a line at each new state of the job, and now and then between."""
    state, line, due = None, "", 0.0
    for status in states:
        now = time.monotonic()
        if status.state.has_ended or (status.state is state and now < due):
            continue
        if summary(status) != line:
            line = summary(status)
            console.note(line)
        state, due = status.state, now + SAY_EVERY
    return status


def _states(queue: Queue, job: str, *, hinting: bool) -> Iterator[Status]:
    """Look at a job again and again; the last look is at its end."""
    began = time.monotonic()
    while True:
        status = queue.ledger.status(job)
        yield status
        if status.state.has_ended:
            return
        is_alone = status.state is State.QUEUED and time.monotonic() - began > ALONE
        if hinting and is_alone:
            console.note(
                "nobody works on this job yet; `promptseg worker` with the same `--jobs` does"
            )
            hinting = False
        time.sleep(LOOK_EVERY)


def _ended(status: Status) -> int:
    return status.done + status.failed + status.cancelled
