"""Items made ahead: in order, bounded, with their errors, and no thread left."""

from __future__ import annotations

import gc
import threading
import time
from itertools import count

import pytest

from promptseg.errors import CutShortError
from promptseg.io.ahead import Ahead


def waits_until(true, seconds=5.0):
    ends = time.monotonic() + seconds
    while not true() and time.monotonic() < ends:
        time.sleep(0.002)
    return true()


def threads():
    return sum(thread.name == "promptseg-ahead" for thread in threading.enumerate())


def test_items_come_in_order_and_end():
    """As from the iterator itself, and the end stays the end."""
    ahead = Ahead(iter(range(50)), room=3)
    assert list(ahead) == list(range(50))
    assert list(ahead) == []


def test_no_more_is_made_than_there_is_room_for():
    """Three lie ready, and a fourth is in the maker's hands."""
    made = []
    ahead = Ahead((made.append(i) or i for i in count()), room=3)
    assert waits_until(lambda: len(made) == 4)
    time.sleep(0.02)
    assert len(made) == 4
    assert next(ahead) == 0
    assert waits_until(lambda: len(made) == 5)
    ahead.close()


def test_an_error_comes_after_the_items_before_it():
    """Raised where the items are read."""

    def items():
        yield 1
        raise ValueError("broken")

    ahead = Ahead(items(), room=3)
    assert next(ahead) == 1
    for _ in range(2):
        with pytest.raises(ValueError, match="broken"):
            next(ahead)


def test_closing_ends_the_thread_and_the_iterator():
    """While it waits for room; what lay ready is gone."""
    closed = threading.Event()

    def items():
        try:
            yield from count()
        finally:
            closed.set()

    before = threads()
    ahead = Ahead(items(), room=1)
    next(ahead)
    ahead.close()
    assert closed.is_set()
    assert threads() == before
    assert list(ahead) == []


def test_forgetting_ends_the_thread():
    """A loop that is left early needs no `close`."""
    before = threads()
    for item in Ahead(count(), room=1):
        if item == 2:
            break
    gc.collect()
    assert waits_until(lambda: threads() == before)


def test_the_newest_replaces_what_nobody_took():
    """A reader that comes late gets the last item, not the first."""
    gone = threading.Event()

    def items():
        yield from range(10)
        gone.set()
        time.sleep(0.05)

    ahead = Ahead(items(), room=1, newest=True)
    assert gone.wait(5)
    assert list(ahead) == [9]


def test_patience_ends():
    """What gives nothing for so long is said to have stopped."""
    still = threading.Event()
    ahead = Ahead(iter(still.wait, None), room=1, patience=0.02)
    with pytest.raises(CutShortError, match=r"no frame for 0\.02 s"):
        next(ahead)
    still.set()
    ahead.close()
