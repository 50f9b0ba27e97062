"""A batch: many questions about many images, in the words of a body, and how they are answered."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from itertools import count
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias, TypeVar, cast

from anyio import create_task_group
from pydantic import (
    BaseModel,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    create_model,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticOmit, core_schema

from promptseg.batch import VERBS
from promptseg.engine.scheduler import Answered
from promptseg.errors import OverloadedError, PromptError
from promptseg.server.answering import late, stages
from promptseg.server.answers import DECIMALS, MasksBody, answer_body, written
from promptseg.server.bodies import request_of
from promptseg.server.keys import Caller
from promptseg.server.option_words import Words
from promptseg.server.pictures import Picture
from promptseg.server.problems import Reason, problem_body, status_of
from promptseg.server.refusals import SHOWN, FieldError
from promptseg.server.schemas import (
    EverythingQuery,
    FindQuery,
    Format,
    Limited,
    Question,
    SegmentQuery,
)
from promptseg.server.service import Service

logger = logging.getLogger(__name__)

ReadyT = TypeVar("ReadyT")

# Decoded images wait for the model; one more than it works on is enough.
IMAGES_AT_A_TIME = 2
# How soon a question that found no room is asked again, and how soon at last, in seconds.
AGAIN_SECONDS, LAST_AGAIN_SECONDS = 0.05, 1.0
KNOWN = tuple(VERBS.values())


class Named(Words):
    """Part of a batch that may be given an id."""

    id: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="Any text that no other of the batch has; left out, one is made.",
    )


class Query(Named):
    """One query: the words of a single request, and the verb that they are for."""

    verb: str
    format: Format = "rle"


def _of_verb(words: type[Words], verb: str) -> Any:
    said: Any = Literal[verb]
    return create_model(
        f"Batch{words.__name__}",
        __base__=(words, Query),
        __doc__=words.__doc__,
        verb=(said, Field(description="Which question it is.")),
    )


def _tag(query: Any) -> str:
    """Tell which words a query is to be read by; where none are, which refuse it."""
    verb = query.get("verb") if isinstance(query, dict) else None
    return verb.capitalize() if isinstance(verb, str) and verb in KNOWN else "Unknown"


class Unknown:
    """Refuses a query without a known verb; the document of the API has no place for it."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Refuse whatever comes."""
        return core_schema.no_info_plain_validator_function(self.refuse)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Leave it out of the choice."""
        raise PydanticOmit

    def refuse(self, query: object) -> None:
        """Say what a query needs."""
        raise FieldError(
            f"a query is an object with a `verb`, which is one of {', '.join(KNOWN)}",
            hint='Such as {"verb": "find", "text": "red car"}',
            field="verb" if isinstance(query, dict) else "",
        )


# Tags begin with a capital, by which a refusal knows that they are no field.
WORDS: dict[str, Any] = {
    "Segment": _of_verb(SegmentQuery, "segment"),
    "Find": _of_verb(FindQuery, "find"),
    "Everything": _of_verb(EverythingQuery, "everything"),
    "Unknown": Annotated[Any, Unknown()],
}


class ByVerb:
    """Reads a query by the words of its verb."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Choose among the words."""
        choices = {tag: handler.generate_schema(words) for tag, words in WORDS.items()}
        return core_schema.tagged_union_schema(choices, _tag)


class BatchImage(Named):
    """One image, and what is asked of it."""

    image: str | None = Field(
        default=None,
        min_length=1,
        description="The image: in JSON its bytes in base64, in a form "
        "of parts the name of the part that has it.",
    )
    session: str | None = Field(
        default=None, max_length=64, description="The id of an open session, for its image."
    )
    queries: Annotated[list[Annotated[Query, ByVerb()]], Limited("max_queries")] = Field(
        min_length=1, description="What is asked of it, in the words of the single requests."
    )

    @model_validator(mode="after")
    def _one_source(self) -> BatchImage:
        if (self.image is None) == (self.session is None):
            raise PromptError(
                "an image of a batch has either `image` or `session`",
                hint="Send an image, or name an open session",
            )
        return self


class BatchBody(Words):
    """Many questions about many images."""

    images: Annotated[list[BatchImage], Limited("max_images")] = Field(
        min_length=1, description="The images, and what is asked of each."
    )
    format: Format = Field(
        default="rle", description="What each mask is given as, where its query does not say."
    )


class BatchMasks(MasksBody):
    """The masks that answer one query."""

    image: str = Field(description="The id of the image, yours or one that was made.")
    id: str = Field(description="The id of the query, yours or one that was made.")
    verb: str = Field(description="Which question it was.")


class BatchFailure(BaseModel):
    """Why one query has no answer."""

    image: str
    id: str
    verb: str
    error: Reason


class BatchAnswers(BaseModel):
    """What a batch came to, in the order asked."""

    answers: list[BatchMasks | BatchFailure]
    model: str = Field(description="Which model answered.")
    timings: dict[str, float] = Field(description="Milliseconds of the whole batch.")


class Asked(NamedTuple):
    """One query: its place among all, the ids by which it is answered, and its words."""

    place: int
    image: str
    id: str
    verb: str
    format: Format
    words: Query


class Subject(NamedTuple):
    """One image: as it came, and all that is asked of it."""

    words: BatchImage
    queries: list[Asked]


def plan(body: BatchBody, *, max_queries: int) -> list[Subject]:
    """Give every image and query an id, and each query its place.

    Raises:
        FieldError: two have one id, or there are too many queries.
    """
    images = _ids([(f"images.{i}", each.id, "image") for i, each in enumerate(body.images)])
    queries = _ids(
        [
            (f"images.{i}.queries.{j}", query.id, query.verb)
            for i, each in enumerate(body.images)
            for j, query in enumerate(each.queries)
        ]
    )
    if len(queries) > max_queries:
        raise FieldError(
            f"a batch has at most {max_queries} queries, got {len(queries)}",
            hint="Ask in several requests, or let whoever runs the service allow more",
            field="images",
        )
    places = count()
    return [
        Subject(
            each,
            [
                Asked(place, name, queries[place], query.verb, _format(query, body), query)
                for query, place in zip(each.queries, places, strict=False)
            ],
        )
        for each, name in zip(body.images, images, strict=True)
    ]


def _format(query: Query, body: BatchBody) -> Format:
    return query.format if "format" in query.model_fields_set else body.format


def _ids(wanted: Sequence[tuple[str, str | None, str]]) -> list[str]:
    """Return an id for each: the one that is wanted, or a new one after what it is."""
    taken: set[str] = set()
    for place, name, _ in wanted:
        if name in taken:
            raise FieldError(
                f"`{name[:SHOWN]}` is the id of two of one batch",
                hint="Give each its own, or none",
                field=f"{place}.id",
            )
        if name is not None:
            taken.add(name)
    made = []
    for number, (_, name, kind) in enumerate(wanted, start=1):
        if name is None:
            free = (f"{kind}-{number}{extra}" for extra in _endings())
            name = next(each for each in free if each not in taken)
            taken.add(name)
        made.append(name)
    return made


def _endings() -> Iterator[str]:
    yield ""
    yield from (f"-{number}" for number in count(2))


Open: TypeAlias = Callable[[BatchImage], Awaitable[Picture]]
Tell: TypeAlias = Callable[[int, dict[str, Any]], Awaitable[None]]


class Run:
    """Answers a batch for one caller, and tells each answer with its place as soon as it is known.

    Few images are held and few questions asked at a time, so that a batch of any size finds room,
    and leaves half of what is the caller's for clicks meanwhile. What is not answered within
    `max_seconds`, which is `until` by `time.monotonic`, has a `DeadlineError` for an answer.
    """

    def __init__(
        self, service: Service, caller: Caller, *, open_image: Open, tell: Tell, until: float
    ) -> None:
        settings = service.settings
        self._service = service
        self._caller = caller
        self._open = open_image
        self._tell = tell
        self._until = until
        self._images = asyncio.Semaphore(IMAGES_AT_A_TIME)
        room = min(settings.waiting, settings.waiting_each)
        self._queries = asyncio.Semaphore(max(room // 2, 1))

    async def answer(self, subjects: Sequence[Subject]) -> None:
        """Answer all of it; whoever cancels it takes all questions back."""
        async with create_task_group() as group:
            for subject in subjects:
                group.start_soon(self._answer_image, subject)

    async def _answer_image(self, subject: Subject) -> None:
        async with self._images:
            try:
                picture = await self._patiently(lambda: self._open(subject.words))
            except Exception as error:  # noqa: BLE001 - it is this image's alone
                failure = _failed(error)
                for query in subject.queries:
                    await self._say(query, failure)
                return
            async with create_task_group() as group:
                for query in subject.queries:
                    group.start_soon(self._answer_query, query, picture)

    async def _answer_query(self, query: Asked, picture: Picture) -> None:
        async with self._queries:
            try:
                said = await self._answered(query, picture)
            except Exception as error:  # noqa: BLE001 - it is this query's alone
                said = _failed(error)
            await self._say(query, said)

    async def _answered(self, query: Asked, picture: Picture) -> dict[str, Any]:
        service, words = self._service, cast(Question, query.words)
        request = await self._patiently(lambda: request_of(service, self._caller, words, picture))

        async def submitted() -> Future[Answered]:
            return service.scheduler.submit(
                request, name=picture.name, client=self._caller.owner, seconds=self._left()
            )

        answered = await asyncio.wrap_future(await self._patiently(submitted))
        spent = stages(service, answered)
        return await written(
            answer_body,
            answered,
            format=query.format,
            model=service.model.name,
            timings={stage: round(1000 * spent[stage], DECIMALS) for stage in spent},
            id=query.id,
            until=self._until,
        )

    async def _say(self, query: Asked, said: Mapping[str, Any]) -> None:
        named = {"image": query.image, "id": query.id, "verb": query.verb}
        await self._tell(query.place, {**named, **said})

    async def _patiently(self, take: Callable[[], Awaitable[ReadyT]]) -> ReadyT:
        """Try until there is room, as long as there is time.

        Raises:
            DeadlineError: the time is over.
        """
        again = AGAIN_SECONDS
        while self._left() > 0:
            with suppress(OverloadedError):
                return await take()
            await asyncio.sleep(min(again, self._left()))
            again = min(2 * again, LAST_AGAIN_SECONDS)
        raise late(self._service.settings.max_seconds)

    def _left(self) -> float:
        return self._until - time.monotonic()


def _failed(error: Exception) -> dict[str, Any]:
    """Describe an error in the place of an answer."""
    if status_of(error) == 500:
        logger.error("a query of a batch failed unexpectedly", exc_info=error)
    return problem_body(error)
