"""Threads that work side by side, each of them on one core."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

# More have not been measured to help, and each holds an answer's tensors.
MOST = 16


@contextmanager
def crew(count: int) -> Iterator[Executor]:
    """Start `count` threads; in each, torch works on one core, and elsewhere on as many as before.

    Many small answers gain more from one core each than from all cores one after another.
    """
    threads = torch.get_num_threads()
    # All begin before any works, so that none of them is started after the number is put back.
    begun = Barrier(count + 1)

    def begin() -> None:
        # A thread that has not asked before would take the number anew with its first operation.
        torch.get_num_threads()
        torch.set_num_threads(1)
        begun.wait()

    with ThreadPoolExecutor(count, "promptseg", initializer=begin) as executor:
        for _ in range(count):
            executor.submit(_nothing)
        begun.wait()
        # The number for threads to come is one of the process, and the last who set it decides.
        torch.set_num_threads(threads)
        try:
            yield executor
        finally:
            executor.shutdown(wait=True, cancel_futures=True)


def in_order(
    executor: Executor, work: Callable[[Item], Result], items: Iterable[Item]
) -> Iterator[Result]:
    """Hand out results in the order of the items, with a few of them begun ahead."""
    begun: deque[Future[Result]] = deque()
    for item in items:
        begun.append(executor.submit(work, item))
        if len(begun) >= 2 * MOST:
            yield begun.popleft().result()
    while begun:
        yield begun.popleft().result()


def _nothing() -> None:
    """Keep a new thread busy for no time."""
