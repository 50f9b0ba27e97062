"""A worker with a fake network for the tests, in which pictures of some colours are poison.

    python celery_worker.py SETTINGS.json

What the network is asked about is noted in a folder: a line for each image in a file of each
process.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

# What an image does to its worker, by its first pixel.
CRASHES, HANGS, EATS, KILLS = (1, 0, 0), (2, 0, 0), (3, 0, 0), (4, 0, 0)


class Poisoned:
    """A network that notes each image by its colour, and takes it as it is meant."""

    def __init__(self, network, said):
        self.spec = replace(network.spec, digest=said["digest"])
        self.decode = network.decode
        self._network = network
        self._notes = Path(said["notes"])
        self._seconds = said["seconds"]

    def encode(self, pixels):
        for image in pixels:
            colour = tuple((image[:, 0, 0] * 255).round().int().tolist())
            (self._notes / f"{os.getpid()}.begun").touch()
            take(colour)
            time.sleep(self._seconds)
            with (self._notes / f"{os.getpid()}.asked").open("a") as file:
                file.write(f"{colour}\n")
        return self._network.encode(pixels)


def take(colour):
    """Do to this process what an image of a colour does."""
    if colour == CRASHES:
        ctypes.string_at(0)
    if colour == KILLS:
        os._exit(7)
    if colour == HANGS:
        time.sleep(600)
    if colour == EATS:
        whole = []
        while True:
            whole.append(torch.empty(2**24))


def main(file):
    import promptseg
    from fake_model import model_of
    from fake_network import FakeNetwork
    from promptseg.cli import console
    from promptseg.jobs import celery_app, turns
    from promptseg.settings import Settings

    said = json.loads(Path(file).read_text())
    turns.LEASE = said["lease"]
    celery_app.GRACE = said["grace"]

    def load(*_, **__):
        if "fails" in said:
            raise promptseg.ConfigError(said["fails"])
        return model_of(Poisoned(FakeNetwork(), said))

    promptseg.load = load
    console.listen(quiet=False)
    try:
        status = celery_app.run_worker(
            Settings(**said["settings"]), once=said["once"], most_bytes=said["most_bytes"]
        )
    except promptseg.PromptsegError as error:
        console.problem(str(error), hint=error.hint)
        status = 2
    return status


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    sys.exit(main(sys.argv[1]))
