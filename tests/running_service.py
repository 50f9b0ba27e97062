"""A service in a process of its own, as its users run it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx

PROGRAM = [sys.executable, "-c", "from promptseg.cli.main import run; run()", "serve"]


class Running(NamedTuple):
    """Where it listens, its process, and the file of what it says on stderr."""

    address: str
    process: subprocess.Popen
    log: Path

    def said(self):
        """Return what it has said so far."""
        return self.log.read_text(encoding="utf-8")


@contextmanager
def running(folder, *flags, ready=True, environment=None):
    """Run `promptseg serve` at a free port, by default until it is ready; end it afterwards."""
    log = Path(folder) / "service.log"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})}
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [*PROGRAM, "--port", "0", *flags],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=environment,
        )
    try:
        address = process.stdout.readline().strip()
        assert address, log.read_text(encoding="utf-8")
        if ready:
            wait_until_ready(address)
        yield Running(address, process, log)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def wait_until_ready(address, seconds=60.0):
    """Wait until the service says that it takes requests."""
    until = time.monotonic() + seconds
    with httpx.Client(trust_env=False) as client:
        while time.monotonic() < until:
            if client.get(f"{address}/health/ready").status_code == 200:
                return
            time.sleep(0.02)
    raise AssertionError("the service did not get ready")
