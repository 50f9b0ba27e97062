"""Requests of many callers, from when they are taken on until their futures end."""

from __future__ import annotations

import itertools
import logging
import math
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import cached_property, partial
from time import perf_counter
from typing import NamedTuple, TypeAlias

from promptseg.engine.digest import Name
from promptseg.engine.everything import Progress
from promptseg.engine.piecemeal import is_long
from promptseg.engine.turns import Turns
from promptseg.errors import DeadlineError, OverloadedError, PromptsegError
from promptseg.options.checks import require_count
from promptseg.requests import Request
from promptseg.results import Masks

OnProgress: TypeAlias = Callable[[Progress], object]

logger = logging.getLogger(__name__)

# Seconds after which a caller who was refused may ask again: no sooner, and no later, than these.
SOONEST, LATEST = 1.0, 60.0
# How much of what was known of the pace counts beside what is new.
MEMORY = 0.9
# No wait is longer, as systems refuse to wait for years.
LONGEST_WAIT = 3600.0


@dataclass(frozen=True, kw_only=True)
class QueueLimits:
    """How many requests are taken on: in all, of each client, and to be worked on together.

    `waiting` and `waiting_each` count those that are being worked on too, and `image_bytes` bounds
    their images together, of which one by itself always has room; None is no bound.

    Raises:
        ConfigError: one is no whole number of at least 1, or the bytes none of at least 0.
    """

    waiting: int = 64
    waiting_each: int = 32
    together: int = 16
    image_bytes: int | None = None

    def __post_init__(self) -> None:
        for name in ("waiting", "waiting_each", "together"):
            require_count(self, name, least=1)
        if self.image_bytes is not None:
            require_count(self, "image_bytes", least=0)


class Answered(NamedTuple):
    """Masks, and the seconds they took: of others' turns, to look at the image, and to answer."""

    masks: Masks
    waited: float
    encode: float
    answer: float


class Load(NamedTuple):
    """How many requests wait and are worked on, and how often what answers them has crashed.

    `seconds` is an estimate of when a request that is made now would begin.
    """

    waiting: int
    working: int
    crashes: int
    seconds: float


@dataclass(frozen=True, eq=False)
class Ticket:
    """A request that was taken on, by its number; its future ends after at most `seconds`.

    The future knows the number alone, so that who keeps it does not keep the image.
    """

    number: int
    request: Request
    name: Name | None
    client: str
    seconds: float
    progress: OnProgress | None
    future: Future[Answered] = field(default_factory=Future)
    since: float = field(default_factory=perf_counter)

    @property
    def due(self) -> float:
        """When it is too late for an answer."""
        return self.since + self.seconds

    @cached_property
    def is_long(self) -> bool:
        """Whether it is answered a piece at a time."""
        return is_long(self.request)

    @property
    def image(self) -> Name | int:
        """What tells its image from others, as far as that is known without looking."""
        return self.name or id(self.request.image)


class Tickets:
    """All that has been taken on and has not ended; any thread may add to it and end it.

    Futures are pending until their outcome is there, so that they can be cancelled until then.
    """

    def __init__(self, limits: QueueLimits) -> None:
        self.limits = limits
        self.pace = Pace()
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._arrived = threading.Condition(self._lock)
        self._hurried = threading.Condition(self._lock)
        self._emptied = threading.Condition(self._lock)
        self._open: dict[int, Ticket] = {}
        self._each: Counter[str] = Counter()
        self._short: Turns[Ticket] = Turns()
        self._long: Turns[Ticket] = Turns()
        self._watched = math.inf
        self._closing = self._stopped = False

    def add(
        self,
        request: Request,
        name: Name | None,
        *,
        client: str,
        seconds: float,
        progress: OnProgress | None,
    ) -> Future[Answered]:
        """Take on a request.

        Raises:
            OverloadedError: too much is asked already, or this is closing.
        """
        ticket = Ticket(next(self._numbers), request, name, client, seconds, progress)
        with self._lock:
            self._require_place(client)
            if not self._holds(ticket):
                raise self._full("the images of what waits take all the memory that they may")
            self._open[ticket.number] = ticket
            self._each[client] += 1
            self._line(ticket).put(client, ticket)
            self._arrived.notify()
            if ticket.due < self._watched:
                self._hurried.notify()
        ticket.future.add_done_callback(partial(self._end_if_cancelled, ticket.number))
        return ticket.future

    def require_place(self, client: str) -> None:
        """Refuse a client for whom there is no place now.

        Raises:
            OverloadedError: too much is asked already, or this is closing.
        """
        with self._lock:
            self._require_place(client)

    def load(self, crashes: int) -> Load:
        """Say how much there is to do."""
        with self._lock:
            waiting = len(self._short) + len(self._long)
            working = len(self._open) - waiting
            return Load(waiting, working, crashes, self.pace.of(waiting + working))

    def is_wanted(self, ticket: Ticket) -> bool:
        """Whether somebody still waits for an answer, and it is not too late for it."""
        if ticket.due <= perf_counter():
            self.end(ticket, _late(ticket))
        return ticket.number in self._open

    def end(self, ticket: Ticket, outcome: Answered | PromptsegError) -> None:
        """End a future, unless it has ended."""
        self._end(ticket.number, outcome)

    def await_work(self, *, busy: bool) -> bool:
        """Wait until there is something to do, unless one is busy; False when this is closed."""
        with self._lock:
            self._arrived.wait_for(lambda: self._stopped or busy or self._short or self._long)
            return not self._stopped

    def take(self, most: int, *, images: int) -> list[Ticket]:
        """Take those whose turn it is, about so many images, unless they take long.

        Together with more images they would gain nothing, and who comes meanwhile would have to
        wait for all of them.
        """
        taken: list[Ticket] = []
        seen: set[Name | int] = set()
        with self._lock:
            while len(taken) < most and (ticket := self._short.first()) is not None:
                seen.add(ticket.image)
                if len(seen) > images:
                    break
                taken.append(self._short.take())
        return taken

    def take_long(self) -> Ticket | None:
        """Take the one that takes long whose turn it is, if one waits."""
        with self._lock:
            return self._long.take() if self._long else None

    def end_late(self) -> bool:
        """Wait until somebody's time is over, and tell them so; False when this is closed."""
        with self._lock:
            while not self._stopped:
                now = perf_counter()
                if late := [ticket for ticket in self._open.values() if ticket.due <= now]:
                    break
                self._watched = min((each.due for each in self._open.values()), default=math.inf)
                self._hurried.wait(min(self._watched - now, LONGEST_WAIT))
            else:
                return False
        for ticket in late:
            self.end(ticket, _late(ticket))
        return True

    def close(self, seconds: float) -> None:
        """Take on no more, wait for the rest for at most so many seconds, and end it."""
        with self._lock:
            self._closing = True
            self._emptied.wait_for(lambda: not self._open, seconds)
            rest = list(self._open)
            self._stopped = True
            self._arrived.notify_all()
            self._hurried.notify_all()
        for number in rest:
            self._end(number, _closing())

    def _require_place(self, client: str) -> None:
        """Refuse one request more than there may be; under the lock."""
        if self._closing:
            raise _closing()
        if len(self._open) >= (most := self.limits.waiting):
            raise self._full(f"{most} requests wait or are worked on, and no more may")
        if self._each[client] >= (most := self.limits.waiting_each):
            raise self._full(f"{most} requests of this caller wait or are worked on, no more may")

    def _full(self, sentence: str) -> OverloadedError:
        wait = later(self.pace.of(len(self._open)))
        return OverloadedError(sentence, hint=f"Ask again in {math.ceil(wait)} s", retry_after=wait)

    def _holds(self, ticket: Ticket) -> bool:
        """Whether there is room for the image of one more request; under the lock."""
        if self.limits.image_bytes is None:
            return True
        images = [each.request.image for each in (*self._open.values(), ticket)]
        sizes = {id(image): image.nbytes for image in images}
        return len(sizes) == 1 or sum(sizes.values()) <= self.limits.image_bytes

    def _line(self, ticket: Ticket) -> Turns[Ticket]:
        return self._long if ticket.is_long else self._short

    def _end(self, number: int, outcome: Answered | PromptsegError | None) -> None:
        """End a future once; None where it was cancelled.

        There is room for another before anybody is told, so that who asks one after the other is
        not refused.
        """
        with self._lock:
            ticket = self._open.pop(number, None)
            if ticket is None:
                return
            self._line(ticket).remove(ticket.client, ticket)
            self._each[ticket.client] -= 1
            if not self._each[ticket.client]:
                del self._each[ticket.client]
            if not self._open:
                self._emptied.notify_all()
        try:
            if not ticket.future.set_running_or_notify_cancel():
                return
            if isinstance(outcome, Answered):
                ticket.future.set_result(outcome)
            else:
                ticket.future.set_exception(outcome)
        except BaseException:  # it is a callback's, and others wait for their answers
            logger.exception("who was told of an answer failed")

    def _end_if_cancelled(self, number: int, future: Future[Answered]) -> None:
        if future.cancelled():
            self._end(number, None)


class Pace:
    """How many seconds a request has taken of late, of the one thread that answers all."""

    def __init__(self) -> None:
        self._seconds = self._count = self._unfinished = 0.0

    def add(self, seconds: float, ended: int) -> None:
        """Tell of some work, and how many requests have ended with it."""
        self._unfinished += seconds
        if ended:
            self._seconds = MEMORY * self._seconds + self._unfinished
            self._count = MEMORY * self._count + ended
            self._unfinished = 0.0

    def of(self, count: int) -> float:
        """Return how long so many requests take."""
        return count * self._seconds / self._count if self._count else 0.0


def later(seconds: float) -> float:
    """Return in how many seconds to ask again where there is so much to do for."""
    return min(max(seconds, SOONEST), LATEST)


def _late(ticket: Ticket) -> DeadlineError:
    return DeadlineError(
        f"the request has no answer after {ticket.seconds:g} s, and may not take longer",
        hint="Ask again when there is less to do, or for less",
    )


def _closing() -> OverloadedError:
    return OverloadedError(
        "no more requests are answered, this is closing",
        hint="Ask again when it is back",
        retry_after=SOONEST,
    )
