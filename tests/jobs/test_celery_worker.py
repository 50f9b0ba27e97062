"""Workers of a Redis: real processes, images that end them, and a Redis that goes."""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import time

import pytest
import redis
import redis_server
from celery_farm import Farm
from celery_worker import CRASHES, EATS, HANGS, KILLS

from fake_model import model_of
from fake_network import FakeNetwork
from promptseg.errors import ConfigError, MissingExtraError
from promptseg.jobs import celery_app
from promptseg.jobs.job import State
from promptseg.jobs.pipeline import Pace
from promptseg.settings import Settings

# Images that the fake network is asked about at a time, on the CPU.
GROUP = Pace.of(model_of(FakeNetwork())).group

pytestmark = [
    pytest.mark.enable_socket,
    pytest.mark.skipif(redis_server.PROGRAM is None, reason=redis_server.MISSING),
]


@pytest.fixture
def farm(tmp_path):
    with Farm(tmp_path) as made:
        yield made


POISON = {
    "crashes": (CRASHES, "its worker was ended by signal 11 (SIGSEGV)"),
    "ends": (KILLS, "its worker was ended by exitcode 7"),
    "hangs": (HANGS, "it took longer than 2 s, its job's `item_seconds`"),
    "eats": (EATS, "out of memory"),
}


def test_an_image_that_ends_its_worker_fails_alone(farm):
    """One that crashes, one that hangs and one that eats memory fail with what they did."""
    farm.paint_many(19)
    for name, (colour, _) in POISON.items():
        farm.paint(name, colour)
    job = farm.submit(attempts=2, item_seconds=2.0)
    # Celery may find out five seconds late that a process has died.
    worker = farm.start(most_bytes=2 * 2**30, lease=20.0)
    status = farm.status_at_end(job, seconds=120)
    assert (status.done, status.failed) == (19, 4), farm.said()
    for entry in farm.queue.ledger.entries(job):
        name = entry.item.image.rpartition("/")[2].removesuffix(".png")
        if name in POISON:
            assert entry.outcome.state == State.FAILED
            assert POISON[name][1] in entry.outcome.problems[0]
        else:
            assert entry.outcome.state == State.DONE
    assert worker.stop() == 0


def test_a_worker_that_comes_back_from_the_dead_cannot_overwrite(farm):
    """What one says that was stopped past its lease does not count; the newer answer stays."""
    farm.paint_many(1)
    job = farm.submit()
    late = farm.start(seconds=2.0, lease=1.0, digest="late")
    farm.until(lambda: list(farm.notes.glob("*.begun")))
    late.send(signal.SIGSTOP)
    farm.start(digest="newer")
    assert farm.status_at_end(job).done == 1
    before = list(farm.queue.ledger.entries(job))
    late.send(signal.SIGCONT)
    # Its own answer is another, and has come as far as the store.
    farm.until(lambda: len(list(farm.queue.store.names(job))) == 2)
    assert late.stop() == 0
    assert list(farm.queue.ledger.entries(job)) == before
    assert farm.queue.ledger.status(job).done == 1
    assert farm.asked().total() == 2


def test_a_worker_that_is_told_to_end_gives_back_what_it_has(farm):
    """What was not begun can be claimed at once, and nobody is blamed for it."""
    farm.paint_many(60)
    job = farm.submit(attempts=1)
    first = farm.start(seconds=0.3, lease=600.0)
    farm.until(lambda: farm.asked().total() >= 2)
    began = time.monotonic()
    assert first.stop() == 0
    assert time.monotonic() - began < 15
    status = farm.queue.ledger.status(job)
    assert (status.running, status.failed) == (0, 0)
    assert status.queued > 0
    assert farm.start(once=True).process.wait(60) == 0, farm.said()
    assert farm.queue.ledger.status(job).done == 60
    # Some were in hand of the model as it was told.
    assert farm.asked().total() <= 60 + GROUP


def test_a_second_signal_ends_at_once(farm):
    """Whoever does not want to wait for the image in hand tells it twice."""
    farm.paint("hangs", HANGS)
    farm.submit()
    worker = farm.start()
    farm.until(lambda: list(farm.notes.glob("*.begun")))
    child = worker.child()
    worker.process.send_signal(signal.SIGTERM)
    time.sleep(1)
    assert worker.process.poll() is None
    assert worker.stop() == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        farm.until(lambda: os.kill(child, 0))


def test_messages_are_sent_again_where_they_are_lost(farm):
    """What was submitted to a Redis whose messages are gone is found and done."""
    farm.paint_many(3)
    job = farm.submit()
    farm.queue.ledger._redis.delete("promptseg-default")
    worker = farm.start()
    assert farm.status_at_end(job).done == 3
    assert worker.stop() == 0


def test_no_more_messages_wait_than_one(farm):
    """However often a queue is woken, one message waits, and says nothing."""
    for _ in range(5):
        farm.queue.wake()
    with redis.Redis.from_url(farm.redis.address) as client:
        (message,) = client.lrange("promptseg-default", 0, -1)
    assert json.loads(message)["headers"]["argsrepr"] == "()"


def test_what_cannot_be_woken_looks_for_itself(farm, caplog):
    """That nobody could be woken is logged, and is no failure: the job was taken already."""
    farm.redis.kill()
    began = time.monotonic()
    farm.queue.wake()
    assert "no worker of the queue `default` was woken" in caplog.text
    assert time.monotonic() - began < 10


def test_a_redis_that_takes_no_message_fails_no_job(farm, caplog):
    """Such as one that is full: the job was taken already."""
    with redis.Redis.from_url(farm.redis.address) as client:
        client.set("promptseg-default", "no list")
        job = farm.submit()
    assert "no worker of the queue `default` was woken: Command" in caplog.text
    assert farm.queue.ledger.status(job).state is State.QUEUED


def test_a_redis_that_is_not_there_is_one_sentence(farm):
    """A worker that finds no Redis says so, and ends with the status 2."""
    farm.redis.kill()
    worker = farm.start()
    assert worker.process.wait(60) == 2
    lines = worker.said().splitlines()
    assert len(lines) == 2, worker.said()
    assert lines[0].startswith(f"error: the Redis of the jobs at `{farm.redis.address}` does not")


def test_a_redis_that_stays_away_is_said_and_waited_for(farm):
    """A worker whose Redis is gone says so and goes on trying; Ctrl+C ends it."""
    farm.paint_many(40)
    farm.submit()
    worker = farm.start(seconds=0.2)
    farm.until(lambda: farm.asked().total() >= 2)
    farm.redis.kill()
    farm.until(lambda: "does not answer" in worker.said())
    assert "Traceback" not in worker.said()
    assert worker.process.poll() is None
    assert worker.stop(signal.SIGINT) == 0


def test_a_worker_goes_on_when_its_redis_is_back(farm):
    """After its Redis was away for some seconds, a worker takes the next job on."""
    farm.paint_many(30)
    job = farm.submit()
    worker = farm.start(seconds=0.1)
    farm.until(lambda: farm.asked().total() >= 2)
    farm.redis.kill()
    time.sleep(3)
    farm.redis.start()
    assert farm.status_at_end(job).done == 30
    assert farm.status_at_end(farm.submit()).done == 30
    assert worker.stop() == 0


def test_a_model_that_cannot_be_loaded_is_one_sentence(farm):
    """The worker ends with what its process says."""
    worker = farm.start(fails="there is no model `moon`")
    assert worker.process.wait(60) == 2
    assert worker.said().splitlines()[-1] == "error: there is no model `moon`"


def test_a_folder_is_no_redis(tmp_path):
    """What no message can come from is refused."""
    with pytest.raises(ConfigError, match="the jobs are in no Redis"):
        celery_app.run_worker(Settings(jobs=str(tmp_path)), once=True)


@pytest.mark.parametrize(
    ("address", "broker"),
    [
        ("redis://host:6380/2", "redis://host:6380/2"),
        ("redis://:secret@host?db=3", "redis://:secret@host/3"),
        ("rediss://host/1", "rediss://host/1?ssl_cert_reqs=required"),
        ("rediss://host/1?ssl_cert_reqs=none", "rediss://host/1?ssl_cert_reqs=none"),
        ("unix:///run/redis.sock?db=4", "redis+socket:///run/redis.sock?virtual_host=4"),
    ],
)
def test_an_address_is_written_as_celery_does(address, broker):
    """What redis-py takes is the same server and database for Celery."""
    assert celery_app.broker_of(address) == broker


def test_without_celery_the_extra_is_named(monkeypatch):
    """Where Celery is not installed, the error says how to install it."""
    monkeypatch.delitem(sys.modules, "promptseg.jobs.celery_app")
    monkeypatch.setitem(sys.modules, "celery", None)
    with pytest.raises(MissingExtraError) as caught:
        importlib.import_module("promptseg.jobs.celery_app")
    assert caught.value.hint == "pip install 'promptseg[jobs]'"
