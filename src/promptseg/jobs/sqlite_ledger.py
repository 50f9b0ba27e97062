"""A ledger in one file, for one machine: any number of threads and processes may share it."""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from promptseg.errors import JobError, reason
from promptseg.jobs.job import Job, State
from promptseg.jobs.ledger import (
    Claim,
    Claimed,
    Entry,
    Item,
    Listing,
    Outcome,
    Reporting,
    Status,
    not_ended,
    used,
)
from promptseg.jobs.sqlite_rows import (
    HOLD,
    NEXT_DUE,
    NEXT_ITEMS,
    NEXT_JOB,
    NEXT_LISTING,
    NEXT_REPORT,
    RETRY,
    SCHEMA,
    Run,
    end_if_over,
    end_rest,
    give_back,
    held_row,
    hold,
    job_row,
    move,
    next_token,
    settle,
    total,
)
from promptseg.jobs.texts import (
    item_of,
    item_text,
    job_of,
    job_text,
    outcome_of,
    outcome_text,
    status_of,
)

# Seconds that a step waits for those of others.
PATIENCE = 30.0
# Images read at a time where all of a job are gone through.
PAGE = 1000
VERSION = 1
# Tells our files from those of others (SQLite, "Database File Format", 1.3.14).
APPLICATION = 0x70736A62


class SqliteLedger:
    """A `Ledger` in a file of SQLite, which is made; `:memory:` is one for this process alone.

    A step that was taken outlives the process; one just before a loss of power may be lost, and its
    work is done again. `clock` gives seconds since 1970.

    Raises:
        JobError: the file cannot be opened, or is none of ours.
    """

    def __init__(self, path: str | Path, *, clock: Callable[[], float] = time.time) -> None:
        self.path = Path(path)
        self._clock = clock
        self._lock = threading.Lock()
        try:
            if str(path) != ":memory:":
                self.path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(
                str(path), timeout=PATIENCE, isolation_level=None, check_same_thread=False
            )
            self._database.row_factory = sqlite3.Row
            try:
                self._prepare()
            except BaseException:
                self._database.close()
                raise
        except (sqlite3.Error, OSError) as error:
            raise JobError(
                f"cannot open the jobs in `{path}`: {_said(error)}",
                hint="Name a file that can be written to, or one that promptseg has made",
            ) from error

    def submit(self, job: Job, *, owner: str = "") -> str:
        """Take a job on, as `Ledger.submit`."""
        asked = job_text(job)
        with self._step() as (run, now):
            before = run("SELECT id, asked FROM jobs WHERE owner = ? AND key = ?", owner, job.key)
            for known in before:
                if known["asked"] != asked:
                    raise used(str(job.key), known["id"])
                return str(known["id"])
            name = secrets.token_hex(12)
            run(
                "INSERT INTO jobs (id, owner, key, asked, model, priority, attempts, seconds,"
                " keep_seconds, submitted) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                *(name, owner, job.key, asked, job.model, job.priority, job.attempts),
                *(job.seconds, job.keep_seconds, now),
            )
            return name

    def claim_listing(self, *, seconds: float) -> Listing | None:
        """Take on a listing, as `Ledger.claim_listing`."""
        with self._step() as (run, now):
            settle(run, now)
            row = run(NEXT_LISTING, now).fetchone()
            if row is None:
                return None
            until = now + seconds
            token = hold(run, row, until)
            return Listing(row["id"], job_of(row["asked"]), token, total(row), until)

    def add(self, listing: Listing, items: Sequence[Item], *, seconds: float) -> bool:
        """Add images, as `Ledger.add`."""
        with self._step() as (run, now):
            row = held_row(run, listing)
            if row is None:
                return False
            self._database.executemany(
                "INSERT INTO items (job, number, item) VALUES (?, ?, ?)",
                (
                    (row["place"], number, item_text(item))
                    for number, item in enumerate(items, start=total(row))
                ),
            )
            run(
                "UPDATE jobs SET queued = queued + ?, held_until = ? WHERE place = ?",
                *(len(items), now + seconds, row["place"]),
            )
            return True

    def listed(self, listing: Listing, problems: Sequence[str] = ()) -> bool:
        """End a listing, as `Ledger.listed`."""
        with self._step() as (run, now):
            row = held_row(run, listing)
            if row is None:
                return False
            run(
                "UPDATE jobs SET is_listed = 1, problems = ? WHERE place = ?",
                *(json.dumps(list(problems)), row["place"]),
            )
            end_if_over(run, row["place"], now)
            return True

    def claim(
        self, *, most: int, seconds: float, model: str | None = None, job: str | None = None
    ) -> Claim | None:
        """Take on images, as `Ledger.claim`."""
        with self._step() as (run, now):
            settle(run, now)
            row = run(NEXT_JOB, model=model, job=job, now=now).fetchone()
            if row is None:
                return None
            found = run(NEXT_ITEMS, row["place"], now, most).fetchall()
            taken = [item for item in found if item["due"] == 0] or found[:1]
            token, until = next_token(run), now + seconds
            self._database.executemany(
                "UPDATE items SET state = 'running', token = ?, until = ?, is_alone = ?"
                " WHERE job = ? AND number = ?",
                [(token, until, len(taken) == 1, *item[:2]) for item in taken],
            )
            run(
                "UPDATE jobs SET queued = queued - ?1, running = running + ?1,"
                " started = coalesce(started, ?2), deadline = coalesce(deadline, ?2 + seconds)"
                " WHERE place = ?3",
                *(len(taken), now, row["place"]),
            )
            items = tuple(
                Claimed(item["number"], item_of(item["item"]), item["attempts"]) for item in taken
            )
            return Claim(row["id"], job_of(row["asked"]), token, items, until)

    def claim_reporting(self, *, seconds: float) -> Reporting | None:
        """Take on a report, as `Ledger.claim_reporting`."""
        with self._step() as (run, now):
            settle(run, now)
            row = run(NEXT_REPORT, now).fetchone()
            if row is None:
                return None
            until = now + seconds
            return Reporting(row["id"], job_of(row["asked"]), hold(run, row, until), until)

    def reported(self, reporting: Reporting) -> bool:
        """End a report, as `Ledger.reported`."""
        with self._step() as (run, _):
            row = held_row(run, reporting)
            if row is None:
                return False
            run("UPDATE jobs SET is_reported = 1 WHERE place = ?", row["place"])
            return True

    def extend(self, claim: Claim | Reporting, seconds: float) -> bool:
        """Hold a claim, as `Ledger.extend`."""
        with self._step() as (run, now):
            if isinstance(claim, Claim):
                return run(HOLD, now + seconds, claim.job, claim.token).rowcount > 0
            row = held_row(run, claim)
            if row is None:
                return False
            run("UPDATE jobs SET held_until = ? WHERE place = ?", now + seconds, row["place"])
            return True

    def finish(self, claim: Claim, number: int, outcome: Outcome) -> bool:
        """End an image, as `Ledger.finish`."""
        with self._step() as (run, now):
            row = run("SELECT place FROM jobs WHERE id = ?", claim.job).fetchone()
            if row is None:
                return False
            ended = run(
                "UPDATE items SET state = ?, outcome = ?, due = 0"
                " WHERE job = ? AND number = ? AND state = 'running' AND token = ?",
                *(outcome.state.value, outcome_text(outcome), row["place"], number, claim.token),
            )
            if ended.rowcount == 0:
                return False
            move(run, row["place"], 1, "running", outcome.state.value)
            end_if_over(run, row["place"], now)
            return True

    def release(self, claim: Claim | Listing | Reporting, *, reason: str | None = None) -> None:
        """Give back a claim, as `Ledger.release`."""
        with self._step() as (run, now):
            if isinstance(claim, Claim):
                row = run("SELECT * FROM jobs WHERE id = ?", claim.job).fetchone()
                if row is not None:
                    give_back(run, row, claim.token, reason, now)
            else:
                row = held_row(run, claim)
                if row is not None:
                    run("UPDATE jobs SET holder = 0, held_until = 0 WHERE place = ?", row["place"])

    def status(self, job: str, *, owner: str | None = None) -> Status:
        """Say how a job stands, as `Ledger.status`."""
        with self._step() as (run, now):
            job_row(run, job, owner)
            settle(run, now)
            return status_of(job_row(run, job))

    def jobs(self, *, owner: str | None = None) -> list[Status]:
        """Say how jobs stand, as `Ledger.jobs`."""
        with self._step() as (run, now):
            settle(run, now)
            rows = run(
                "SELECT * FROM jobs WHERE ? IS NULL OR owner = ? ORDER BY place DESC", owner, owner
            )
            return [status_of(row) for row in rows]

    def entries(self, job: str, *, start: int = 0) -> Iterator[Entry]:
        """Go through what has ended, as `Ledger.entries`."""
        while True:
            with self._step() as (run, _):
                row = job_row(run, job)
                rows = run(
                    "SELECT number, item, coalesce(outcome, ?1) AS outcome FROM items"
                    " WHERE job = ?2 AND number >= ?3 AND coalesce(outcome, ?1) IS NOT NULL"
                    " ORDER BY number LIMIT ?4",
                    *(row["rest"], row["place"], start, PAGE),
                ).fetchall()
            for each in rows:
                yield Entry(each["number"], item_of(each["item"]), outcome_of(each["outcome"]))
            if len(rows) < PAGE:
                return
            start = rows[-1]["number"] + 1

    def cancel(self, job: str) -> Status:
        """End what is left of a job, as `Ledger.cancel`."""
        with self._step() as (run, now):
            row = job_row(run, job)
            if row["ended"] is None:
                run("UPDATE jobs SET is_cancelled = 1 WHERE place = ?", row["place"])
                end_rest(run, row["place"], Outcome(State.CANCELLED), now)
            return status_of(job_row(run, job))

    def retry(self, job: str) -> Status:
        """Let images wait again, as `Ledger.retry`."""
        with self._step() as (run, _):
            row = job_row(run, job)
            if row["ended"] is not None:
                run(
                    "UPDATE jobs SET ended = NULL, is_cancelled = 0, keep_until = NULL,"
                    " rest = NULL, deadline = NULL, holder = 0, held_until = 0"
                    " WHERE place = ? AND (NOT is_listed OR failed + cancelled > 0)",
                    row["place"],
                )
            run(RETRY, row["place"])
            run(
                "UPDATE jobs SET queued = queued + failed + cancelled, failed = 0, cancelled = 0"
                " WHERE place = ?",
                row["place"],
            )
            return status_of(job_row(run, job))

    def forget(self, job: str) -> None:
        """Drop a job, as `Ledger.forget`."""
        with self._step() as (run, _):
            row = job_row(run, job)
            if row["ended"] is None:
                raise not_ended(job)
            run("DELETE FROM items WHERE job = ?", row["place"])
            run("DELETE FROM jobs WHERE place = ?", row["place"])

    def overdue(self) -> list[str]:
        """Name what need not be kept, as `Ledger.overdue`."""
        with self._step() as (run, now):
            found = run("SELECT id FROM jobs WHERE keep_until <= ? ORDER BY keep_until, place", now)
            return [row["id"] for row in found]

    def next_due(self, *, model: str | None = None, job: str | None = None) -> float | None:
        """Say when there is something to do, as `Ledger.next_due`."""
        with self._step() as (run, now):
            [due] = run(NEXT_DUE, model=model, job=job).fetchone()
            return None if due is None else max(due - now, 0.0)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._database.close()

    def _prepare(self) -> None:
        """Make the tables, or see that they are ours."""
        with self._whole() as (run, _):
            [tables] = run("SELECT count(*) FROM sqlite_master").fetchone()
            [application] = run("PRAGMA application_id").fetchone()
            [version] = run("PRAGMA user_version").fetchone()
            if tables == 0:
                for statement in SCHEMA.split(";\n"):
                    run(statement)
                run(f"PRAGMA application_id = {APPLICATION}")
                run(f"PRAGMA user_version = {VERSION}")
            elif application != APPLICATION:
                raise OSError("it is a database of something else")
            elif version != VERSION:
                raise OSError(f"it is of version {version}, and this is {VERSION}")
        # Readers and a writer do not wait for each other (SQLite, "Write-Ahead Logging").
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")

    @contextmanager
    def _step(self) -> Iterator[tuple[Run, float]]:
        """Do several statements wholly or not at all; alone, in whatever process."""
        try:
            with self._whole() as step:
                yield step
        except (sqlite3.Error, UnicodeError) as error:
            raise JobError(f"the jobs in `{self.path}` fail: {_said(error)}") from error

    @contextmanager
    def _whole(self) -> Iterator[tuple[Run, float]]:
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._run, self._clock()
                self._database.execute("COMMIT")
            except BaseException:
                # A full disk has rolled back already.
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")
                raise

    def _run(self, statement: str, *values: object, **named: object) -> sqlite3.Cursor:
        return self._database.execute(statement, named or values)


def _said(error: Exception) -> str:
    return reason(error) if isinstance(error, OSError) else str(error)
