"""`promptseg worker` on a folder: a real process that is killed, told to end, and started again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from fake_model import paint
from promptseg.cli.main import main
from promptseg.jobs.job import Job, State
from promptseg.jobs.queue import Queue

PROGRAM = [sys.executable, "-c", "from promptseg.cli.main import run; run()"]
BOX = {"verb": "segment", "box": [8, 8, 40, 40]}


@pytest.fixture
def queue(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Queue("kept") as queue:
        yield queue


def job(queue, count):
    """A job about so many tiny pictures."""
    for number in range(count):
        paint(f"photos/{number:03}.png", ("red", 0, 0, 9, 9 + number % 7), height=61, width=53)
    return queue.submit(Job(inputs=(str(Path("photos").absolute()),), queries=(BOX,)))


@contextmanager
def working(*flags):
    """Run a worker; end it afterwards."""
    with subprocess.Popen(
        [*PROGRAM, "worker", "--jobs", "kept", *flags],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                for each in [*psutil.Process(process.pid).children(recursive=True), process]:
                    each.kill()


def wait_until(condition, seconds=90.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def children(process):
    """The processes that do the work; Python has one that only looks after names."""
    return [each for each in psutil.Process(process.pid).children() if is_worker(each)]


def is_worker(process):
    with suppress(psutil.Error):  # that has ended just now
        return "spawn_main" in " ".join(process.cmdline())
    return False


def test_a_worker_whose_process_is_killed_goes_on(queue):
    """Every image ends once; with `--once` it ends when nothing is left, with status 0."""
    count = 150
    asked = job(queue, count)
    with working("--once") as process:
        for done in (10, 60):
            wait_until(lambda least=done: queue.ledger.status(asked).done >= least)
            [child] = children(process)
            child.kill()
            wait_until(lambda before=child: children(process) not in ([], [before]))
        said = process.communicate(timeout=90)[1]
    assert process.returncode == 0
    assert said.count("error:") == 0
    assert said.count("warning: the worker's process was ended by SIGKILL, and is started") == 2
    status = queue.ledger.status(asked)
    assert (status.state, status.done, status.is_reported) == (State.DONE, count, True)
    lines = queue.store.read(f"{asked}/manifest.jsonl").splitlines()
    images = [json.loads(line)["image"] for line in lines]
    assert len(images) == len(set(images)) == count


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_worker_that_is_told_to_end(queue, number):
    """Gives back what is in hand and ends with status 0; nothing is left running."""
    asked = job(queue, 300)
    with working() as process:
        wait_until(lambda: queue.ledger.status(asked).done >= 3)
        [child] = children(process)
        process.send_signal(number)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 0
    assert "Traceback" not in said
    assert not child.is_running()
    status = queue.ledger.status(asked)
    assert status.running == 0
    assert 3 <= status.done < 300


def test_the_process_of_a_killed_worker_ends_too(queue):
    """So that nobody works on unseen."""
    asked = job(queue, 300)
    with working() as process:
        wait_until(lambda: queue.ledger.status(asked).done >= 3)
        [child] = children(process)
        process.kill()
        process.wait()
        child.wait(timeout=60)
    assert queue.ledger.status(asked).running == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "no-such", "--jobs", "kept"], "no-such"),
        ([], "it is not said where jobs are kept"),
        (["--jobs", "kept", "--webhook-hosts", "a.org"], "there is no secret to sign with"),
    ],
)
def test_a_worker_that_cannot_begin_says_why(queue, capsys, arguments, said):
    """One sentence and status 2, and not again and again."""
    before = signal.getsignal(signal.SIGTERM)
    assert main(["worker", *arguments]) == 2
    errors = capsys.readouterr().err
    assert "error: " in errors
    assert said in errors
    assert signal.getsignal(signal.SIGTERM) is before
