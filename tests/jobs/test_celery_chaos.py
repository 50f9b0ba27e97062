"""Workers and their Redis are killed at any moment: every image ends once, as in one clean run."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time

import pytest
import redis_server
from celery_farm import QUERIES, Farm

from fake_model import model_of
from fake_network import FakeNetwork
from promptseg.jobs.answering import Answerer
from promptseg.jobs.clerk import Clerk
from promptseg.jobs.job import Job, State
from promptseg.jobs.manifest import MANIFEST
from promptseg.jobs.queue import Queue
from promptseg.jobs.store import digest_of
from promptseg.jobs.work import Worker

pytestmark = [
    pytest.mark.enable_socket,
    pytest.mark.skipif(redis_server.PROGRAM is None, reason=redis_server.MISSING),
]


def test_every_image_ends_once_whatever_dies(tmp_path):
    """Two workers, two hundred images, a kill every two seconds, and Redis once."""
    require_once(tmp_path, count=200, seed=5, seconds=0.06, every=(1.5, 2.5))


@pytest.mark.full
@pytest.mark.timeout(1200)
def test_two_thousand_images_end_once_whatever_dies(tmp_path):
    """As above, for long."""
    require_once(tmp_path, count=2000, seed=8, seconds=0.06, every=(2.0, 6.0))


def require_once(folder, *, count, seed, seconds, every):
    """Have a job done while processes are killed, and compare it with a run that nothing harms."""
    with Farm(folder) as farm:
        farm.paint_many(count)
        job = farm.submit(attempts=20)
        killed = kill_until_reported(farm, job, random.Random(seed), seconds, every)
        status = farm.queue.ledger.status(job)
        assert (status.state, status.done, status.total) == (State.DONE, count, count), farm.said()
        with farm.queue.store.open(f"{job}/{MANIFEST}") as file:
            lines = [json.loads(line) for line in file]
        found = {line["image"]: digest_of(line["result"]) for line in lines}
        assert len(lines) == len(found) == count
        assert found == clean(farm, folder / "clean")
        asked = farm.asked()
        assert len(asked) == count
        again = asked.total() - count
        assert killed >= 3
        assert again <= count / 20


def kill_until_reported(farm, job, chance, seconds, every):
    """Kill a worker or its process now and then, and Redis once; return how many were killed."""
    for _ in range(2):
        farm.start(seconds=seconds)
    end = time.monotonic() + 900
    killed = 0
    farm.until(lambda: farm.asked().total() >= 10)
    while not farm.queue.ledger.status(job).is_reported:
        assert time.monotonic() < end, farm.said()
        time.sleep(chance.uniform(*every))
        victim = chance.randrange(2)
        worker, child = farm.workers[victim], farm.workers[victim].child()
        if child is None or chance.random() < 0.4:
            worker.kill()
            farm.start(seconds=seconds)
            farm.workers[victim] = farm.workers.pop()
        else:
            os.kill(child, signal.SIGKILL)
        killed += 1
        if killed == 3:
            farm.redis.kill()
            time.sleep(1)
            farm.redis.start()
    return killed


def clean(farm, folder):
    """Do the same in this process, and return the digest of each image's result."""
    with Queue(str(folder)) as queue:
        job = queue.submit(Job(inputs=(str(farm.pictures),), queries=QUERIES))
        until = threading.Event()
        Clerk(queue).step(until)
        Worker(queue, Answerer.of(model_of(FakeNetwork()), max_pixels=10**6)).work(until)
        return {
            entry.item.image: digest_of(entry.outcome.result) for entry in queue.ledger.entries(job)
        }
