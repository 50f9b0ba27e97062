"""Threads that answer side by side, each of them on one core."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

# More have not been measured to help, and each holds the tensors of an answer.
MOST = 16
# As many answers are begun before the first is taken.
AHEAD = 2 * MOST


class Crew:
    """Threads in each of which torch works on one core, as many as torch has threads.

    Many small answers gain more from one core each than from all cores one after another. They are
    started when they are first needed, and again in a process that was forked from this one.
    """

    def __init__(self) -> None:
        self._renew()

    def in_order(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Hand out results in the order of the items, with a few of them begun ahead.

        What has not begun when the caller leaves is dropped, and what has is waited for.
        """
        executor = self._threads()
        begun: deque[Future[Result]] = deque()
        try:
            for item in items:
                begun.append(executor.submit(work, item))
                if len(begun) >= AHEAD:
                    yield begun[0].result()
                    begun.popleft()
            while begun:
                yield begun[0].result()
                begun.popleft()
        finally:
            wait([future for future in begun if not future.cancel()])

    def _threads(self) -> ThreadPoolExecutor:
        if self._process != os.getpid():
            # Neither the threads nor who holds the lock have come along.
            self._renew()
        with self._lock:
            # Not before: while others are started, a thread that asks anew is told of one core.
            count = min(torch.get_num_threads(), MOST)
            if count not in self._executors:
                self._executors[count] = _start(count)
            return self._executors[count]

    def _renew(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._executors: dict[int, ThreadPoolExecutor] = {}


def _start(count: int) -> ThreadPoolExecutor:
    """Start threads of one core each; all others have as many as before."""
    threads = torch.get_num_threads()
    # All begin before any works, so that none of them is started after the number is put back.
    begun = threading.Barrier(count + 1)

    def begin() -> None:
        # A thread that has not asked before would take the number anew with its first operation.
        torch.get_num_threads()
        torch.set_num_threads(1)
        begun.wait()

    executor = ThreadPoolExecutor(count, "promptseg", initializer=begin)
    try:
        for _ in range(count):
            executor.submit(_nothing)
        begun.wait()
    except BaseException:
        # A thread that cannot be started, or an interruption: those that wait are let go.
        begun.abort()
        executor.shutdown(wait=False, cancel_futures=True)
        raise
    finally:
        # The number for threads to come is one of the process, and the last who set it decides.
        torch.set_num_threads(threads)
    return executor


def _nothing() -> None:
    """Keep a new thread busy for no time."""
