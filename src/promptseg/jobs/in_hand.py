"""What a worker has in hand: held for it while it works, and watched for what takes too long."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import NamedTuple

from promptseg.errors import PromptsegError
from promptseg.jobs.ledger import Claim, Claimed, Ledger

logger = logging.getLogger(__name__)

# A claim is held anew after a third of its time, so that two attempts at it may fail.
HOLD_AGAIN = 3
FAULT = "its worker failed unexpectedly, and the worker's log says how"
# How often images are looked at that may have taken too long, in seconds.
LOOK_EVERY = 0.5


class Task(NamedTuple):
    """An image to be answered, and the claim on it."""

    claim: Claim
    claimed: Claimed


@dataclass(eq=False)
class Held:
    """A claim with the images of it that have not ended, and when work on each began."""

    claim: Claim
    open: set[int]
    since: float
    began: dict[int, float] = field(default_factory=dict)
    is_lost: bool = False

    def overtime(self, now: float) -> bool:
        """Whether one of its images takes longer than its job allows."""
        most = self.claim.asked.item_seconds
        return any(now - began > most for began in self.began.values())


class InHand:
    """The claims of one worker, from when it takes them on until all of their images have ended.

    While this is entered they are held, each for `lease` seconds at a time. Where an image takes
    longer than its job allows, its claim is given back with that reason, all others without, and
    `on_hang` is called: what hangs cannot be ended but with its process.
    """

    def __init__(self, ledger: Ledger, lease: float, on_hang: Callable[[], object]) -> None:
        self._ledger = ledger
        self._lease = lease
        self._on_hang = on_hang
        # How many images have ended by these claims.
        self.ended = 0
        self._held: dict[int, Held] = {}
        self._lock = threading.Lock()
        self._is_over = threading.Event()

    def __enter__(self) -> InHand:
        self._holder = threading.Thread(target=self._hold, name="promptseg-hold", daemon=True)
        self._holder.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give back what has not ended; with a reason where a fault ended it.

        Without one the image that brings the fault about would be tried for ever.
        """
        self._is_over.set()
        self._holder.join()
        is_fault = isinstance(error, Exception) and not isinstance(error, PromptsegError)
        for held in self._all():
            self._give_back(held, FAULT if is_fault else None)

    def __bool__(self) -> bool:
        return bool(self._held)

    def take(self, claim: Claim) -> None:
        """Take a claim on."""
        numbers = {claimed.number for claimed in claim.items}
        with self._lock:
            self._held[claim.token] = Held(claim, numbers, time.monotonic())

    def begin(self, task: Task) -> bool:
        """Say that work on an image begins; False where its claim is lost, and it is left.

        That is where somebody else has it by now, or nobody wants it any more.
        """
        with self._lock:
            held = self._held[task.claim.token]
            if not held.is_lost:
                held.began[task.claimed.number] = time.monotonic()
            return not held.is_lost

    def rest(self, task: Task) -> None:
        """Say that an image waits, which does not count as work on it."""
        with self._lock:
            self._held[task.claim.token].began.pop(task.claimed.number, None)

    def end(self, task: Task, *, counts: bool) -> None:
        """Say that an image is over and done with, and whether that counts."""
        with self._lock:
            self.ended += counts
            held = self._held[task.claim.token]
            held.began.pop(task.claimed.number, None)
            held.open.discard(task.claimed.number)
            if not held.open:
                del self._held[task.claim.token]

    def _all(self) -> list[Held]:
        with self._lock:
            return list(self._held.values())

    def _hold(self) -> None:
        every = min(LOOK_EVERY, self._lease / HOLD_AGAIN)
        while not self._is_over.wait(every):
            now = time.monotonic()
            with self._lock:
                hung = [held for held in self._held.values() if held.overtime(now)]
            if hung:
                self._end_hung(hung)
            for held in self._all():
                if now - held.since >= self._lease / HOLD_AGAIN and not held.is_lost:
                    self._hold_again(held)

    def _hold_again(self, held: Held) -> None:
        began = time.monotonic()
        try:
            held.is_lost = not self._ledger.extend(held.claim, self._lease)
            held.since = began
        except PromptsegError as error:  # tried again the next time
            logger.warning("a claim could not be held: %s", error)

    def _end_hung(self, hung: list[Held]) -> None:
        for held in self._all():
            most = held.claim.asked.item_seconds
            reason = f"it took longer than {most:g} s, its job's `item_seconds`"
            self._give_back(held, reason if held in hung else None)
            held.is_lost = True
            held.began.clear()
        logger.error("an image took longer than its job allows")
        self._on_hang()

    def _give_back(self, held: Held, reason: str | None = None) -> None:
        try:
            self._ledger.release(held.claim, reason=reason)
        except PromptsegError as error:  # it runs out by itself
            logger.warning("a claim could not be given back: %s", error)


@contextmanager
def held(extend: Callable[[float], bool], lease: float) -> Iterator[threading.Event]:
    """Hold something for `lease` seconds at a time while the block runs.

    The event is set where it holds no more.
    """
    ended, lost = threading.Event(), threading.Event()

    def hold() -> None:
        while not ended.wait(lease / HOLD_AGAIN):
            try:
                if not extend(lease):
                    lost.set()
            except PromptsegError as error:
                logger.warning("a claim could not be held: %s", error)

    holder = threading.Thread(target=hold, name="promptseg-hold", daemon=True)
    holder.start()
    try:
        yield lost
    finally:
        ended.set()
        holder.join()
