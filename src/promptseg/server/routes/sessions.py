"""One image, refined step by step: `/v1/sessions`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, FastAPI, Path, Request
from pydantic import BaseModel, Field
from pydantic_core import to_json
from starlette.responses import Response

from promptseg.engine.scheduler import Answered
from promptseg.engine.session import asking
from promptseg.masks import RunLength
from promptseg.options import SegmentOptions
from promptseg.prompts import Points, Prompt
from promptseg.requests import SegmentRequest
from promptseg.results import Masks
from promptseg.server.access import Admitted, Known
from promptseg.server.answering import answer, due, remaining, timed
from promptseg.server.answers import MaskWords, SizeWords, masks_body, respond, written
from promptseg.server.bodies import picture_of, prompt_of, read, read_json
from promptseg.server.documents import answers_masks, described, takes
from promptseg.server.drawing import State
from promptseg.server.folder import LONGEST_NAME
from promptseg.server.keys import Caller
from promptseg.server.option_words import Words, options_of, with_options
from promptseg.server.pictures import Picture
from promptseg.server.problems import documented
from promptseg.server.pyramid import TILE, levels
from promptseg.server.schemas import Base64, Format, OneObject
from promptseg.server.sessions import Sessions

if TYPE_CHECKING:
    from promptseg.server.service import Service

MOST_LETTERS = 200
SWEEP_SECONDS = 30.0

# What can be asked of a session, by the names that the document has for it.
OPERATIONS = ("show_session", "close_session", "add_prompt", "undo", "accept", "drop_object")
LINKS = {
    name: {"operationId": name, "parameters": {"id": "$response.body#/id"}} for name in OPERATIONS
}

Name = Annotated[str, Path(alias="id", description="The id of an open session.")]


class OpenWords(Words):
    """An image to be refined on, and how its masks come back."""

    image: Base64 | None = Field(
        default=None, description="The bytes of an image file, in base64; or send them as a part."
    )
    folder_image: str | None = Field(
        default=None,
        min_length=1,
        max_length=LONGEST_NAME,
        description="In place of an image: the name of one in the annotator's folder.",
    )
    format: Format = Field(default="rle", description="What each mask is given as.")


OpenBody = with_options(OpenWords, SegmentOptions, "OpenBody")


class AcceptBody(Words):
    """Which mask is an object that is done, and what it is."""

    label: str | None = Field(
        default=None, min_length=1, max_length=MOST_LETTERS, description="What the object is."
    )
    mask: int = Field(
        default=0, ge=0, le=2**31 - 1, description="Which of the masks that came back."
    )


class PyramidWords(BaseModel):
    """How an image is cut into squares, at its full size and at halves of it."""

    levels: int = Field(description="How many sizes there are; level 0 is the full one.")
    tile: int = Field(description="Pixels of a square each way, but at the far edges.")


class SessionBody(BaseModel):
    """An open session."""

    id: str = Field(description="By which it is asked; whoever has it and the key can.")
    size: SizeWords = Field(description="The size of the image, and of its masks.")
    expires_in: float = Field(description="Seconds until it is closed if nobody asks for it.")
    steps: int = Field(description="How many steps can be taken back.")
    objects: int = Field(description="How many objects are done.")
    pyramid: PyramidWords = Field(description="Its image as squares, for a page that shows it.")


class SessionsBody(BaseModel):
    """One's own sessions, the oldest first."""

    sessions: list[SessionBody]


class DrawnBody(BaseModel):
    """Masks of the image."""

    size: SizeWords
    complete: bool
    masks: list[MaskWords]
    label_map: str = Field(default="", description="Format `labels`: a number for each pixel.")


class SaidBody(BaseModel):
    """All that was said of the object so far, in the words in which it can be said again."""

    points: list[list[float]] | None
    labels: list[int] | None
    box: list[float] | None
    hint: dict[str, Any] | None


class StateBody(SessionBody):
    """All of a session."""

    prompt: SaidBody | None
    current: DrawnBody = Field(description="The object as drawn so far.")
    accepted: DrawnBody = Field(description="The objects that are done, numbered in their order.")


@asynccontextmanager
async def sweeping(app: FastAPI) -> AsyncIterator[None]:
    """Let go of sessions that nobody asks for any more, for as long as the service runs."""
    task = asyncio.create_task(_sweep(app.state.service.sessions))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


router = APIRouter(prefix="/v1/sessions", tags=["sessions"], lifespan=sweeping)


@router.post(
    "",
    status_code=201,
    responses={
        201: {
            "model": SessionBody,
            "description": "It is open.",
            "headers": {"Location": {"description": "Its address.", "schema": {"type": "string"}}},
            "links": LINKS,
        },
        **documented(401, 404, 413, 415, 422, 429, 503, 504),
    },
    openapi_extra=takes(OpenBody),
)
async def open_session(http: Request, caller: Admitted) -> Response:
    """Open a session with an image, which is looked at now, so that the first answer is quick.

    Options are those of `/v1/segment`, and hold for all of its answers.
    """
    service: Service = http.app.state.service
    body, data = await read(http, OpenBody)
    with timed(http, "decode"):
        if body.folder_image is not None:
            data = await http.app.state.annotator.read(body.folder_image)
        picture = await picture_of(service, caller, body, data)
    state = State(picture=picture, options=options_of(body, SegmentOptions), format=body.format)
    name = service.sessions.open(caller.owner, state)
    try:
        await _look_at(service, http, caller, picture)
        said = _session_body(name, state, service.sessions.seconds)
    except BaseException:
        # Who was not told of it cannot close it.
        service.sessions.discard(name)
        raise
    address = f"{http.scope.get('root_path', '')}{router.prefix}/{name}"
    return Response(
        said.model_dump_json(), 201, headers={"Location": address}, media_type="application/json"
    )


@router.get("", responses=documented(401, 429))
async def list_sessions(http: Request, caller: Known) -> SessionsBody:
    """Which sessions of mine are open? Asking keeps none of them open."""
    sessions: Sessions = http.app.state.service.sessions
    return SessionsBody(sessions=[_session_body(*each) for each in sessions.of_owner(caller.owner)])


@router.get(
    "/{id}",
    responses={
        200: {"model": StateBody, "description": "All of it."},
        **documented(401, 404, 422, 429, 503, 504),
    },
    operation_id="show_session",
)
async def show_session(http: Request, caller: Admitted, name: Name) -> Response:
    """What was said so far, what came of it, and which objects are done?"""
    sessions: Sessions = http.app.state.service.sessions
    state = sessions.get(caller.owner, name)
    body = _session_body(name, state, sessions.seconds)
    content = await written(_whole, body, state, until=due(http))
    return Response(content, media_type="application/json")


@router.delete(
    "/{id}",
    status_code=204,
    responses=documented(401, 404, 422, 429),
    operation_id="close_session",
)
async def close_session(http: Request, caller: Known, name: Name) -> None:
    """Close a session, which lets go of its image."""
    http.app.state.service.sessions.close(caller.owner, name)


@router.post(
    "/{id}/prompts",
    responses=answers_masks(),
    openapi_extra=described(OneObject),
    operation_id="add_prompt",
)
async def add_prompt(http: Request, caller: Admitted, name: Name) -> Response:
    """Say more of the object: points add up, a later box or hint replaces the earlier one.

    Each answer starts from the mask before it.
    """
    service: Service = http.app.state.service
    service.sessions.get(caller.owner, name)
    words = await read_json(http, OneObject)
    async with _turn(http, caller, name):
        state = service.sessions.get(caller.owner, name)
        with timed(http, "decode"):
            new = await prompt_of(service, caller, words, state.size)
        state.require_room(new, max_points=service.settings.max_points)
        asked = SegmentRequest(
            state.picture.pixels, (state.steps.asked(new),), asking(state.options)
        )
        answered = await answer(service, http, caller, asked, state.picture.name)
        state = await asyncio.to_thread(state.answered, new, answered.masks)
        service.sessions.put(caller.owner, name, state)
    return await respond(http, answered._replace(masks=state.masks), format=state.format)


@router.delete("/{id}/prompts/last", responses=answers_masks(), operation_id="undo")
async def undo(http: Request, caller: Admitted, name: Name) -> Response:
    """Take the last step back; the answer is that of before, without masks where none is left."""
    service: Service = http.app.state.service
    async with _turn(http, caller, name):
        state = service.sessions.get(caller.owner, name).undone()
        service.sessions.put(caller.owner, name, state)
    return await _shown(http, state, state.masks)


@router.post(
    "/{id}/objects",
    status_code=201,
    responses={201: answers_masks()[200], **documented(401, 404, 413, 415, 422, 429, 503, 504)},
    openapi_extra=described(AcceptBody),
    operation_id="accept",
)
async def accept(http: Request, caller: Admitted, name: Name) -> Response:
    """Take a mask as an object that is done, and begin with the next one."""
    service: Service = http.app.state.service
    service.sessions.get(caller.owner, name)
    words = await read_json(http, AcceptBody)
    async with _turn(http, caller, name):
        state = service.sessions.get(caller.owner, name).accept(
            label=words.label, mask=words.mask, max_objects=service.settings.max_objects
        )
        service.sessions.put(caller.owner, name, state)
    answered = await _shown(http, state, state.accepted[-1:])
    answered.status_code = 201
    return answered


@router.delete(
    "/{id}/objects/{number}",
    status_code=204,
    responses=documented(401, 404, 422, 429, 503, 504),
    operation_id="drop_object",
)
async def drop_object(
    http: Request,
    caller: Admitted,
    name: Name,
    number: Annotated[int, Path(ge=0, description="Counted from 0, as accepted.")],
) -> None:
    """Drop an object that was done; later ones move up."""
    service: Service = http.app.state.service
    async with _turn(http, caller, name):
        state = service.sessions.get(caller.owner, name).without(number)
        service.sessions.put(caller.owner, name, state)


async def _look_at(service: Service, http: Request, caller: Caller, picture: Picture) -> None:
    """Have an image encoded, so that its features are there when the first question comes.

    A question is the way to it, and the one about a point costs next to nothing; a model that
    answers none looks when it is asked what to find.
    """
    if "segment" not in service.model.verbs:
        return
    height, width = picture.pixels.shape[:2]
    middle = Prompt(points=Points([(width / 2, height / 2)]))
    asked = SegmentRequest(picture.pixels, (middle,))
    await answer(service, http, caller, asked, picture.name)


def _turn(http: Request, caller: Caller, name: str) -> AbstractAsyncContextManager[None]:
    """Wait for one's turn with a session, for no longer than the request may still take."""
    sessions: Sessions = http.app.state.service.sessions
    return sessions.turn(caller.owner, name, seconds=remaining(http))


async def _shown(http: Request, state: State, masks: Masks) -> Response:
    """Answer with masks that were there already."""
    return await respond(http, Answered(masks, 0.0, 0.0, 0.0), format=state.format)


def _session_body(name: str, state: State, expires_in: float) -> SessionBody:
    return SessionBody(
        id=name,
        size=SizeWords(height=state.size.height, width=state.size.width),
        expires_in=round(expires_in, 3),
        steps=len(state.steps),
        objects=len(state.objects),
        pyramid=PyramidWords(levels=levels(state.size), tile=TILE),
    )


def _whole(body: SessionBody, state: State, *, until: float) -> bytes:
    """Write all of a session, which takes a while for large masks.

    Raises:
        DeadlineError: that goes on after `until`, by `time.monotonic`.
    """
    return to_json(
        {
            **body.model_dump(),
            "prompt": _said(state.steps.prompt),
            "current": masks_body(state.masks, state.format, until=until),
            "accepted": masks_body(state.accepted, state.format, until=until),
        }
    )


def _said(prompt: Prompt | None) -> dict[str, Any] | None:
    if prompt is None:
        return None
    points, box, hint = prompt.points, prompt.box, prompt.hint
    return {
        "points": None if points is None else points.coordinates.tolist(),
        "labels": None if points is None else points.labels.tolist(),
        "box": None if box is None else box.as_array().tolist(),
        "hint": None if hint is None else RunLength.from_mask(hint.mask).to_coco(),
    }


async def _sweep(sessions: Sessions) -> None:
    while True:
        await asyncio.sleep(min(SWEEP_SECONDS, sessions.seconds))
        sessions.expire()
