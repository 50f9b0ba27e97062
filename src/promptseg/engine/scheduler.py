"""Many callers, one device: what waits is answered together, in turn, and every future ends."""

from __future__ import annotations

import atexit
import copy
import logging
import math
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from numbers import Real
from time import perf_counter
from typing import TypeAlias, TypeVar

from promptseg.engine.digest import Name
from promptseg.engine.piecemeal import Pieces, pieces
from promptseg.engine.tickets import Answered, Load, OnProgress, QueueLimits, Ticket, Tickets
from promptseg.engine.verbs import Outcome, Spent, Verbs, failure_of
from promptseg.errors import ConfigError, PromptError, PromptsegError
from promptseg.requests import Request

__all__ = ["DEFAULT", "Answered", "Load", "OnBatch", "QueueLimits", "Scheduler"]

Value = TypeVar("Value")
OnBatch: TypeAlias = Callable[[int], object] | None

logger = logging.getLogger(__name__)

DEFAULT = QueueLimits()
# Each holds the features of its image, and those that go on side by side all take longer for it.
MOST_BEGUN = 4
# Seconds in which what was taken on may end when the interpreter does.
AT_EXIT = 2.0


@dataclass
class Begun:
    """A long request that has begun: what is left of it, and the seconds it has had.

    `encode` is None until its image was looked at.
    """

    ticket: Ticket
    pieces: Pieces
    encode: float | None = None
    answer: float = 0.0

    def count(self, seconds: float) -> None:
        """Count a piece, of which the first is to look at the image."""
        if self.encode is None:
            self.encode = seconds
        else:
            self.answer += seconds

    @property
    def spent(self) -> Spent:
        """The seconds it has had."""
        return Spent(self.encode or 0.0, self.answer)


class Scheduler:
    """Answers the requests of any number of threads with one of its own, until it is closed.

    What waits is answered together; nothing waits for company. Clients take turns, each with its
    requests in order. What takes long, as a search for everything or hundreds of objects, goes on
    piece by piece, one between any two rounds of other work, so that neither waits for the other to
    end.

    Raises:
        ConfigError: the limits are not `QueueLimits`.
    """

    def __init__(
        self, verbs: Verbs, limits: QueueLimits = DEFAULT, *, on_batch: OnBatch = None
    ) -> None:
        if not isinstance(limits, QueueLimits):
            raise ConfigError(f"`limits` must be `QueueLimits`, got {type(limits).__name__}")
        self._verbs = verbs
        self._on_batch = on_batch
        self._tickets = Tickets(limits)
        self._begun: deque[Begun] = deque()
        # Of the thread that answers alone, as is what has begun.
        self._in_hand: list[Ticket] = []
        self._crashes = 0
        self._threads = [
            threading.Thread(target=self._live, args=(work,), name=name, daemon=True)
            for work, name in ((self._work, "promptseg-answers"), (self._watch, "promptseg-watch"))
        ]
        for thread in self._threads:
            thread.start()
        atexit.register(self.close, seconds=AT_EXIT)

    def submit(
        self,
        request: Request,
        *,
        name: Name | None = None,
        client: str = "",
        seconds: float | None = None,
        progress: OnProgress | None = None,
    ) -> Future[Answered]:
        """Take on a request; its future ends with the answer or a `PromptsegError`.

        `name` is that of the image, where it is known. After `seconds` the future ends with a
        `DeadlineError`, whatever is being worked on. It can be cancelled until it has ended.
        `progress` is told of every step of a search for everything, by the thread that works on it.

        Raises:
            OverloadedError: too much is asked already, or this is closing; at once.
            PromptError: this is no request, or one that the model cannot answer.
            ConfigError: `seconds` is no number.
        """
        if not isinstance(request, Request):
            raise PromptError(f"`submit` takes a request, got {type(request).__name__}")
        if seconds is not None and (not isinstance(seconds, Real) or math.isnan(seconds)):
            raise ConfigError(f"`seconds` must be a number, got {seconds!r}")
        self._verbs.check(request)
        patience = math.inf if seconds is None else float(seconds)
        return self._tickets.add(request, name, client=client, seconds=patience, progress=progress)

    def require_place(self, client: str = "") -> None:
        """Refuse a client for whom there is no place now, before it makes more of a request.

        Raises:
            OverloadedError: too much is asked already, or this is closing.
        """
        self._tickets.require_place(client)

    def load(self) -> Load:
        """Say how much there is to do."""
        return self._tickets.load(self._crashes)

    def close(self, *, seconds: float | None = None) -> None:
        """Take on no more, and answer what was taken on, for at most so many seconds.

        Then every future has ended; those without an answer have an `OverloadedError`.
        """
        here = threading.current_thread()
        patience = threading.TIMEOUT_MAX if seconds is None else min(seconds, threading.TIMEOUT_MAX)
        if here in self._threads:  # a callback, and nothing would go on while it waits
            patience = 0.0
        until = perf_counter() + patience
        self._tickets.close(patience)
        for thread in self._threads:
            if thread is not here:
                thread.join(max(until - perf_counter(), 0.0))
        atexit.unregister(self.close)

    def _live(self, work: Callable[[], None]) -> None:
        """Work until closed; what breaks off is begun anew, and the crash is told."""
        while True:
            try:
                return work()
            except BaseException as error:  # without this thread nobody would be answered
                self._crashes += 1
                logger.critical("a thread of the scheduler crashed and goes on", exc_info=error)

    def _watch(self) -> None:
        """End futures whose time is over, however long what is worked on takes."""
        while self._tickets.end_late():
            pass

    def _work(self) -> None:
        """Answer what is short, then take a step of what is long, over and over."""
        # Where this begins anew a crash has left something.
        self._end_in_hand()
        while self._tickets.await_work(busy=bool(self._begun)):
            self._answer_round()
            self._begin_long()
            if self._begun:
                self._go_on(self._begun.popleft())
        for begun in self._begun:
            begun.pieces.close()
        self._begun.clear()

    def _answer_round(self) -> None:
        """Answer about as many requests as may be worked on together, before a long one's turn."""
        images, most = self._verbs.images, self._tickets.limits.together
        left = most
        while left > 0 and (taken := self._tickets.take(most, images=images)):
            left -= len(taken)
            self._answer(taken)

    def _answer(self, taken: list[Ticket]) -> None:
        """Answer requests together; whatever happens, their futures end."""
        wanted = [ticket for ticket in taken if self._tickets.is_wanted(ticket)]
        if not wanted:
            return
        self._in_hand = wanted
        begun = perf_counter()
        failure: PromptsegError | None = None
        try:
            _tell(self._on_batch, len(wanted))
            asked = [ticket.request for ticket in wanted]
            for number, outcome, spent in self._verbs.run(asked, [each.name for each in wanted]):
                self._hand_out(wanted[number], outcome, spent)
        except Exception as error:  # noqa: BLE001 - it is told to those who asked
            failure = failure_of(error)
        self._end_in_hand(failure)
        self._tickets.pace.add(perf_counter() - begun, len(wanted))

    def _begin_long(self) -> None:
        """Drop long requests that nobody waits for, and begin others in their place."""
        for begun in list(self._begun):
            if not self._tickets.is_wanted(begun.ticket):
                self._begun.remove(begun)
                # What its threads have begun ahead is waited for, and its image let go of, here.
                begun.pieces.close()
        while len(self._begun) < MOST_BEGUN and (ticket := self._tickets.take_long()):
            self._begun.append(Begun(ticket, pieces(self._verbs, ticket.request, ticket.name)))

    def _go_on(self, begun: Begun) -> None:
        """Answer a piece; if there are more, it stands behind the others from now on."""
        ticket = begun.ticket
        self._in_hand = [ticket]
        start = perf_counter()
        try:
            progress = next(begun.pieces)
        except StopIteration as ended:
            begun.count(perf_counter() - start)
            self._hand_out(ticket, ended.value, begun.spent)
        except Exception as error:  # noqa: BLE001 - it is told to the one who asked
            self._tickets.end(ticket, failure_of(error))
        else:
            begun.count(perf_counter() - start)
            self._begun.append(begun)
            if progress is not None and self._tickets.is_wanted(ticket):
                _tell(ticket.progress, progress)
        self._in_hand = []
        has_ended = not self._tickets.is_wanted(ticket)
        self._tickets.pace.add(perf_counter() - start, int(has_ended))

    def _hand_out(self, ticket: Ticket, outcome: Outcome, spent: Spent) -> None:
        if isinstance(outcome, Exception):
            # Neighbours may have the same error, and whoever raises it adds frames to it.
            self._tickets.end(ticket, copy.copy(failure_of(outcome)))
            return
        waited = max(perf_counter() - ticket.since - spent.encode - spent.answer, 0.0)
        self._tickets.end(ticket, Answered(outcome, waited, spent.encode, spent.answer))

    def _end_in_hand(self, failure: PromptsegError | None = None) -> None:
        """End what is in hand and has no outcome yet."""
        for ticket in self._in_hand:
            if self._tickets.is_wanted(ticket):
                self._tickets.end(ticket, _unexpected() if failure is None else copy.copy(failure))
        self._in_hand = []


def _tell(listener: Callable[[Value], object] | None, value: Value) -> None:
    """Tell whoever wants to know; what goes wrong there harms no answer."""
    try:
        if listener is not None:
            listener(value)
    except Exception:
        logger.exception("who is told of the work failed")


def _unexpected() -> PromptsegError:
    return PromptsegError(
        "the query failed unexpectedly", hint="The log has all of it; please report it"
    )
