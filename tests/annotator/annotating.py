"""`promptseg annotate` in a process of its own, on a folder, as its users run it."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from running_service import wait_until_ready

PROGRAM = [sys.executable, "-c", "from promptseg.cli.main import run; run()", "annotate"]


class Annotating(NamedTuple):
    """Where the page is, the folder of its images, and the process that serves it."""

    address: str
    folder: Path
    process: subprocess.Popen

    @property
    def port(self):
        """Where it listens, so that another can take its place."""
        return int(self.address.rpartition(":")[2])

    def kept(self, name):
        """The file in which the folder keeps what is drawn on an image."""
        return self.folder / f"{name}.coco.json"


@contextmanager
def annotating(folder, *flags, log, port=0):
    """Run it until it takes requests; end it afterwards."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [*PROGRAM, str(folder), "--no-browser", "--port", str(port), *flags]
    with Path(log).open("a") as stderr:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment
        )
    try:
        address = process.stdout.readline().strip().rstrip("/")
        assert address, Path(log).read_text(encoding="utf-8")
        wait_until_ready(address)
        yield Annotating(address, Path(folder), process)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
