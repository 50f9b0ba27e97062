"""A batch cut into requests that a service takes, and its answers as they come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count

from promptseg.batch import Query
from promptseg.client import wire
from promptseg.client.connection import Body
from promptseg.client.events import Event
from promptseg.errors import PromptsegError
from promptseg.options.checks import require_count
from promptseg.results import Masks

# More than a form and its JSON take for an image beside its bytes and its queries.
FRAME_BYTES = 1024


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Most that one request of a batch may have: what a service takes unless told otherwise.

    Raises:
        ConfigError: a number is no whole number from 1 on.
    """

    images: int = 32
    queries: int = 256
    bytes: int = 32 * 2**20

    def __post_init__(self) -> None:
        for name in ("images", "queries", "bytes"):
            require_count(self, name, least=1)


@dataclass(frozen=True)
class Part:
    """An image of a batch as it is sent: its bytes, and by id what is asked of it, as words."""

    image: bytes
    queries: dict[str, dict[str, object]]

    @cached_property
    def length(self) -> int:
        """About how many bytes of a body it takes, and no fewer."""
        return FRAME_BYTES + len(self.image) + sum(map(_length, self.queries.values()))


def parts_of(image: bytes, queries: Sequence[Query], limits: Limits) -> Iterator[Part]:
    """Cut what is asked of one image into parts that fit, each with a query at least."""
    held: dict[str, dict[str, object]] = {}
    room = 0
    for query in queries:
        words = wire.query_words(query)
        length = _length(words)
        if held and (length > room or len(held) == limits.queries):
            yield Part(image, held)
            held = {}
        if not held:
            room = limits.bytes - FRAME_BYTES - len(image)
        held[query.id] = words
        room -= length
    if held:
        yield Part(image, held)


def fit_together(parts: Sequence[Part], limits: Limits) -> bool:
    """Whether one request may have all these."""
    return (
        len(parts) <= limits.images
        and sum(len(part.queries) for part in parts) <= limits.queries
        and sum(part.length for part in parts) <= limits.bytes
    )


def halves(parts: Sequence[Part]) -> list[Sequence[Part]]:
    """Cut a request in two: between images, or between the queries of the only one.

    That of a single query cannot be cut, and is none.
    """
    if len(parts) > 1:
        middle = len(parts) // 2
        return [parts[:middle], parts[middle:]]
    queries = list(parts[0].queries.items())
    if len(queries) == 1:
        return []
    middle = len(queries) // 2
    return [[Part(parts[0].image, dict(half))] for half in (queries[:middle], queries[middle:])]


def body_of(parts: Sequence[Part]) -> Body:
    """Write parts as one request: JSON that refers to images by the names of their files.

    There queries have numbers for ids, in their order, since not every text may be one.
    """
    number = count()
    files: dict[str, bytes] = {}
    images = []
    for part in parts:
        name = f"image-{len(files)}"
        files[name] = part.image
        queries = [{"id": str(next(number)), **words} for words in part.queries.values()]
        images.append({"id": name, "image": name, "queries": queries})
    return Body({"batch": wire.written({"images": images})}, files)


def outcomes(
    events: Iterable[Event], parts: Sequence[Part]
) -> Iterator[tuple[str, Masks | PromptsegError]]:
    """Read the answers to the request that `body_of` wrote, by the ids of their queries.

    Raises:
        ServiceError: one is unreadable, to no query of it, or missing at the end.
    """
    asked = [name for part in parts for name in part.queries]
    waiting = {str(number): name for number, name in enumerate(asked)}
    for event in events:
        if event.kind != "answer":
            continue
        said = wire.parsed(event.data)
        name = waiting.pop(str(said.get("id")), None)
        if name is None:
            raise wire.nonsense("it is to a query that was not asked")
        yield name, wire.outcome_of(said)
    if waiting:
        raise wire.nonsense("it ended before all queries were answered")


def _length(words: dict[str, object]) -> int:
    # Its id and a comma come with it.
    return len(wire.written(words)) + 20
