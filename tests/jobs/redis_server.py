"""A redis-server of its own for the tests, which may be killed and started again."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import redis

PROGRAM = shutil.which("redis-server")
MISSING = "there is no redis-server; `make redis` installs it"


class RedisServer:
    """A server at a free port that keeps what it is given in a folder."""

    def __init__(self, folder, *flags):
        self.folder = Path(folder)
        self.flags = flags
        self.port = free_port()
        self.process = None
        self.start()

    @property
    def address(self):
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self):
        """Start, with what was kept, and wait until it answers."""
        with (self.folder / "redis.log").open("a") as log:
            self.process = subprocess.Popen(
                [
                    *(PROGRAM, "--bind", "127.0.0.1", "--port", str(self.port)),
                    *("--dir", str(self.folder), "--save", "", "--appendonly", "yes"),
                    *self.flags,
                ],
                stdout=log,
                stderr=log,
            )
        until = time.monotonic() + 30
        with redis.Redis(port=self.port) as client:
            while time.monotonic() < until and self.process.poll() is None:
                try:
                    if client.ping():
                        return
                except redis.RedisError:
                    time.sleep(0.02)
        raise RuntimeError((self.folder / "redis.log").read_text())

    def pause(self):
        """Answer nothing until `go_on`."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def kill(self):
        """End at once, with no time to put anything away."""
        self.process.kill()
        self.process.wait()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
