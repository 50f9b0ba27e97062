"""Objects being drawn step by step: values, and the store that has them for their owners."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from promptseg.engine.session import Step, Steps
from promptseg.errors import DeadlineError, OverloadedError, PromptError, SessionError
from promptseg.geometry import Size
from promptseg.masks import RunLength
from promptseg.options import SegmentOptions
from promptseg.prompts import Prompt
from promptseg.results import Masks
from promptseg.server.pictures import Picture
from promptseg.server.quotas import QuotaError
from promptseg.server.schemas import Format

ID_BYTES = 24
# What undo can take back of one object: so many steps, and so many bytes that they keep.
MOST_STEPS = 100
STEP_BYTES = 16 * 2**20
# What the objects that are done may take; those of photos take some kilobytes each.
OBJECT_BYTES = 16 * 2**20
# A mask keeps its runs, and once it was asked for them their places and their sums.
RUN_COPIES = 3
# Requests about one session that wait for their turn.
MOST_WAITING = 16
CLOSE_HINT = "Close one with `DELETE /v1/sessions/{id}`"


class Accepted(NamedTuple):
    """An object that is done: its one mask, and what it is said to be."""

    masks: Masks
    label: str | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class State:
    """One image, the objects that are done, and the steps of the one being drawn: a value.

    `format` is that in which its masks go out.
    """

    picture: Picture
    options: SegmentOptions = field(default_factory=SegmentOptions)
    format: Format = "rle"
    steps: Steps = field(default_factory=Steps)
    objects: tuple[Accepted, ...] = ()

    @property
    def size(self) -> Size:
        """The size of its image, and of its masks."""
        return Size(*self.picture.pixels.shape[:2])

    @cached_property
    def bytes(self) -> int:
        """How much memory its steps and objects take, beside its image."""
        kept = {place: size for step in self.steps.taken for place, size in _kept(step).items()}
        return sum(kept.values()) + _object_bytes(self.objects)

    @property
    def masks(self) -> Masks:
        """The object as drawn so far; none before the first step."""
        return Masks.empty(self.size) if self.steps.masks is None else self.steps.masks

    @property
    def accepted(self) -> Masks:
        """The objects that are done, numbered in their order, with their labels."""
        if not self.objects:
            return Masks.empty(self.size)
        return replace(
            Masks.concatenate([each.masks for each in self.objects]),
            objects=np.arange(len(self.objects)),
            labels=np.array([each.label or "" for each in self.objects]),
        )

    def require_room(self, new: Prompt, *, max_points: int) -> None:
        """Refuse what would be more points of one object than are allowed.

        Raises:
            PromptError: it would.
        """
        points = self.steps.said(new).points
        if points is not None and len(points) > max_points:
            raise PromptError(
                f"an object has at most {max_points} points, and this makes {len(points)}",
                hint="Accept the object, or take steps back",
            )

    def answered(self, new: Prompt, answer: Masks) -> State:
        """Return the state after one more step, whose answer came with its logits."""
        steps = self.steps.with_answer(new, answer, self.options)
        return replace(self, steps=_latest(steps, STEP_BYTES))

    def within(self, most: int) -> State:
        """Return the state with as many of its last steps as fit into `most` bytes, and one."""
        return replace(self, steps=_latest(self.steps, most - _object_bytes(self.objects)))

    def undone(self) -> State:
        """Return the state without the last step; without steps it stays as it is."""
        return replace(self, steps=self.steps.undone())

    def accept(self, *, label: str | None = None, mask: int = 0, max_objects: int) -> State:
        """Return the state in which one of the masks is an object that is done.

        Raises:
            PromptError: there is no such mask, or the objects are too many or too large.
        """
        masks = self.masks
        if not 0 <= mask < len(masks):
            raise PromptError(
                f"there is no mask {mask} to accept, but {len(masks)} of them, counted from 0"
                if len(masks)
                else "there is no mask to accept",
                hint="Say with points, a box or a hint what the object is",
            )
        if len(self.objects) >= max_objects:
            raise PromptError(
                f"a session has at most {max_objects} objects", hint="Open another for more"
            )
        done = Accepted(replace(masks[[mask]], logits=None), label)
        objects = (*self.objects, done)
        if _object_bytes(objects) > OBJECT_BYTES:
            raise PromptError(
                "the objects of this session have too intricate outlines to be kept together",
                hint="Open another for more, or draw smoother ones (`tidy`)",
            )
        return replace(self, steps=Steps(), objects=objects)

    def without(self, number: int) -> State:
        """Return the state without an object that was done; later ones move up.

        Raises:
            SessionError: there is no such object.
        """
        if not 0 <= number < len(self.objects):
            raise SessionError(
                "there is no such object in the session",
                hint="Objects are counted from 0, in the order in which they were accepted",
            )
        return replace(self, objects=self.objects[:number] + self.objects[number + 1 :])


def _latest(steps: Steps, most: int) -> Steps:
    """Forget the earliest steps where they are too many, or keep more bytes; the last one stays."""
    kept: dict[int, int] = {}
    first = len(steps)
    for step in reversed(steps.taken[-MOST_STEPS:]):
        kept |= _kept(step)
        if first < len(steps) and sum(kept.values()) > most:
            break
        first -= 1
    return Steps(steps.taken[first:])


def _kept(step: Step) -> dict[int, int]:
    """Return the bytes of what a step keeps, each by its identity, for steps share some of it."""
    points, hint = step.prompt.points, step.prompt.hint
    arrays = [step.logits]
    if points is not None:
        arrays += [points.coordinates, points.labels]
    if hint is not None:
        arrays.append(hint.mask)
    runs = {id(run): _run_bytes(run) for run in step.masks.runs}
    return runs | {id(array): array.nbytes for array in arrays}


def _object_bytes(objects: Iterable[Accepted]) -> int:
    return sum(_run_bytes(run) for each in objects for run in each.masks.runs)


def _run_bytes(run: RunLength) -> int:
    return RUN_COPIES * run.counts.nbytes


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
    no bound. Threads may share it, but for `turn`, which is for one event loop.
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
            own = sum(held.owner == owner for held in self._held.values())
            if own >= self.max_each:
                raise QuotaError(
                    f"you have {own} sessions open, and {self.max_each} are allowed",
                    hint=CLOSE_HINT,
                    retry_after=1.0,
                )
            state = self._fitted(owner, state, self._held.values())
            name = secrets.token_urlsafe(ID_BYTES)
            self._held[name] = Held(owner=owner, state=state, used=self._clock())
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
