"""Decoding uploads in processes that may be killed, so that no image can harm the service."""

from __future__ import annotations

import json
import logging
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import promptseg
from promptseg.errors import ImageError, OverloadedError, PromptsegError, from_record
from promptseg.geometry import Size
from promptseg.io import headers, images
from promptseg.server import decoding_process, wires
from promptseg.server.decoding_process import ANSWERED, ASKED, READY, UNREADABLE
from promptseg.server.measured import require_size
from promptseg.shapes import ImageArray

logger = logging.getLogger(__name__)

# Starting takes about 0.2 s; a busy machine gets much more.
START_SECONDS = 60.0
# Where programs and libraries are found. Nothing else of the service's environment is told.
PASSED_ON = ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
# A report of an error is a sentence and a hint.
LONGEST_REPORT = 2**16


class Decoder:
    """Decodes images by the rules of `io.images`, each of at most `max_pixels`, in `seconds`.

    The header's size is read here, which takes no memory; all else is done in `processes`
    processes, which start when they are first needed. One that crashes or takes too long loses its
    image only, and another takes its place. With 0 processes images are decoded in the thread that
    asks, where nothing can be stopped.

    It may be called from many threads.
    """

    def __init__(self, *, processes: int, max_pixels: int, seconds: float) -> None:
        self._max_pixels = max_pixels
        self._seconds = seconds
        self._children = [Child(seconds) for _ in range(processes)]
        # Last in first out, so that few requests need one process only.
        self._free: queue.LifoQueue[Child] = queue.LifoQueue()
        for child in self._children:
            self._free.put(child)
        self._closed = False

    def start(self) -> None:
        """Start the processes ahead of the first image.

        Raises:
            OverloadedError: a process could not be started.
        """
        taken = [self._take() for _ in self._children]
        try:
            for child in taken:
                child.start()
        finally:
            for child in taken:
                self._free.put(child)

    def stated_size(self, data: bytes) -> Size:
        """Return the size that an image's header states, in far less than a millisecond.

        Raises:
            ImageFormatError: it is of no format that is read.
            ImageSizeError: it has too many pixels, or too long a side.
            ImageError: there are no bytes, or the header is damaged.
        """
        if not isinstance(data, bytes):
            raise ImageError(f"an upload is bytes, got {type(data).__name__}")
        size = headers.stated_size(data)
        require_size(size, self._max_pixels)
        return size

    def decode(self, data: bytes, *, side: int = 0) -> ImageArray:
        """Return the pixels of an image; with a `side` so few that neither side has more.

        Raises:
            ImageError: as `stated_size`; or it is damaged, takes too long, or breaks its decoder.
            OverloadedError: no process was free for as long as an image may take, or could be
                started.
        """
        size = self.stated_size(data)
        if self._closed:
            raise closing()
        if not self._children:
            return decoding_process.decode(data, size, side=side)
        child = self._take()
        try:
            return child.decode(data, size, side=side)
        finally:
            self._free.put(child)

    def close(self) -> None:
        """End the processes; images that are being decoded are lost."""
        if self._closed:
            return
        self._closed = True
        for child in self._children:
            child.kill()
        for child in [self._free.get() for _ in self._children]:
            child.end()
            self._free.put(child)

    def _take(self) -> Child:
        try:
            child = self._free.get(timeout=self._seconds)
        except queue.Empty:
            raise OverloadedError(
                "too many images wait to be decoded", hint="Send it again later", retry_after=1.0
            ) from None
        if self._closed:
            self._free.put(child)
            raise closing()
        return child


class Child:
    """One process that decodes one image at a time, started anew after each end of it.

    It is used by one thread at a time; only `kill` may be called beside.
    """

    def __init__(self, seconds: float, *, start_seconds: float = START_SECONDS) -> None:
        self._seconds = seconds
        self._start_seconds = start_seconds
        self._started: wires.Started | None = None

    @property
    def pid(self) -> int | None:
        """The number of the process, None where none has been started."""
        return None if self._started is None else self._started.process.pid

    def start(self) -> wires.Started:
        """Return the process, started where there is none or it has ended.

        Raises:
            OverloadedError: it does not start.
        """
        if self._started is not None and self._started.process.poll() is None:
            return self._started
        self.end()
        answer = memoryview(bytearray(len(READY)))
        try:
            self._started = started = _start(self._seconds)
            with _killed_after(started.process, self._start_seconds):
                started.wire.receive(answer)
        except (OSError, EOFError) as error:
            status = self.end()
            logger.error("the process that decodes images does not start (status %s)", status)
            raise OverloadedError(
                "images cannot be decoded now", hint="Send it again later", retry_after=5.0
            ) from error
        return started

    def decode(self, data: bytes, size: Size, *, side: int = 0) -> ImageArray:
        """Return the pixels of an image whose header states a size.

        Raises:
            ImageError: it cannot be decoded, or not in time.
            OverloadedError: the process does not start.
        """
        started = self.start()
        late = threading.Event()
        try:
            with _killed_after(started.process, self._seconds, late):
                answer = _ask(started.wire, data, size, side)
        except (OSError, EOFError, ValueError) as error:
            status = self.end()
            logger.warning("a process that decodes images ended at an image (status %s)", status)
            if late.is_set():
                raise ImageError(
                    f"the image could not be decoded in {self._seconds:g} s",
                    hint="Make it smaller, or save it as PNG or JPEG",
                ) from error
            raise ImageError(UNREADABLE, hint=images.DAMAGED_HINT) from error
        except BaseException:
            self.end()  # what it still has to say would be taken for the next image's
            raise
        if isinstance(answer, PromptsegError):
            raise answer
        return answer

    def kill(self) -> None:
        """Kill the process, from any thread."""
        started = self._started
        if started is not None:
            started.process.kill()

    def end(self) -> int | None:
        """Kill the process, if there is one, and return how it ended."""
        started, self._started = self._started, None
        if started is None:
            return None
        started.process.kill()
        started.wire.close()
        return started.process.wait()


def _start(seconds: float) -> wires.Started:
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    # It finds what this process finds, however this one was told; and it needs one thread.
    environment["PYTHONPATH"] = os.pathsep.join(str(Path(each).absolute()) for each in sys.path)
    environment["OPENBLAS_NUM_THREADS"] = environment["OMP_NUM_THREADS"] = "1"
    return wires.start(
        [sys.executable, "-m", decoding_process.__name__, str(seconds)],
        environment=environment,
        # Python looks there first, and the folder that a service runs in is anyone's.
        folder=Path(promptseg.__file__).parent.parent,
    )


@contextmanager
def _killed_after(
    process: subprocess.Popen[bytes], seconds: float, late: threading.Event | None = None
) -> Iterator[None]:
    """Kill a process if what is done with it takes too long, and set `late`."""

    def kill() -> None:
        if late is not None:
            late.set()
        process.kill()

    clock = threading.Timer(seconds, kill)
    clock.daemon = True
    clock.start()
    try:
        yield
    finally:
        clock.cancel()
        clock.join()  # so that it cannot strike the next image


def _ask(wire: wires.Wire, data: bytes, stated: Size, side: int = 0) -> ImageArray | ImageError:
    """Send an image and receive its pixels, or its error, believing no more than is asked for.

    Raises:
        OSError: the process has gone.
        EOFError: the same.
        ValueError: it answers nonsense.
    """
    wire.send(ASKED.pack(len(data), stated.width, stated.height, side))
    wire.send(data)
    head = bytearray(ANSWERED.size)
    wire.receive(memoryview(head))
    length, height, width = ANSWERED.unpack(head)
    if length:
        return _report(wire, length)
    if not 0 < height * width <= stated.height * stated.width:
        raise ValueError(f"{height} x {width} pixels were asked of {stated}")
    pixels = np.empty((height, width, 3), np.uint8)
    wire.receive(pixels.data.cast("B"))
    return pixels


def _report(wire: wires.Wire, length: int) -> ImageError:
    if length > LONGEST_REPORT:
        raise ValueError(f"a report has at most {LONGEST_REPORT} bytes, got {length}")
    text = bytearray(length)
    wire.receive(memoryview(text))
    record = json.loads(text)
    error = from_record(record) if isinstance(record, dict) else None
    if not isinstance(error, ImageError):
        raise ValueError("a report is that of an image's error")
    return error


def closing() -> OverloadedError:
    """What is said to those who ask while the service ends."""
    return OverloadedError("the service is ending", hint="Send it again later", retry_after=1.0)
