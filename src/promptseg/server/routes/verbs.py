"""The three verbs about one image: `/v1/segment`, `/v1/find` and `/v1/everything`."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from fastapi import APIRouter, Request
from starlette.responses import Response

from promptseg.engine.digest import Name
from promptseg.engine.scheduler import Answered
from promptseg.requests import Request as Asked
from promptseg.server.access import Placed
from promptseg.server.answering import answer, timed
from promptseg.server.answers import respond
from promptseg.server.bodies import picture_of, read, request_of
from promptseg.server.documents import answers_masks, takes
from promptseg.server.events import (
    EventResponse,
    Latest,
    or_events,
    told,
    unless_refused,
    wants_events,
)
from promptseg.server.keys import Caller
from promptseg.server.schemas import (
    EverythingBody,
    EverythingSource,
    FindBody,
    FindSource,
    Format,
    SegmentBody,
    SegmentSource,
)

EVENTS = (
    "`event: progress` with `done` of `total` points and the masks `found`, at most ten a second, "
    "then `event: result` with the same body, or `event: error` with the body of an error. Lines "
    "that begin with a colon say nothing."
)

router = APIRouter(prefix="/v1", tags=["verbs"])


@router.post("/segment", responses=answers_masks(), openapi_extra=takes(SegmentBody))
async def segment(http: Request, caller: Placed) -> Response:
    """Which pixels are this object? Say it with points, a box, a hint, or a mix.

    Several `objects` of one image are answered together.
    """
    return await _answered(http, caller, SegmentBody)


@router.post("/find", responses=answers_masks(), openapi_extra=takes(FindBody))
async def find(http: Request, caller: Placed) -> Response:
    """Where is every such thing? Say it with a phrase, with boxes of examples, or both."""
    return await _answered(http, caller, FindBody)


@router.post(
    "/everything",
    responses=or_events(answers_masks(), EVENTS),
    openapi_extra=takes(EverythingBody),
)
async def everything(http: Request, caller: Placed) -> Response:
    """What is in here? All regions of the image, best first.

    With `Accept: text/event-stream` it is told how far the search is until the result comes.
    """
    if not wants_events(http):
        return await _answered(http, caller, EverythingBody)
    asking, latest = await _asking(http, caller, EverythingBody), Latest()
    work = asyncio.ensure_future(_ask(http, caller, asking, progress=latest))
    await unless_refused(work)

    async def result(answered: Answered) -> bytes:
        return bytes((await respond(http, answered, format=asking.format)).body)

    return EventResponse(told(work, latest, result), work)


class Asking(NamedTuple):
    """What is asked of which image, and what the answer is to look like."""

    asked: Asked
    name: Name
    format: Format


async def _answered(
    http: Request,
    caller: Caller,
    model: type[SegmentSource] | type[FindSource] | type[EverythingSource],
) -> Response:
    asking = await _asking(http, caller, model)
    return await respond(http, await _ask(http, caller, asking), format=asking.format)


async def _asking(
    http: Request,
    caller: Caller,
    model: type[SegmentSource] | type[FindSource] | type[EverythingSource],
) -> Asking:
    service = http.app.state.service
    body, data = await read(http, model)
    with timed(http, "decode"):
        picture = await picture_of(service, caller, body, data)
        asked = await request_of(service, caller, body, picture)
    return Asking(asked, picture.name, body.format)


async def _ask(
    http: Request, caller: Caller, asking: Asking, *, progress: Latest | None = None
) -> Answered:
    service = http.app.state.service
    return await answer(service, http, caller, asking.asked, asking.name, progress=progress)
