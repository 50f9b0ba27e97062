"""Server-sent events (HTML standard, 9.2): long work is told of while it goes on."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from anyio import fail_after
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from promptseg.engine.everything import Progress
from promptseg.server.problems import problem_body, status_of

logger = logging.getLogger(__name__)

ResultT = TypeVar("ResultT")

MEDIA_TYPE = "text/event-stream"
# Proxies drop connections that are silent for long, the common ones after 30 to 60 seconds.
AWAKE_SECONDS = 15.0
# Ten a second is as smooth as a bar need be.
APART_SECONDS = 0.1
# What is refused within it has a status of its own; later it is an event of a stream begun.
REFUSAL_SECONDS = 0.1
# A caller that takes nothing for so long has gone, though its connection stands.
TAKING_SECONDS = 60.0
PIECE = 64 * 2**10
# nginx is told to pass each event on when it comes.
HEADERS = {"X-Accel-Buffering": "no"}


class Event(NamedTuple):
    """One event: its name, and JSON without line breaks."""

    name: str
    data: bytes

    @classmethod
    def of(cls, name: str, said: Mapping[str, Any]) -> Event:
        """Write a value of JSON as an event."""
        return cls(name, json.dumps(said, allow_nan=False, separators=(",", ":")).encode())

    def encode(self) -> bytes:
        """Write it as a stream has it."""
        return b"event: %s\ndata: %s\n\n" % (self.name.encode(), self.data)


Source = AsyncGenerator[Event, None]


def wants_events(http: Request) -> bool:
    """Tell whether a caller names streams of events among what it accepts."""
    said = ",".join(http.headers.getlist("accept")).lower()
    for kind in said.split(","):
        name, *details = (part.strip() for part in kind.split(";"))
        if name == MEDIA_TYPE:
            return not any(_is_nothing(detail) for detail in details)
    return False


def _is_nothing(detail: str) -> bool:
    """Tell whether `q=0` is said, in one of its ways: not this one."""
    name, _, value = detail.partition("=")
    return name.strip() == "q" and value.strip().rstrip("0") in ("", ".", "0.")


def or_events(
    responses: Mapping[int | str, dict[str, Any]], description: str
) -> dict[int | str, dict[str, Any]]:
    """Add a stream of events to what the document of the API says can be answered."""
    stream = {MEDIA_TYPE: {"schema": {"type": "string", "description": description}}}
    return {**responses, 200: {**responses[200], "content": stream}}


class Latest:
    """The newest progress of a search: told by its thread, taken by the event loop.

    However quickly it is told, no more than one is held and the loop is woken once.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._newest: Progress | None = None
        self._lock = threading.Lock()

    def __call__(self, progress: Progress) -> None:
        """Tell, from any thread."""
        with self._lock:
            is_first, self._newest = self._newest is None, progress
        if is_first:
            self.wake()

    def wake(self) -> None:
        """Let whoever waits go on, from any thread; a loop that has ended has nobody."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._changed.set)

    async def changed(self) -> None:
        """Wait until something is told, or it is woken."""
        await self._changed.wait()
        self._changed.clear()

    def take(self) -> Progress | None:
        """Take what was told last, once."""
        with self._lock:
            newest, self._newest = self._newest, None
        return newest


async def told(
    work: asyncio.Task[ResultT], latest: Latest, body: Callable[[ResultT], Awaitable[bytes]]
) -> Source:
    """Tell of work until it ends: its progress, then its `body` as a result.

    Raises:
        Exception: what the work ended in.
    """
    work.add_done_callback(lambda _: latest.wake())
    while not work.done():
        await latest.changed()
        if newest := latest.take():
            yield Event.of("progress", newest._asdict())
            await asyncio.wait({work}, timeout=APART_SECONDS)
    if newest := latest.take():
        yield Event.of("progress", newest._asdict())
    yield Event("result", await body(work.result()))


async def unless_refused(work: asyncio.Task[Any]) -> None:
    """Wait a moment, so that what is refused at once is refused with a status.

    Raises:
        Exception: what the work ended in.
    """
    try:
        await asyncio.wait({work}, timeout=REFUSAL_SECONDS)
    except BaseException:
        work.cancel()
        raise
    if work.done():
        work.result()


class EventResponse(Response):
    """A stream of the events of some work, each sent as it comes, and comments while none does.

    An error is its last event. A stream that ends, however it does, ends the work, if it has some.
    """

    media_type = MEDIA_TYPE

    def __init__(self, source: Source, work: asyncio.Task[Any] | None = None) -> None:
        super().__init__(headers=HEADERS)
        # What is not known beforehand is not said.
        del self.headers["content-length"]
        self._source = source
        self._work = work
        # Asked in any case, for an error that nobody has waited for is reported as a fault.
        if work is not None:
            work.add_done_callback(lambda work: work.cancelled() or work.exception())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it all."""
        try:
            await self._begin(send)
            while event := await self._next(send):
                await _hand(send, event.encode())
                if event.name == "error":
                    break
            with fail_after(TAKING_SECONDS):
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except (ClientDisconnect, OSError):
            logger.info("a caller left a stream of events")
        finally:
            if self._work is not None:
                self._work.cancel()
            await self._source.aclose()

    async def _begin(self, send: Send) -> None:
        with fail_after(TAKING_SECONDS):
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        # Some proxies pass a stream on with its first bytes only.
        await _hand(send, b": begun\n\n")

    async def _next(self, send: Send) -> Event | None:
        """Wait for the next event; comments keep the connection awake meanwhile."""
        coming = asyncio.ensure_future(anext(self._source, None))
        try:
            while not (await asyncio.wait({coming}, timeout=AWAKE_SECONDS))[0]:
                await _hand(send, b": waiting\n\n")
        finally:
            # Whoever closes the source must not meet it at work.
            coming.cancel()
            await asyncio.wait({coming})
        try:
            return coming.result()
        except ClientDisconnect:
            raise
        except Exception as error:
            if status_of(error) == 500:
                logger.error("a request failed unexpectedly", exc_info=error)
            return Event.of("error", problem_body(error))


async def _hand(send: Send, data: bytes) -> None:
    """Hand bytes to a caller, who has some time to take each piece of them."""
    for start in range(0, len(data), PIECE):
        piece = data[start : start + PIECE]
        with fail_after(TAKING_SECONDS):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
