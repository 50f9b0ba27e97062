"""What runs in the processes that `test_supervisor.py` has kept at work."""

from __future__ import annotations

import os
import signal
import time


def poisoned(settings, folder, line):
    """Work until nothing is left; die of an image that is all green, hang in one all blue."""
    # Here and not above, so that those which do no work start quickly.
    from fake_finder import FakeBoth

    class Poisoned(FakeBoth):
        def encode(self, pixels):
            _, green, blue = pixels.mean(dim=(0, 2, 3)).tolist()
            if green > 0.9:
                os.kill(os.getpid(), signal.SIGSEGV)
            if blue > 0.9:
                time.sleep(60)
            return super().encode(pixels)

    _work(Poisoned(), settings, folder, line, once=True)


def slow(settings, folder, line):
    """Work until the line ends, with a network that takes a while."""
    from fake_finder import FakeBoth

    class Slow(FakeBoth):
        def encode(self, pixels):
            time.sleep(0.2)
            return super().encode(pixels)

    _work(Slow(), settings, folder, line, once=False)


def deaf(folder, line):
    """Say that it is ready, and hear nothing."""
    (folder / f"{os.getpid()}.claims").touch()
    time.sleep(60)


def dying(folder, line):
    """End before anything is done."""
    os._exit(3)


def refusing(said, folder, line):
    """Say why nothing can begin."""
    line.send(said)


def _work(network, settings, folder, line, *, once):
    import promptseg
    from fake_model import model_of
    from promptseg.jobs import process

    promptseg.load = lambda *names, **options: model_of(network)
    process.work(settings, folder, line, once=once)
