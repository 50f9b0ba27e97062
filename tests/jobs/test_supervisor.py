"""The process that works on a folder's queue: images that end it, and its own end."""

from __future__ import annotations

import threading
import time
from functools import partial
from pathlib import Path

import pytest
import supervised

from fake_model import paint
from promptseg import errors
from promptseg.cli.worker import _work
from promptseg.errors import ConfigError, JobError
from promptseg.jobs import supervisor as module
from promptseg.jobs.job import Job, State
from promptseg.jobs.queue import Queue
from promptseg.jobs.supervisor import Supervisor
from promptseg.settings import Settings

RED = {"verb": "find", "text": "red"}


@pytest.fixture
def queue(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Queue("kept") as queue:
        yield queue


def settings(**more):
    return Settings(jobs="kept", **more)


def pictures(count):
    for number in range(count):  # all different, as the same one is not asked about twice
        paint(f"photos/{number:02}.png", ("red", 0, 0, 4, 4), width=24 + number)


def job(queue, **more):
    return queue.submit(Job(inputs=(str(Path("photos").absolute()),), queries=(RED,), **more))


def wait_until(condition, seconds=40.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_images_that_end_the_process_fail_and_their_neighbours_do_not(queue, caplog):
    """One that segfaults and one that hangs: each fails with its reason."""
    pictures(6)
    paint("photos/03-poison.png", ("green", 0, 0, 14, 14))
    paint("photos/04-hang.png", ("blue", 0, 0, 14, 14))
    asked = job(queue, attempts=1, item_seconds=1.0)
    Supervisor(queue, partial(supervised.poisoned, settings()), pause=0.01).run()
    problems = {
        Path(entry.item.image).name: entry.outcome.problems
        for entry in queue.ledger.entries(asked)
        if entry.outcome.state is State.FAILED
    }
    assert problems == {
        "03-poison.png": ("its worker was ended by SIGSEGV",),
        "04-hang.png": ("it took longer than 1 s, its job's `item_seconds`",),
    }
    status = queue.ledger.status(asked)
    assert (status.done, status.failed, status.is_reported) == (6, 2, True)
    assert "ended by SIGSEGV, and is started again" in caplog.text


def test_stopped_it_gives_back_what_it_has_in_hand(queue):
    """At once, and not as what ended badly: another may go on with all of it."""
    pictures(30)
    asked = job(queue)
    supervisor = Supervisor(queue, partial(supervised.slow, settings()))
    thread = threading.Thread(target=supervisor.run)
    thread.start()
    try:
        wait_until(lambda: queue.ledger.status(asked).done >= 2)
    finally:
        supervisor.stop()
        thread.join()
    status = queue.ledger.status(asked)
    assert status.running == 0
    assert 2 <= status.done < 30
    assert status.queued == 30 - status.done
    claim = queue.ledger.claim(most=30, seconds=60)
    assert len(claim.items) == status.queued
    assert {each.attempts for each in claim.items} == {0}


def test_what_hears_nothing_is_ended(queue):
    """After a while, or at once where it is said twice."""
    for grace, stops in ((0.3, 1), (60.0, 2)):
        supervisor = Supervisor(queue, supervised.deaf, grace=grace)
        thread = threading.Thread(target=supervisor.run)
        thread.start()
        wait_until(lambda made=supervisor: made._child is not None and made._child.pid)
        for _ in range(stops):
            supervisor.stop()
        began = time.monotonic()
        thread.join()
        assert time.monotonic() - began < 20


def test_what_dies_before_it_is_ready_is_not_started_for_ever(queue):
    """Three times, then it is said."""
    with pytest.raises(JobError, match="ended 3 times before it was ready, with the status 3"):
        Supervisor(queue, supervised.dying, pause=0.01).run()


def test_what_cannot_begin_says_why(queue):
    """Such as a model that there is none of, once and not three times."""
    work = partial(_work, settings(model="no-such"), once=True, most_bytes=None)
    with pytest.raises(ConfigError, match="no-such"):
        Supervisor(queue, work).run()


@pytest.mark.parametrize("kind", ["OutputError", "MissingExtraError"])
def test_what_a_process_says_is_raised_whatever_else_it_is(queue, kind):
    """Some of our errors are the system's as well, which are no word of the process."""
    work = partial(supervised.refusing, {"kind": kind, "message": "no room", "hint": None})
    with pytest.raises(getattr(errors, kind), match="no room"):
        Supervisor(queue, work).run()


def test_how_a_process_ended_is_said():
    """By a signal's name where it has one."""
    assert module._how(-9) == "by SIGKILL"
    assert module._how(-200) == "by the signal 200"
    assert module._how(2) == "with the status 2"
