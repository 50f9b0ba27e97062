"""`POST /v1/batch`: many questions about many images, answered in one, or one by one as events."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, cast

from fastapi import APIRouter, Request
from pydantic_core import to_json
from starlette.responses import Response

from promptseg.server.access import Admitted
from promptseg.server.answering import GRACE, attended, due, remaining, timed
from promptseg.server.answers import milliseconds, server_timing, written
from promptseg.server.batches import BatchAnswers, BatchBody, BatchImage, Run, Subject, plan
from promptseg.server.bodies import picture_of, received
from promptseg.server.documents import SERVER_TIMING, takes
from promptseg.server.events import Event, EventResponse, Source, or_events, wants_events
from promptseg.server.keys import Caller
from promptseg.server.pictures import Picture
from promptseg.server.problems import documented
from promptseg.server.refusals import SHOWN, FieldError, field, parse
from promptseg.server.schemas import decoded
from promptseg.server.service import Service

router = APIRouter(prefix="/v1", tags=["batch"])

KINDS_HINT = (
    "Send application/json, or multipart/form-data with a part `batch`, which is JSON, and a part "
    "for each image"
)
# Answers that were not taken yet; beyond them nothing more is asked until some are.
MOST_UNTAKEN = 8


ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "model": BatchAnswers,
        "description": "What each query came to, also where all of them failed.",
        "headers": {"Server-Timing": SERVER_TIMING},
    },
    **documented(401, 413, 415, 422, 429, 503, 504),
}
EVENTS = (
    "`event: answer` with each answer as soon as it is known, then `event: done` with `model` and "
    "`timings`, or `event: error` with the body of an error. Lines that begin with a colon say "
    "nothing."
)


def takes_batch() -> dict[str, Any]:
    """Describe a body that is JSON, or a form of JSON and an image in each other part."""
    said = takes(BatchBody)
    content = said["requestBody"]["content"]
    schema = content["application/json"]["schema"]
    content["multipart/form-data"] = {
        "schema": {
            "type": "object",
            "properties": {
                "batch": {**schema, "description": "The batch, whose images name other parts."}
            },
            "required": ["batch"],
            "additionalProperties": {
                "type": "string",
                "format": "binary",
                "description": "The bytes of an image file.",
            },
        },
        "encoding": {"batch": {"contentType": "application/json"}},
    }
    return said


@router.post("/batch", responses=or_events(ANSWERS, EVENTS), openapi_extra=takes_batch())
async def batch(http: Request, caller: Admitted) -> Response:
    """Ask many questions about many images, each in the words of the single requests.

    Answers come in the order asked; an image that cannot be read, or a query that fails, has its
    `error` in place of masks, and harms no other. With `Accept: text/event-stream` each answer
    comes as soon as it is known.
    """
    service: Service = http.app.state.service
    with timed(http, "read"):
        body, parts = await _read(http)
    subjects = plan(body, max_queries=service.settings.max_queries)
    asking = Asking(http, caller, subjects, parts)
    return asking.as_events() if wants_events(http) else await asking.as_json()


class Asking:
    """A batch on its way: what is asked, by whom, and what came beside it."""

    def __init__(
        self,
        http: Request,
        caller: Caller,
        subjects: list[Subject],
        parts: Mapping[str, bytes] | None,
    ) -> None:
        self._http = http
        self._service: Service = http.app.state.service
        self._caller = caller
        self._subjects = subjects
        self._parts = parts

    async def as_json(self) -> Response:
        """Answer when all is known."""
        answers: list[dict[str, Any]] = [{}] * sum(len(each.queries) for each in self._subjects)

        async def keep(place: int, answer: dict[str, Any]) -> None:
            answers[place] = answer

        await self._answer(keep)
        spent = milliseconds(self._http)
        content = {"answers": answers, "model": self._service.model.name, "timings": spent}
        body = await written(to_json, content)
        return Response(body, media_type="application/json", headers=server_timing(spent))

    def as_events(self) -> Response:
        """Answer with each as it is known."""
        untold: asyncio.Queue[Event | None] = asyncio.Queue()
        room = asyncio.Semaphore(MOST_UNTAKEN)

        async def tell(_: int, answer: dict[str, Any]) -> None:
            event = Event("answer", await written(to_json, answer))
            await room.acquire()
            untold.put_nowait(event)

        async def answered() -> None:
            try:
                await self._answer(tell)
            finally:
                untold.put_nowait(None)

        async def told() -> Source:
            while event := await untold.get():
                room.release()
                yield event
            await work
            said = {"model": self._service.model.name, "timings": milliseconds(self._http)}
            yield Event.of("done", said)

        work = asyncio.ensure_future(answered())
        return EventResponse(told(), work)

    async def _answer(self, tell: Any) -> None:
        run = Run(
            self._service,
            self._caller,
            open_image=self._open,
            tell=tell,
            until=due(self._http),
        )
        work = asyncio.ensure_future(run.answer(self._subjects))
        await attended(self._http, cast("Any", work), seconds=remaining(self._http) + GRACE)

    async def _open(self, words: BatchImage) -> Picture:
        data = None
        if words.image is not None:
            with field("image"):
                data = (
                    await asyncio.to_thread(decoded, words.image)
                    if self._parts is None
                    else self._parts[words.image]
                )
        return await picture_of(self._service, self._caller, words, data)


async def _read(http: Request) -> tuple[BatchBody, Mapping[str, bytes] | None]:
    """Read a batch, and the parts that came with it, None where it is JSON alone.

    Raises:
        FieldError: it is not as `BatchBody` has it, or parts and images do not fit.
        MediaTypeError: it is neither JSON nor a form of parts.
    """
    settings = http.app.state.service.settings
    said, files = await _taken_apart(http, most_files=settings.max_images + 1)
    body = await asyncio.to_thread(parse, BatchBody, said, limits=settings)
    if files is not None:
        _require_fitting(body, files)
    return body, files


async def _taken_apart(
    http: Request, *, most_files: int
) -> tuple[bytes | str, dict[str, bytes] | None]:
    parts = await received(http, most_files=most_files, hint=KINDS_HINT)
    if isinstance(parts, bytes):
        return parts, None
    if "batch" not in parts:
        raise FieldError("there is no part `batch`", hint=KINDS_HINT, field="batch")
    said = parts.pop("batch")
    files = {name: part for name, part in parts.items() if isinstance(part, bytes)}
    for name in parts.keys() - files.keys():
        raise FieldError(
            f"`{name[:SHOWN]}` is a file, got text",
            hint="Send it with a file name",
            field=name[:SHOWN],
        )
    return said, files


def _require_fitting(body: BatchBody, files: Mapping[str, bytes]) -> None:
    """Refuse an image without its part, and a part without an image."""
    for number, image in enumerate(body.images):
        if image.image is not None and image.image not in files:
            raise FieldError(
                f"there is no part `{image.image[:SHOWN]}`",
                hint="In a form of parts `image` is the name of the part that has it",
                field=f"images.{number}.image",
            )
    named = {image.image for image in body.images}
    for name in files:
        if name not in named:
            raise FieldError(
                f"no image is in the part `{name[:SHOWN]}`",
                hint="Ask something of it, or leave it out",
                field=name[:SHOWN],
            )
