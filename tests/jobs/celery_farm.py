"""A Redis, a folder of pictures and worker processes, each of which may be killed at any moment."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image
from redis_server import RedisServer

from promptseg.jobs.job import Job
from promptseg.jobs.queue import Queue

SCRIPT = Path(__file__).with_name("celery_worker.py")
QUERIES = ({"verb": "segment", "points": [[5, 5]]},)


class Farm:
    """Workers on one queue; as a context, all ends with it."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.pictures = self.folder / "pictures"
        self.notes = self.folder / "notes"
        self.store = self.folder / "store"
        for made in (self.pictures, self.notes):
            made.mkdir()
        self.redis = RedisServer(self.folder)
        self.queue = Queue(self.redis.address, store=str(self.store))
        self.workers = []

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for worker in self.workers:
            worker.kill()
        self.queue.ledger.close()
        self.redis.kill()

    def paint(self, name, colour):
        """Save a picture of one colour."""
        pixels = np.full((14, 14, 3), colour, dtype=np.uint8)
        Image.fromarray(pixels).save(self.pictures / f"{name}.png")

    def paint_many(self, count):
        """Save so many pictures, each of a colour of its own that harms nobody."""
        for number in range(count):
            self.paint(f"{number:04}", (10 + number % 200, 10 + number // 200, 0))

    def submit(self, **asked):
        """Submit a job about all pictures."""
        return self.queue.submit(Job(inputs=(str(self.pictures),), queries=QUERIES, **asked))

    def start(self, **said):
        """Start a worker; `said` is what it is told that is not as usual."""
        worker = Worker(self, len(self.workers), said)
        self.workers.append(worker)
        return worker

    def until(self, is_so, seconds=60):
        """Wait until something is so."""
        end = time.monotonic() + seconds
        while not is_so():
            assert time.monotonic() < end, self.said()
            time.sleep(0.05)

    def status_at_end(self, job, seconds=60):
        """Wait for the end of a job, and return how it stands."""
        self.until(lambda: self.queue.ledger.status(job).is_reported, seconds)
        return self.queue.ledger.status(job)

    def asked(self):
        """Count how often the network was asked about each colour."""
        files = self.notes.glob("*.asked")
        # The last line of a process that was killed may be half a line.
        lines = (line for file in files for line in file.read_text().splitlines())
        return Counter(line for line in lines if line.endswith(")"))

    def said(self):
        """Return what the workers have said."""
        return "\n".join(worker.said() for worker in self.workers)


class Worker:
    """A worker, and the process that it has its model in: one group of processes."""

    def __init__(self, farm, number, said):
        self.log = farm.folder / f"worker-{number}.log"
        usual = {
            "settings": {"jobs": farm.redis.address, "store": str(farm.store)},
            "notes": str(farm.notes),
            "lease": 3.0,
            "grace": 8.0,
            "seconds": 0.0,
            "once": False,
            "most_bytes": None,
            "digest": "fake",
        }
        file = farm.folder / f"worker-{number}.json"
        file.write_text(json.dumps(usual | said))
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(SCRIPT), str(file)],
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )

    def child(self):
        """Return the id of the process that has the model, None while there is none."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        found = children.read_text().split() if children.exists() else []
        return int(found[0]) if found else None

    def send(self, number):
        """Send a signal to all of its processes."""
        os.killpg(self.process.pid, number)

    def kill(self):
        """End all of it at once."""
        if self.process.poll() is None:
            self.send(signal.SIGKILL)
            self.process.wait()

    def stop(self, number=signal.SIGTERM):
        """Tell it to end, and return its exit status."""
        self.process.send_signal(number)
        return self.process.wait(30)

    def said(self):
        return self.log.read_text()
