"""Server-sent events, taken from a body as it arrives.

https://html.spec.whatwg.org/multipage/server-sent-events.html, but for lines that end in a lone
carriage return, which no service of ours writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Event(NamedTuple):
    """What a stream says at a time: which kind of thing, and its text."""

    kind: str
    data: bytes


def events(chunks: Iterable[bytes]) -> Iterator[Event]:
    """Take events out of the pieces of a body, wherever it is cut; one without its end is none."""
    kind, data = "message", list[bytes]()
    for line in lines(chunks):
        if not line:
            if data:
                yield Event(kind, b"\n".join(data))
            kind, data = "message", []
            continue
        # A comment has nothing before its colon.
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"event":
            kind = value.decode(errors="replace")
        elif name == b"data":
            data.append(value)


def lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Take lines out of pieces; a long one is put together once, not again for every piece.

    What stands after the last end of a line is none.
    """
    begun: list[bytes] = []
    for chunk in chunks:
        first, *others = chunk.split(b"\n")
        begun.append(first)
        for other in others:
            yield b"".join(begun).removesuffix(b"\r")
            begun = [other]
