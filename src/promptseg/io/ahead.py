"""Items made ahead of their reader, in a thread of their own, never more than a few."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

from promptseg.errors import CutShortError

T = TypeVar("T")

# How long closing waits for the item that is being made; a camera may never make it.
CLOSING_SECONDS = 2.0


class Ahead(Iterator[T]):
    """Runs an iterator in a thread, which waits where `room` items lie ready.

    With `newest` it does not wait: an item that finds no room takes the place of the oldest, so a
    reader that is too slow misses some and is never late. What the iterator raises is raised here,
    after the items before it. Closing, or forgetting this, closes the iterator and ends the thread.
    """

    def __init__(
        self,
        items: Iterator[T],
        *,
        room: int,
        newest: bool = False,
        patience: float | None = None,
    ) -> None:
        """`patience` are the seconds that the reader waits for an item; None waits for ever."""
        self._patience = patience
        self._channel: Channel[T] = Channel(room, newest=newest)
        # The thread holds no reference to this object, so that forgetting it ends the thread.
        self._thread = threading.Thread(
            target=_fill, args=(items, self._channel), name="promptseg-ahead", daemon=True
        )
        self._finalizer = weakref.finalize(self, self._channel.close)
        self._thread.start()

    def __next__(self) -> T:
        """Return the next item, and wait for it.

        Raises:
            CutShortError: there was none for `patience` seconds.
        """
        return self._channel.take(self._patience)

    def close(self) -> None:
        """Let go of what lies ready, and end the thread."""
        self._finalizer()
        if self._thread is not threading.current_thread():
            self._thread.join(CLOSING_SECONDS)


class Channel(Generic[T]):
    """Items on their way from one thread to another."""

    def __init__(self, room: int, *, newest: bool) -> None:
        self._room, self._newest = room, newest
        self._ready: deque[T] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._error: BaseException | None = None

    def put(self, item: T) -> bool:
        """Add an item, once there is room for it; False where nobody reads any more."""
        with self._changed:
            while len(self._ready) >= self._room and not self._closed:
                if self._newest:
                    self._ready.popleft()
                else:
                    self._changed.wait()
            if not self._closed:
                self._ready.append(item)
                self._changed.notify_all()
            return not self._closed

    def end(self, error: BaseException) -> None:
        """Say that no more comes, and by which error; the first one counts."""
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()

    def take(self, patience: float | None) -> T:
        """Return the next item, or raise what the items ended with."""
        with self._changed:
            if not self._changed.wait_for(self._can_answer, patience):
                raise CutShortError(
                    f"there was no frame for {patience:g} s",
                    hint="Look whether the camera or the stream is still on",
                )
            if self._ready:
                item = self._ready.popleft()
                self._changed.notify_all()
                return item
            raise self._error or StopIteration

    def close(self) -> None:
        """Let go of everything; whoever puts or takes is told."""
        with self._changed:
            self._closed = True
            self._ready.clear()
            self._error = StopIteration()
            self._changed.notify_all()

    def _can_answer(self) -> bool:
        return bool(self._ready) or self._error is not None


def _fill(items: Iterator[T], channel: Channel[T]) -> None:
    """Make items until there are no more, or nobody reads them."""
    try:
        for item in items:
            if not channel.put(item):
                break
        channel.end(StopIteration())
    except BaseException as error:  # noqa: BLE001 - the reader raises it, in its own thread
        channel.end(error)
    finally:
        close = getattr(items, "close", None)
        if close is not None:
            close()
