"""The tables of a ledger in SQLite, and what may happen to their rows within a step."""

from __future__ import annotations

import sqlite3
from typing import Protocol

from promptseg.jobs.job import State
from promptseg.jobs.ledger import (
    DIED,
    OUT_OF_TIME,
    Listing,
    Outcome,
    Reporting,
    pause,
    unknown,
)
from promptseg.jobs.texts import COUNTS, outcome_text

# An image that waits is taken from `due` on: 0 for one that nobody blames, which so comes first.
# What has no outcome of its own when its job ends has that of the job, `rest`. Whoever lists a
# job, and later whoever reports it, is its holder.
SCHEMA = """
CREATE TABLE jobs (
  place INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  owner TEXT NOT NULL,
  key TEXT,
  asked TEXT NOT NULL,
  model TEXT,
  priority INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  seconds REAL,
  keep_seconds REAL,
  is_listed INTEGER NOT NULL DEFAULT 0,
  is_cancelled INTEGER NOT NULL DEFAULT 0,
  is_reported INTEGER NOT NULL DEFAULT 0,
  holder INTEGER NOT NULL DEFAULT 0,
  held_until REAL NOT NULL DEFAULT 0,
  queued INTEGER NOT NULL DEFAULT 0,
  running INTEGER NOT NULL DEFAULT 0,
  done INTEGER NOT NULL DEFAULT 0,
  failed INTEGER NOT NULL DEFAULT 0,
  cancelled INTEGER NOT NULL DEFAULT 0,
  submitted REAL NOT NULL,
  started REAL,
  deadline REAL,
  ended REAL,
  keep_until REAL,
  rest TEXT,
  problems TEXT NOT NULL DEFAULT '[]'
);
CREATE UNIQUE INDEX keys ON jobs (owner, key) WHERE key IS NOT NULL;
CREATE INDEX unlisted ON jobs (priority DESC, place) WHERE NOT is_listed AND ended IS NULL;
CREATE INDEX open ON jobs (priority DESC, place) WHERE queued > 0 AND ended IS NULL;
CREATE INDEX unreported ON jobs (place) WHERE ended IS NOT NULL AND NOT is_reported;
CREATE INDEX deadlines ON jobs (deadline) WHERE deadline IS NOT NULL AND ended IS NULL;
CREATE INDEX kept ON jobs (keep_until) WHERE keep_until IS NOT NULL;
CREATE TABLE items (
  job INTEGER NOT NULL,
  number INTEGER NOT NULL,
  item TEXT NOT NULL,
  state TEXT NOT NULL DEFAULT 'queued',
  due REAL NOT NULL DEFAULT 0,
  attempts INTEGER NOT NULL DEFAULT 0,
  token INTEGER NOT NULL DEFAULT 0,
  is_alone INTEGER NOT NULL DEFAULT 0,
  until REAL NOT NULL DEFAULT 0,
  outcome TEXT,
  PRIMARY KEY (job, number)
) WITHOUT ROWID;
CREATE INDEX waiting ON items (job, due, number) WHERE state = 'queued';
CREATE INDEX working ON items (until, job, token) WHERE state = 'running';
CREATE INDEX held ON items (job, token, number) WHERE state = 'running';
CREATE INDEX failing ON items (job, number) WHERE state IN ('failed', 'cancelled');
CREATE TABLE tokens (latest INTEGER NOT NULL);
INSERT INTO tokens VALUES (0);
"""

# What is asked all the time goes by an index, for a job may have a million images; the index is
# named where SQLite, which knows no statistics here, would take another.
NEXT_LISTING = """
SELECT * FROM jobs WHERE NOT is_listed AND ended IS NULL AND held_until <= ?
ORDER BY priority DESC, place LIMIT 1"""
NEXT_REPORT = """
SELECT * FROM jobs WHERE ended IS NOT NULL AND NOT is_reported AND held_until <= ?
ORDER BY place LIMIT 1"""
NEXT_JOB = """
SELECT * FROM jobs WHERE queued > 0 AND ended IS NULL
AND (model IS NULL OR model = :model) AND (:job IS NULL OR id = :job)
AND EXISTS (SELECT 1 FROM items WHERE job = place AND state = 'queued' AND due <= :now)
ORDER BY priority DESC, place LIMIT 1"""
NEXT_ITEMS = """
SELECT * FROM items WHERE job = ? AND state = 'queued' AND due <= ?
ORDER BY due, number LIMIT ?"""
LATE_CLAIMS = """
SELECT DISTINCT job, token FROM items INDEXED BY working WHERE state = 'running' AND until <= ?"""
LATE_JOBS = """
SELECT place FROM jobs WHERE deadline IS NOT NULL AND ended IS NULL AND deadline <= ?"""
HELD = """
SELECT * FROM items INDEXED BY held WHERE job = ? AND state = 'running' AND token = ?"""
HOLD = """
UPDATE items INDEXED BY held SET until = ? WHERE job = (SELECT place FROM jobs WHERE id = ?)
AND state = 'running' AND token = ?"""
STOP = """
UPDATE items INDEXED BY held SET state = 'queued', due = 0, attempts = 0
WHERE job = ? AND state = 'running'"""
CLEAR = """
UPDATE items INDEXED BY waiting SET due = 0, attempts = 0
WHERE job = ? AND state = 'queued' AND due > 0"""
RETRY = """
UPDATE items INDEXED BY failing SET state = 'queued', due = 0, attempts = 0, outcome = NULL
WHERE job = ? AND state IN ('failed', 'cancelled')"""
NEXT_DUE = """
SELECT min(due) FROM (
  SELECT (SELECT min(due) FROM items WHERE job = place AND state = 'queued') AS due
  FROM jobs WHERE queued > 0 AND ended IS NULL
  AND (model IS NULL OR model = :model) AND (:job IS NULL OR id = :job)
  UNION ALL
  SELECT min(until) FROM items JOIN jobs ON place = items.job WHERE state = 'running'
  AND (model IS NULL OR model = :model) AND (:job IS NULL OR id = :job)
  UNION ALL
  SELECT min(held_until) FROM jobs WHERE NOT is_listed AND ended IS NULL
  AND (:job IS NULL OR id = :job)
  UNION ALL
  SELECT min(held_until) FROM jobs WHERE ended IS NOT NULL AND NOT is_reported
  AND (:job IS NULL OR id = :job)
  UNION ALL
  SELECT min(deadline) FROM jobs WHERE deadline IS NOT NULL AND ended IS NULL
  AND (:job IS NULL OR id = :job))"""


class Run(Protocol):
    """Do one statement, with values for its question marks or, by `named`, for its names."""

    def __call__(self, statement: str, *values: object, **named: object) -> sqlite3.Cursor:
        """Return what it found."""


def job_row(run: Run, job: str, owner: str | None = None) -> sqlite3.Row:
    """Find a job, of an owner if one is said.

    Raises:
        JobError: there is none.
    """
    found = run("SELECT * FROM jobs WHERE id = ? AND (? IS NULL OR owner = ?)", job, owner, owner)
    row: sqlite3.Row | None = found.fetchone()
    if row is None:
        raise unknown(job)
    return row


def held_row(run: Run, held: Listing | Reporting) -> sqlite3.Row | None:
    """Find the job of a listing or a report that still holds."""
    still = "NOT is_listed AND ended IS NULL"
    if isinstance(held, Reporting):
        still = "NOT is_reported AND ended IS NOT NULL"
    found = run(f"SELECT * FROM jobs WHERE id = ? AND holder = ? AND {still}", held.job, held.token)
    row: sqlite3.Row | None = found.fetchone()
    return row


def hold(run: Run, row: sqlite3.Row, until: float) -> int:
    """Let somebody list or report a job; return the token."""
    token = next_token(run)
    run("UPDATE jobs SET holder = ?, held_until = ? WHERE place = ?", token, until, row["place"])
    return token


def next_token(run: Run) -> int:
    """Return a token that is larger than every one before."""
    [token] = run("UPDATE tokens SET latest = latest + 1 RETURNING latest").fetchall()[0]
    return int(token)


def settle(run: Run, now: float) -> None:
    """Take back the claims that have run out, and end the jobs whose time is over."""
    for place, token in run(LATE_CLAIMS, now).fetchall():
        row = run("SELECT * FROM jobs WHERE place = ?", place).fetchone()
        give_back(run, row, token, DIED, now)
    for [place] in run(LATE_JOBS, now).fetchall():
        end_rest(run, place, Outcome(State.FAILED, problems=(OUT_OF_TIME,)), now)


def give_back(run: Run, row: sqlite3.Row, token: int, why: str | None, now: float) -> None:
    """Let the images of a claim wait again; one that was alone may have had its last attempt."""
    place = row["place"]
    for item in run(HELD, place, token).fetchall():
        had = item["attempts"] + (1 if item["is_alone"] and why else 0)
        if why and had >= row["attempts"]:
            state, due = "failed", 0.0
            outcome = outcome_text(Outcome(State.FAILED, problems=(why,)))
        else:
            # Whom nobody blames keeps its turn.
            state, due, outcome = "queued", now + pause(had) if why else item["due"], None
        run(
            "UPDATE items SET state = ?, due = ?, attempts = ?, outcome = ?"
            " WHERE job = ? AND number = ?",
            *(state, due, had, outcome, place, item["number"]),
        )
        move(run, place, 1, "running", state)
    end_if_over(run, place, now)


def move(run: Run, place: int, count: int, before: str, after: str) -> None:
    """Count images in another state."""
    assert before in COUNTS
    assert after in COUNTS
    run(
        f"UPDATE jobs SET {before} = {before} - ?, {after} = {after} + ? WHERE place = ?",
        *(count, count, place),
    )


def end_rest(run: Run, place: int, outcome: Outcome, now: float) -> None:
    """End all that waits and is worked on, and the job."""
    state = outcome.state.value
    assert state in COUNTS
    run(STOP, place)
    run(CLEAR, place)
    run(
        f"UPDATE jobs SET {state} = {state} + queued + running, queued = 0, running = 0, rest = ?"
        " WHERE place = ?",
        *(outcome_text(outcome), place),
    )
    end(run, place, now)


def end_if_over(run: Run, place: int, now: float) -> None:
    """End a job that has no image left to be answered, and gets no more."""
    row = run("SELECT is_listed, queued, running FROM jobs WHERE place = ?", place).fetchone()
    if tuple(row) == (1, 0, 0):
        end(run, place, now)


def end(run: Run, place: int, now: float) -> None:
    """Say that a job has ended, if it had not."""
    run(
        "UPDATE jobs SET ended = ?1, keep_until = ?1 + keep_seconds, holder = 0, held_until = 0,"
        " is_reported = 0 WHERE place = ?2 AND ended IS NULL",
        *(now, place),
    )


def total(row: sqlite3.Row) -> int:
    """Count the images that are known."""
    return sum(int(row[name]) for name in COUNTS)
