"""Ask the model on a caller's behalf: for as long as it waits, and no longer than it may."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from starlette.requests import ClientDisconnect, Request

from promptseg.engine.digest import Name
from promptseg.engine.everything import Progress
from promptseg.engine.scheduler import Answered
from promptseg.errors import DeadlineError
from promptseg.requests import Request as Asked
from promptseg.server.keys import Caller

if TYPE_CHECKING:
    from promptseg.server.service import Service

# The scheduler ends what is late; this much later it is given up on here.
GRACE = 5.0


async def answer(
    service: Service,
    http: Request,
    caller: Caller,
    asked: Asked,
    name: Name,
    *,
    progress: Callable[[Progress], object] | None = None,
) -> Answered:
    """Ask the model, and take the question back when its caller leaves.

    Call it once the body has been read: what the caller sends from then on is its leaving.

    Raises:
        OverloadedError: there are too many requests.
        DeadlineError: the answer took longer than it may.
        ClientDisconnect: the caller has gone.
        PromptsegError: the model cannot answer it.
    """
    seconds = remaining(http)
    future = service.scheduler.submit(
        asked, name=name, client=caller.owner, seconds=seconds, progress=progress
    )
    try:
        answered = await attended(http, future, seconds=seconds + GRACE)
    except DeadlineError:
        # Its own words are of the time that was left.
        raise late(service.settings.max_seconds) from None
    timings(http).update(stages(service, answered))
    return answered


def stages(service: Service, answered: Answered) -> dict[str, float]:
    """Return the seconds that the model's stages took of a request, and count them."""
    spent = {"queue": answered.waited, "encode": answered.encode, "answer": answered.answer}
    for stage, seconds in spent.items():
        service.metrics.stage(stage, seconds)
    return spent


async def attended(http: Request, future: Future[Answered], *, seconds: float) -> Answered:
    """Wait for an answer, for its caller's leaving, or for `seconds`; then take it back.

    Raises:
        DeadlineError: it took longer.
        ClientDisconnect: the caller has gone.
        PromptsegError: what the future ends with.
    """
    waiting = asyncio.wrap_future(future)
    leaving = asyncio.ensure_future(_left(http))
    try:
        either: set[asyncio.Future[Any]] = {waiting, leaving}
        await asyncio.wait(either, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            return waiting.result()
        if leaving.done():
            raise ClientDisconnect
        raise late(seconds)
    finally:
        waiting.cancel()
        leaving.cancel()
        await asyncio.wait({leaving})


def due(http: Request) -> float:
    """Return until when a request may take, by `time.monotonic`; the guards note when it came."""
    if not hasattr(http.state, "due"):
        http.state.due = time.monotonic() + http.app.state.service.settings.max_seconds
    until: float = http.state.due
    return until


def remaining(http: Request) -> float:
    """Return how many seconds a request may still take, 0 where none."""
    return max(due(http) - time.monotonic(), 0.0)


def require_time(until: float) -> None:
    """Refuse to write on after `until`, by `time.monotonic`.

    Raises:
        DeadlineError: it is later.
    """
    if time.monotonic() > until:
        raise DeadlineError(
            "the masks could not be written within the time that a request may take",
            hint="Ask for fewer masks, or for another format",
        )


def late(seconds: float) -> DeadlineError:
    """Make the error of a request that took longer than it may."""
    return DeadlineError(
        f"the request took longer than {seconds:g} s", hint="Ask for less at a time, or later"
    )


def timings(http: Request) -> dict[str, float]:
    """Return the seconds that each stage of a request took so far."""
    if not hasattr(http.state, "timings"):
        http.state.timings, http.state.begun = {}, time.perf_counter()
    known: dict[str, float] = http.state.timings
    return known


@contextmanager
def timed(http: Request, stage: str) -> Iterator[None]:
    """Note how long a stage of a request takes."""
    begun = time.perf_counter()
    try:
        yield
    finally:
        timings(http)[stage] = timings(http).get(stage, 0.0) + time.perf_counter() - begun


async def _left(http: Request) -> None:
    while (await http.receive())["type"] != "http.disconnect":
        pass
