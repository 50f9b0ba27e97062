"""What a process had in hand that died, given back by who is left; and a limit on its memory."""

from __future__ import annotations

import os
from contextlib import closing

from promptseg.jobs import memory
from promptseg.jobs.job import Job, State
from promptseg.jobs.ledger import Item
from promptseg.jobs.notes import Notes, file_of, give_back
from promptseg.jobs.sqlite_ledger import SqliteLedger


def test_what_was_in_hand_is_given_back_with_the_reason(tmp_path):
    """An image that was alone fails with it; what was noted before, or by half, does no harm."""
    with (
        closing(SqliteLedger(tmp_path / "jobs.sqlite")) as ledger,
        closing(Notes(SqliteLedger(tmp_path / "jobs.sqlite"), tmp_path)) as notes,
    ):
        job = ledger.submit(Job(inputs=("photos",), attempts=1))
        ledger.add(ledger.claim_listing(seconds=50), [Item("a.png"), Item("b.png")], seconds=50)
        first = notes.claim(most=1, seconds=50)
        notes.begin()
        assert notes.claim(most=1, seconds=50) is not None
        assert notes.claim(most=1, seconds=50) is None
        file = file_of(tmp_path, os.getpid())
        assert len(file.read_text().splitlines()) == 1
        with file.open("a") as more:
            more.write(f"{first.job} {first.token}"[:-1])
        give_back(ledger, tmp_path, os.getpid(), reason="it was struck by lightning")
        status = ledger.status(job)
        assert (status.running, status.queued, status.failed) == (1, 0, 1)
        (entry,) = ledger.entries(job)
        assert entry.item == Item("b.png")
        assert entry.outcome.state == State.FAILED
        assert entry.outcome.problems == ("it was struck by lightning",)
        give_back(ledger, tmp_path, os.getpid(), reason="there is nothing left")
        assert ledger.status(job) == status


def test_a_system_without_limits_is_warned_of(monkeypatch, caplog):
    """Where memory cannot be limited the worker goes on, and says so."""
    monkeypatch.setattr(memory, "resource", None)
    memory.limit(2**30)
    assert "no limit on a process's memory" in caplog.text
