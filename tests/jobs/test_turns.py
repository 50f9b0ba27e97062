"""The work of one process of a worker, through trouble that is not an image's."""

from __future__ import annotations

import threading

import promptseg
from fake_finder import FakeBoth
from fake_model import model_of, paint
from promptseg.errors import OutputError
from promptseg.jobs import turns as module
from promptseg.jobs.files import LocalFiles
from promptseg.jobs.job import Job
from promptseg.jobs.notes import Notes
from promptseg.jobs.process import Bell
from promptseg.jobs.queue import Queue
from promptseg.jobs.turns import Turns
from promptseg.settings import Settings

CLICK = {"verb": "segment", "points": [[5, 5]]}
SOON = 20.0


def test_a_store_without_room_is_tried_again_later_each_time(tmp_path, monkeypatch, caplog):
    """A night with a full disk is no log of a line each second, nor all its images again."""
    paint(tmp_path / "in" / "one.png", ("red", 2, 2, 9, 9))
    settings = Settings(jobs=str(tmp_path / "jobs"))
    monkeypatch.setattr(promptseg, "load", lambda *_, **__: model_of(FakeBoth()))
    monkeypatch.setattr(module, "SOON", 0.25)
    is_full = threading.Event()
    is_full.set()
    write = LocalFiles.write

    def refuse(files, address, parts):
        if is_full.is_set():
            raise OutputError("no room")
        write(files, address, parts)

    monkeypatch.setattr(LocalFiles, "write", refuse)
    made = []

    def noted(*arguments):
        made.append(Notes(*arguments))
        return made[0]

    monkeypatch.setattr(module, "Notes", noted)  # which is closed here, as no process ends

    with Queue.of(settings) as queue:
        job = queue.submit(Job(inputs=(str(tmp_path / "in"),), queries=(CLICK,)))
        turns = Turns(settings, tmp_path, Bell(), once=False)
        turns.start()
        try:
            taken = [turns.take() for _ in range(3)]
            is_full.clear()
            taken.append(turns.take())
        finally:
            turns.close()
            made[0].close()
        assert taken == [0, 0, 0, 1]
        assert queue.ledger.status(job).done == 1
    said = [each.getMessage() for each in caplog.records if "work on" in each.getMessage()]
    assert [line.partition(" s:")[0].rpartition(" ")[2] for line in said] == ["0.25", "0.5", "1"]
