"""Threads side by side, and what they leave of torch's own."""

from __future__ import annotations

import threading

import pytest
import torch

from promptseg.engine.workers import crew, in_order


@pytest.fixture
def two_threads():
    """Torch with two threads, whatever the machine has."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_each_works_on_one_core_and_nobody_else_does(two_threads):
    """In a worker torch has one thread, in the caller and in new threads it has what it had."""
    seen = []
    with crew(3) as executor:
        inside = list(in_order(executor, lambda _: torch.get_num_threads(), range(7)))
        beside = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        beside.start()
        beside.join()
        assert torch.get_num_threads() == 2
    assert inside == [1] * 7
    assert seen == [2]
    assert torch.get_num_threads() == 2


def test_results_come_in_the_order_of_the_items(two_threads):
    """The first item waits for the second, and comes first all the same."""
    second = threading.Event()

    def work(item):
        if item == 0:
            assert second.wait(30)
        if item == 1:
            second.set()
        return item

    with crew(2) as executor:
        assert list(in_order(executor, work, range(5))) == [0, 1, 2, 3, 4]


def test_work_that_was_not_begun_is_dropped_with_the_crew(two_threads):
    """Whoever leaves early does not wait for all that was asked."""
    done = []
    with crew(1) as executor:
        for result in in_order(executor, lambda item: done.append(item) or item, range(1000)):
            assert result == 0
            break
    assert len(done) < 1000


def test_an_error_in_a_worker_is_the_callers(two_threads):
    """It comes where the result would have."""

    def work(item):
        raise ZeroDivisionError(item)

    with crew(2) as executor, pytest.raises(ZeroDivisionError):
        list(in_order(executor, work, range(3)))
