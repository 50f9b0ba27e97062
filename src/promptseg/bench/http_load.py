"""Load for a server on this machine: requests as soon as answers come, or at a steady rate.

At a steady rate a request counts from when it was meant to be sent, whatever came between: a server
that stalls makes those wait that would have come meanwhile, and so it does with real callers.
"""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any, NamedTuple, TypeAlias, TypeVar

HOST = "127.0.0.1"
# Longest that an answer is waited for, in seconds.
PATIENCE = 60.0
LOST = 0
BOUNDARY = "a-boundary-that-is-in-no-photo"

LOOKS = 10

# Makes the bytes of the request of a number.
Make: TypeAlias = Callable[[int], bytes]
Result = TypeVar("Result")


class Stream(NamedTuple):
    """Requests that are sent at a steady rate, so many in a second."""

    make: Make
    rate: float


class Reply(NamedTuple):
    """An answer: its status, headers by lower-case names, and body."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """Return what the body says."""
        return json.loads(self.body)


class Shot(NamedTuple):
    """What became of a request; `LOST` for a status where no whole answer came.

    `seconds` are from when it was to be sent until its answer was there, `late` those of them that
    the sender itself took before it began, and `ended` those since the first request.
    """

    status: int
    seconds: float
    late: float
    ended: float
    says_when: bool


@dataclass(frozen=True, kw_only=True)
class Volley:
    """All requests of a while, and for how many seconds they were sent."""

    shots: tuple[Shot, ...]
    seconds: float

    def of(self, *statuses: int) -> list[Shot]:
        """Return the requests that were answered so."""
        return [shot for shot in self.shots if shot.status in statuses]

    @property
    def rate(self) -> float:
        """Good answers in a second, of those that came while requests were sent."""
        return sum(shot.ended <= self.seconds for shot in self.of(200)) / self.seconds


def request(
    path: str, body: bytes | None = None, *, kind: str = "application/json", headers: str = ""
) -> bytes:
    """Write a request: a POST where there is a body, else a GET."""
    method = "GET" if body is None else "POST"
    about = "" if body is None else f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
    head = f"{method} {path} HTTP/1.1\r\nHost: {HOST}\r\n{about}{headers}\r\n"
    return head.encode() + (body or b"")


def upload(path: str, image: bytes, query: object) -> bytes:
    """Write a request that sends an image and beside it what is asked, as a form of two parts."""
    part = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="'
    body = (
        f'{part}query"\r\n\r\n{json.dumps(query)}\r\n{part}image"; filename="a.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    ).encode() + image
    body += f"\r\n--{BOUNDARY}--\r\n".encode()
    return request(path, body, kind=f"multipart/form-data; boundary={BOUNDARY}")


def ask(port: int, asked: bytes) -> Reply:
    """Ask one thing, over a connection of its own.

    Raises:
        OSError: there is no answer.
    """
    [reply] = at_once(port, [asked])
    return reply


def at_once(port: int, asked: Sequence[bytes]) -> list[Reply]:
    """Ask several things at the same time.

    Raises:
        OSError: one of them has no answer.
    """

    async def asking(callers: _Callers) -> list[Reply]:
        return list(await asyncio.gather(*(callers.ask(each) for each in asked)))

    return _run(port, asking)


def in_turns(port: int, make: Make, *, callers: int, seconds: float) -> Volley:
    """Let so many callers ask one thing after the other, and wait for their last answers."""

    async def asking(pool: _Callers) -> Volley:
        numbers = iter(range(2**62))
        shots: list[Shot] = []
        begun = perf_counter()

        async def caller() -> None:
            while (due := perf_counter()) < begun + seconds:
                shots.append(await _shoot(pool, make(next(numbers)), due=due, begun=begun))

        await asyncio.gather(*(caller() for _ in range(callers)))
        # A slow server answers most of them only after the last was sent.
        return Volley(shots=tuple(shots), seconds=max(shot.ended for shot in shots))

    return _run(port, asking)


def one_by_one(port: int, asked: Sequence[bytes]) -> list[Shot]:
    """Ask one thing after the other over one connection."""

    async def asking(pool: _Callers) -> list[Shot]:
        begun = perf_counter()
        return [await _shoot(pool, each, due=perf_counter(), begun=begun) for each in asked]

    return _run(port, asking)


def at_rates(
    port: int, streams: Sequence[Stream], *, seconds: float, beside: Callable[[], object] = int
) -> list[Volley]:
    """Send each stream's requests at its rate, whether or not answers come; then await them all.

    `beside` is called ten times meanwhile, at even distances.
    """

    async def asking(pool: _Callers) -> list[Volley]:
        begun = perf_counter()
        flows = [_flow(pool, stream, begun=begun, seconds=seconds) for stream in streams]
        looking = asyncio.create_task(_look(beside, seconds))
        volleys = list(await asyncio.gather(*flows))
        await looking
        return volleys

    return _run(port, asking)


async def _flow(pool: _Callers, stream: Stream, *, begun: float, seconds: float) -> Volley:
    shots = []
    for number in range(max(1, round(stream.rate * seconds))):
        asked, due = stream.make(number), begun + number / stream.rate
        while (early := due - perf_counter()) > 0:
            await asyncio.sleep(early)
        shots.append(asyncio.create_task(_shoot(pool, asked, due=due, begun=begun)))
    ended = await asyncio.gather(*shots)
    return Volley(shots=tuple(ended), seconds=seconds)


async def _look(beside: Callable[[], object], seconds: float) -> None:
    for _ in range(LOOKS):
        beside()
        await asyncio.sleep(seconds / LOOKS)


class _Callers:
    """Connections to a server, as many as there are requests at a time, each used again."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self, asked: bytes) -> Reply:
        """Send a request and read its answer.

        Raises:
            OSError: the connection broke off.
        """
        reader, writer = await self._connection()
        try:
            writer.write(asked)
            reply = await asyncio.wait_for(_read(reader), PATIENCE)
        except (asyncio.IncompleteReadError, asyncio.TimeoutError, TimeoutError) as error:
            writer.close()
            raise ConnectionError("no whole answer came") from error
        except BaseException:
            writer.close()
            raise
        if reply.headers.get("connection") == "close":
            writer.close()
        else:
            self._idle.append((reader, writer))
        return reply

    def close(self) -> None:
        """Let go of idle connections."""
        for _, writer in self._idle:
            writer.close()
        self._idle.clear()

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._idle:
            reader, writer = self._idle.pop()
            if not (reader.at_eof() or writer.is_closing()):
                return reader, writer
            writer.close()
        return await asyncio.open_connection(HOST, self._port)


async def _read(reader: asyncio.StreamReader) -> Reply:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip().split("\r\n")
    named = (line.partition(":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in named}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Reply(int(first.split(" ")[1]), headers, body)


async def _shoot(pool: _Callers, asked: bytes, *, due: float, begun: float) -> Shot:
    late = perf_counter() - due
    status, says_when = LOST, False
    try:
        reply = await pool.ask(asked)
        status, says_when = reply.status, "retry-after" in reply.headers
    except OSError:
        # Else callers in turns would try again at once, over and over.
        await asyncio.sleep(0.01)
    ended = perf_counter()
    return Shot(status, ended - due, late, ended - begun, says_when)


def _run(port: int, work: Callable[[_Callers], Coroutine[Any, Any, Result]]) -> Result:
    async def working() -> Result:
        pool = _Callers(port)
        try:
            return await work(pool)
        finally:
            pool.close()

    with _undisturbed():
        return asyncio.run(working())


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Keep the collector of garbage from looking through all of torch between two requests."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
