"""Threads side by side, and what they leave of torch's own."""

from __future__ import annotations

import os
import threading

import pytest
import torch

from promptseg.engine.workers import Crew


def test_each_works_on_one_core_and_nobody_else_does(two_threads):
    """In a worker torch has one thread, in the caller and in new threads it has what it had."""
    seen = []
    crew = Crew()
    inside = list(crew.in_order(lambda _: torch.get_num_threads(), range(7)))
    beside = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    beside.start()
    beside.join()
    assert inside == [1] * 7
    assert seen == [2]
    assert torch.get_num_threads() == 2


def test_threads_are_started_once_for_each_number(two_threads):
    """Callers with as many threads share them, also in turn with others; more get more."""
    crew = Crew()

    def who(threads):
        torch.set_num_threads(threads)
        barrier = threading.Barrier(threads)
        return set(
            crew.in_order(lambda _: barrier.wait(30) * 0 + threading.get_ident(), range(threads))
        )

    two, three = who(2), who(3)
    assert (len(two), len(three)) == (2, 3)
    assert not two & three
    assert (who(2), who(3)) == (two, three)


def test_threads_that_cannot_start_are_an_error_and_no_hang(two_threads, monkeypatch):
    """The first waits for the second, which never comes: both end, and torch has its number."""
    start = threading.Thread.start
    started = []

    def limited(self):
        if self.name.startswith("promptseg") and started:
            raise RuntimeError("can't start new thread")
        started.append(self)
        start(self)

    monkeypatch.setattr(threading.Thread, "start", limited)
    with pytest.raises(RuntimeError, match="can't start"):
        list(Crew().in_order(abs, range(3)))
    monkeypatch.undo()
    for thread in started:
        thread.join(30)
        assert not thread.is_alive()
    seen = []
    beside = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    beside.start()
    beside.join()
    assert seen == [2]


def test_results_come_in_the_order_of_the_items(two_threads):
    """The first item waits for the second, and comes first all the same."""
    second = threading.Event()

    def work(item):
        if item == 0:
            assert second.wait(30)
        if item == 1:
            second.set()
        return item

    assert list(Crew().in_order(work, range(5))) == [0, 1, 2, 3, 4]


def test_work_that_was_not_begun_is_dropped(two_threads):
    """Whoever leaves early waits for what is being done, and the rest is never begun."""
    begun, third, go_on = [], threading.Event(), threading.Event()

    def work(item):
        begun.append(item)
        if len(begun) == 3:
            third.set()
        if item:
            assert go_on.wait(30)
        return item

    results = Crew().in_order(work, range(1000))
    assert next(results) == 0
    assert third.wait(30)  # both threads are held by now
    threading.Timer(0.2, go_on.set).start()
    results.close()
    assert go_on.is_set()
    assert sorted(begun) == [0, 1, 2]


def test_an_error_in_a_worker_is_the_callers(two_threads):
    """It comes where the result would have."""

    def work(item):
        raise ZeroDivisionError(item)

    with pytest.raises(ZeroDivisionError):
        list(Crew().in_order(work, range(3)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only where processes are forked")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own(two_threads):
    """Those of its parent are not there, and waiting for them would never end."""
    crew = Crew()
    assert list(crew.in_order(abs, [-1])) == [1]
    child = os.fork()
    if not child:
        os._exit(0 if list(crew.in_order(abs, [-2])) == [2] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
