"""What a service and a process of its own speak through.

Of a socket all that is to come is received in one call. A pipe gives 64 KiB at a time, and where
another thread is busy each of these waits for Python's lock: pixels of 1080p took 250 ms by pipe
and 6 ms by socket beside one busy thread.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple, Protocol


class Wire(Protocol):
    """Both ways between two processes; any `OSError` or `EOFError` says that the other has gone."""

    def send(self, data: bytes) -> None:
        """Send all of the bytes."""

    def receive(self, into: memoryview) -> None:
        """Fill all of the memory.

        Raises:
            EOFError: the other has gone before.
        """

    def close(self) -> None:
        """Tell the other that nothing more comes."""


class Started(NamedTuple):
    """A process, and the wire to its standard input and output."""

    process: subprocess.Popen[bytes]
    wire: Wire


class SocketWire:
    """A pair of connected sockets, where a process can have one as its input and output."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def send(self, data: bytes) -> None:
        """Send all of the bytes."""
        self._end.sendall(data)

    def receive(self, into: memoryview) -> None:
        """Fill all of the memory."""
        while into:
            count = self._end.recv_into(into, len(into), socket.MSG_WAITALL)
            if count == 0:
                raise EOFError
            into = into[count:]

    def close(self) -> None:
        """Tell the other that nothing more comes."""
        self._end.close()


class PipeWire:
    """Two pipes, which every system has."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._to: IO[bytes] = process.stdin
        self._back: IO[bytes] = process.stdout

    def send(self, data: bytes) -> None:
        """Send all of the bytes."""
        self._to.write(data)
        self._to.flush()

    def receive(self, into: memoryview) -> None:
        """Fill all of the memory."""
        # A buffered reader's `readinto` goes on until all is there, which its type does not say.
        if self._back.readinto(into) < len(into):  # type: ignore[attr-defined]
            raise EOFError

    def close(self) -> None:
        """Tell the other that nothing more comes."""
        self._back.close()
        # What was written is still to be flushed, and perhaps nobody is there to read it.
        with suppress(OSError):
            self._to.close()


def start(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    folder: Path,
    sockets: bool = sys.platform != "win32",
) -> Started:
    """Start a process whose standard input and output are a wire, and whose errors go nowhere.

    Raises:
        OSError: the system starts no process.
    """
    if not sockets:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd=folder,
        )
        return Started(process, PipeWire(process))
    here, there = socket.socketpair()
    try:
        with there:
            process = subprocess.Popen(
                command,
                stdin=there.fileno(),
                stdout=there.fileno(),
                stderr=subprocess.DEVNULL,
                env=environment,
                cwd=folder,
            )
    except BaseException:
        here.close()
        raise
    return Started(process, SocketWire(here))
