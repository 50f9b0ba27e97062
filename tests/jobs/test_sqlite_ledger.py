"""The ledger in a file."""

from __future__ import annotations

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from hypothesis.stateful import run_state_machine_as_test
from ledger_rules import MANY_STEPS, STEPS, Clock, LedgerRules
from ledger_workers import require_once, work_and_die

from promptseg.errors import JobError
from promptseg.jobs import sqlite_rows
from promptseg.jobs.job import Job, State
from promptseg.jobs.ledger import Item, Outcome
from promptseg.jobs.sqlite_ledger import SqliteLedger

JOB = Job(inputs=("photos",))


class Rules(LedgerRules):
    def open(self, clock):
        return SqliteLedger(":memory:", clock=clock)


def test_it_does_what_a_plain_one_does():
    """In whatever order things happen, the ledger gives what lists of plain objects give."""
    run_state_machine_as_test(Rules, settings=STEPS)


def test_every_image_ends_once_though_processes_are_killed(tmp_path):
    """Three processes on one file, one of them killed every moment: nothing lost, or done twice."""
    path = tmp_path / "jobs.db"
    require_once(*work_and_die(str(path), tmp_path, count=400, seed=8), count=400)
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        states = database.execute("SELECT state, count(*) FROM items GROUP BY state").fetchall()
    assert states == [("done", 400)]


def test_many_may_make_one_file_at_a_time(tmp_path):
    """Whoever comes first makes the tables; nobody is told that the file is locked."""
    path = tmp_path / "jobs.db"
    start = threading.Barrier(8)

    def submit(_):
        start.wait()
        with closing(SqliteLedger(path)) as ledger:
            return ledger.submit(JOB)

    with ThreadPoolExecutor(8) as pool:
        names = set(pool.map(submit, range(8)))
    with closing(SqliteLedger(path)) as ledger:
        assert {status.id for status in ledger.jobs()} == names
    assert len(names) == 8


def test_what_was_asked_is_there_after_a_restart(tmp_path):
    """A file that is opened again has what it had, and what was worked on is taken on again."""
    clock = Clock()
    with closing(SqliteLedger(tmp_path / "jobs.db", clock=clock)) as ledger:
        name = ledger.submit(JOB)
        listing = ledger.claim_listing(seconds=10)
        ledger.add(listing, [Item("a.png"), Item("b.png")], seconds=10)
        first = ledger.claim(most=1, seconds=10)
        ledger.finish(first, 0, Outcome(State.DONE))
        ledger.claim(most=1, seconds=10)
    clock.now += 11
    with closing(SqliteLedger(tmp_path / "jobs.db", clock=clock)) as ledger:
        assert ledger.claim_listing(seconds=10).known == 2
        assert ledger.status(name).done == 1
        # It may have been the end of its worker, which is let rest for a second.
        assert ledger.claim(most=2, seconds=10) is None
        assert ledger.next_due() == 1.0
        clock.now += 1
        again = ledger.claim(most=2, seconds=10)
        assert [(item.number, item.attempts) for item in again.items] == [(1, 1)]
        assert again.token > first.token


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("CREATE TABLE photos (name)", "it is a database of something else"),
        ("PRAGMA user_version = 9", "it is of version 9, and this is 1"),
    ],
)
def test_a_file_of_others_is_refused(tmp_path, statement, said):
    """A database that is not ours, or is of another version, stays as it is."""
    path = tmp_path / "jobs.db"
    if "version" in statement:
        SqliteLedger(path).close()
    with closing(sqlite3.connect(path)) as database:
        database.execute(statement)
    before = path.read_bytes()
    with pytest.raises(JobError, match=said):
        SqliteLedger(path)
    assert path.read_bytes() == before


def test_what_is_no_database_is_refused(tmp_path):
    """A text, a folder, and a place where nothing can be made each give one sentence."""
    text = tmp_path / "jobs.txt"
    text.write_text("a list of jobs " * 100)
    for path in (text, tmp_path, text / "jobs.db"):
        with pytest.raises(JobError, match="cannot open the jobs in"):
            SqliteLedger(path)


def test_a_full_disk_is_one_sentence_and_changes_nothing(tmp_path):
    """What does not fit is not there at all, and what was there can still be worked on."""
    with closing(SqliteLedger(tmp_path / "jobs.db")) as ledger:
        name = ledger.submit(JOB)
        listing = ledger.claim_listing(seconds=100)
        ledger.add(listing, [Item("a.png")], seconds=100)
        [pages] = ledger._database.execute("PRAGMA page_count").fetchone()
        ledger._database.execute(f"PRAGMA max_page_count = {pages + 4}")
        with pytest.raises(JobError, match="database or disk is full"):
            ledger.add(listing, [Item("b" * 1000)] * 1000, seconds=100)
        assert ledger.status(name).total == 1
        assert ledger.finish(ledger.claim(most=1, seconds=9), 0, Outcome(State.DONE))


def test_a_closed_one_says_so(tmp_path):
    """A step after the end is an error with a sentence."""
    ledger = SqliteLedger(tmp_path / "jobs.db")
    ledger.close()
    with pytest.raises(JobError, match="closed"):
        ledger.jobs()


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (sqlite_rows.NEXT_LISTING, "unlisted"),
        (sqlite_rows.NEXT_REPORT, "unreported"),
        (sqlite_rows.NEXT_JOB, "open"),
        (sqlite_rows.NEXT_JOB, "waiting (job=? AND due<?)"),
        (sqlite_rows.NEXT_ITEMS, "waiting (job=? AND due<?)"),
        (sqlite_rows.LATE_CLAIMS, "working (until<?)"),
        (sqlite_rows.LATE_JOBS, "deadlines"),
        (sqlite_rows.HELD, "held (job=? AND token=?)"),
        (sqlite_rows.HOLD, "held (job=? AND token=?)"),
        (sqlite_rows.STOP, "held (job=?)"),
        (sqlite_rows.CLEAR, "waiting (job=? AND due>?)"),
        (sqlite_rows.RETRY, "failing (job=?)"),
        (sqlite_rows.NEXT_DUE, "working"),
    ],
)
def test_what_is_asked_all_the_time_goes_by_an_index(query, index):
    """No step goes through the images of a job, of which there may be a million."""
    with closing(SqliteLedger(":memory:")) as ledger:
        values = [1] * query.count("?") or {"model": None, "job": None, "now": 1}
        plan = [each[3] for each in ledger._database.execute(f"EXPLAIN QUERY PLAN {query}", values)]
    assert any(f"INDEX {index}" in step for step in plan), plan
    assert not any(step in ("SCAN items", "SCAN jobs") for step in plan), plan


def test_a_step_is_as_quick_with_many_images():
    """Images that are not asked for cost nothing: a thousand times as many take about as long."""
    few, many = (steps_of(SqliteLedger(":memory:"), count) for count in (100, 100_000))
    assert many < 20 * few


def steps_of(ledger, count):
    """Count what SQLite does for a few steps of a job of so many images."""
    done = 0

    def counted():
        nonlocal done
        done += 1

    with closing(ledger):
        ledger.submit(JOB)
        listing = ledger.claim_listing(seconds=10)
        ledger.add(listing, [Item("a.png")] * count, seconds=10)
        ledger._database.set_progress_handler(counted, 10)
        claims = [ledger.claim(most=8, seconds=10) for _ in range(4)]
        ledger.finish(claims[0], 0, Outcome(State.DONE))
        ledger.extend(claims[1], 10)
        ledger.release(claims[2], reason="it hung")
        ledger.next_due()
        ledger.cancel(listing.job)
        ledger.retry(listing.job)
    return done


@pytest.mark.full
def test_it_does_what_a_plain_one_does_for_long():
    """As above, with many more orders."""
    run_state_machine_as_test(Rules, settings=MANY_STEPS)
