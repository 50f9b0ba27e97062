"""Open sessions: a store that has each for its owner, and not for ever."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from promptseg.errors import DeadlineError, OverloadedError, SessionError
from promptseg.server.drawing import State
from promptseg.server.quotas import QuotaError

ID_BYTES = 24
# Requests about one session that wait for their turn.
MOST_WAITING = 16
# A page that has crashed, or was shut without a word, asks for its sessions no more.
IDLE_SECONDS = 60.0
CLOSE_HINT = "Close one with `DELETE /v1/sessions/{id}`"


@dataclass(kw_only=True, eq=False)
class Held:
    """A session in the store: whose it is, when it was last asked for, and who waits for it."""

    owner: str
    state: State
    used: float
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0


class Listed(NamedTuple):
    """An open session, and the seconds until it is closed if nobody asks for it."""

    id: str
    state: State
    expires_in: float


class Sessions:
    """Open sessions by their ids, which nobody can guess, each for its owner alone.

    An owner has at most `max_each`, and one is closed after `seconds` without a request. All of
    them take at most `max_bytes` together, and those of one of several owners half of that; None is
    no bound. Where a new one has no room, those of its owner that nobody has asked for in
    `IDLE_SECONDS` give way, as few as will do. Threads may share it, but for `turn`, which is for
    one event loop.
    """

    def __init__(
        self,
        max_each: int,
        seconds: float,
        *,
        max_bytes: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.max_each = max_each
        self.seconds = seconds
        self.max_bytes = max_bytes
        self._clock = clock
        self._lock = threading.Lock()
        self._held: dict[str, Held] = {}

    def __len__(self) -> int:
        self.expire()
        return len(self._held)

    @property
    def bytes(self) -> int:
        """How much memory open sessions take."""
        with self._lock:
            return _bytes(held.state for held in self._held.values())

    def open(self, owner: str, state: State) -> str:
        """Keep a new session and return its id.

        Raises:
            QuotaError: the owner has as many as are allowed, or they take all that they may.
            OverloadedError: all sessions would take more memory than they may.
        """
        self.expire()
        with self._lock:
            now = self._clock()
            idle = self._idle(owner, now)
            for leaving in range(len(idle) + 1):
                kept = {key: self._held[key] for key in self._held.keys() - idle[:leaving]}
                try:
                    self._require_place(owner, kept.values())
                    state = self._fitted(owner, state, kept.values())
                    break
                except OverloadedError:
                    if leaving == len(idle):
                        raise
            for key in idle[:leaving]:
                del self._held[key]
            name = secrets.token_urlsafe(ID_BYTES)
            self._held[name] = Held(owner=owner, state=state, used=now)
        return name

    def get(self, owner: str, name: str) -> State:
        """Return a session as it is now.

        Raises:
            SessionError: it is not there, or not this owner's; the message does not say which.
        """
        return self._find(owner, name).state

    def put(self, owner: str, name: str, state: State) -> None:
        """Keep what became of a session; where room is short its earliest steps are forgotten.

        Raises:
            SessionError: it has been closed meanwhile.
            QuotaError, OverloadedError: there is no room even so; it stays as it was.
        """
        held = self._find(owner, name)
        self.expire()
        with self._lock:
            if state.bytes > held.state.bytes:
                others = [each for each in self._held.values() if each is not held]
                state = self._fitted(owner, state, others)
            held.state = state

    def close(self, owner: str, name: str) -> None:
        """Let go of a session.

        Raises:
            SessionError: as `get`.
        """
        self._find(owner, name)
        self.discard(name)

    def discard(self, name: str) -> None:
        """Let go of a session, whosever it is and whether or not it is there."""
        with self._lock:
            self._held.pop(name, None)

    def expire(self) -> None:
        """Let go of sessions that nobody has asked for in too long."""
        with self._lock:
            now = self._clock()
            for name, held in list(self._held.items()):
                if self._is_over(held, now):
                    del self._held[name]

    def of_owner(self, owner: str) -> list[Listed]:
        """List an owner's sessions, the oldest first; this keeps none open."""
        self.expire()
        with self._lock:
            now = self._clock()
            return [
                Listed(name, held.state, max(0.0, held.used + self.seconds - now))
                for name, held in self._held.items()
                if held.owner == owner
            ]

    @asynccontextmanager
    async def turn(
        self, owner: str, name: str, *, seconds: float | None = None
    ) -> AsyncIterator[None]:
        """Do one thing after another with a session; `seconds` bound the wait for one's turn.

        Raises:
            SessionError: as `get`, and when it was closed while this waited.
            OverloadedError: too many wait already.
            DeadlineError: others took too long.
        """
        held = self._find(owner, name)
        if held.waiting >= MOST_WAITING:
            raise OverloadedError(
                f"{held.waiting} requests wait for this session already",
                hint="Wait for an answer before you ask on",
                retry_after=1.0,
            )
        held.waiting += 1
        try:
            await asyncio.wait_for(held.turn.acquire(), seconds)
        except (TimeoutError, asyncio.TimeoutError):
            raise DeadlineError(
                "other requests kept this session busy for longer than this one may take",
                hint="Wait for an answer before you ask on",
            ) from None
        finally:
            held.waiting -= 1
        try:
            self._find(owner, name)
            yield
        finally:
            held.turn.release()

    def _find(self, owner: str, name: str) -> Held:
        with self._lock:
            held, now = self._held.get(name), self._clock()
            if held is None or held.owner != owner or self._is_over(held, now):
                raise absent()
            held.used = now
            return held

    def _is_over(self, held: Held, now: float) -> bool:
        return now - held.used >= self.seconds and not held.turn.locked()

    def _idle(self, owner: str, now: float) -> list[str]:
        """List an owner's sessions that nobody has asked for in a while, the idlest first."""
        idle = [
            (held.used, name)
            for name, held in self._held.items()
            if held.owner == owner and now - held.used >= IDLE_SECONDS and not held.turn.locked()
        ]
        return [name for _, name in sorted(idle)]

    def _require_place(self, owner: str, others: Iterable[Held]) -> None:
        own = sum(held.owner == owner for held in others)
        if own >= self.max_each:
            raise QuotaError(
                f"you have {own} sessions open, and {self.max_each} are allowed",
                hint=CLOSE_HINT,
                retry_after=1.0,
            )

    def _fitted(self, owner: str, state: State, others: Iterable[Held]) -> State:
        """Return a state as it has room beside others, whole or with its last steps only.

        Without keys in use there is one owner, without a name, whose is all. An owner's only
        session may be as large as it gets.
        """
        if self.max_bytes is None:
            return state
        others = list(others)
        own = [held.state for held in others if held.owner == owner]
        beside = _bytes([state, *(held.state for held in others)]) - state.bytes
        room = self.max_bytes - beside
        if owner and own:
            room = min(room, self.max_bytes // 2 - _bytes([state, *own]) + state.bytes)
        if state.bytes > room:
            state = state.within(room)
        if state.bytes > room:
            kind = QuotaError if own else OverloadedError
            raise kind(
                f"{'your' if own else 'the'} open sessions take all the memory that they may",
                hint=CLOSE_HINT,
                retry_after=1.0,
            )
        return state


def _bytes(states: Iterable[State]) -> int:
    """How much memory sessions take; an image that several show counts once."""
    states = list(states)
    images = {id(each.picture.pixels): each.picture.pixels.nbytes for each in states}
    return sum(images.values()) + sum(each.bytes for each in states)


def absent() -> SessionError:
    """Make the one error of a session that is not there, or not one's own."""
    return SessionError(
        "there is no such session", hint="It may have expired; open one with `POST /v1/sessions`"
    )
