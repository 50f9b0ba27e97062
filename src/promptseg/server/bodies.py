"""From a request's body to what the engine is asked: read, checked, its image decoded."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar

from fastapi import Request
from pydantic import BaseModel

from promptseg.errors import ImageError, ImageSizeError
from promptseg.geometry import Box, Size
from promptseg.masks import RunLength
from promptseg.options import EverythingOptions, FindOptions, SegmentOptions
from promptseg.prompts import MaskHint, Prompt
from promptseg.requests import EverythingRequest, FindRequest, SegmentRequest
from promptseg.requests import Request as Asked
from promptseg.server.answering import timed, timings
from promptseg.server.forms import read_form
from promptseg.server.keys import Caller
from promptseg.server.option_words import options_of
from promptseg.server.pictures import Picture
from promptseg.server.problems import MediaTypeError
from promptseg.server.refusals import SHOWN, FieldError, field, parse
from promptseg.server.schemas import (
    EverythingWords,
    FindWords,
    ObjectWords,
    Question,
    SegmentWords,
    decoded,
)
from promptseg.shapes import MaskArray

if TYPE_CHECKING:
    from promptseg.server.service import Service

BodyT = TypeVar("BodyT", bound=BaseModel)

# JSON of more bytes is parsed beside the event loop: some milliseconds' worth.
MOST_INLINE = 64 * 2**10
CURL = "curl -F image=@photo.jpg -F 'query={\"points\": [[320, 200]]}'"
KINDS_HINT = f"Send application/json, or multipart/form-data as {CURL} does"
SOURCE_HINT = "Send one `image`, or the id of an open `session`"


async def read(http: Request, model: type[BodyT]) -> tuple[BodyT, bytes | None]:
    """Read a body as `model` has it, and the image that came with it, in the same JSON or beside.

    Raises:
        FieldError: it is not as the model has it, or has no image or two.
        MediaTypeError: it is neither JSON nor a form of parts.
        ClientDisconnect: the caller has gone.
    """
    service: Service = http.app.state.service
    with timed(http, "read"):
        parts = await received(http, most_files=1, hint=KINDS_HINT)
        said, data = (parts, None) if isinstance(parts, bytes) else _said(parts)
        body = await _parsed(model, said, limits=service.settings)
        within = getattr(body, "image", None)
        if within is not None:
            if data is not None:
                raise FieldError("the image is there twice", hint=SOURCE_HINT, field="image")
            body, data = await _taken(body, within)
        _require_one_source(model, body, data)
    service.metrics.stage("read", timings(http)["read"])
    return body, data


async def read_json(http: Request, model: type[BodyT]) -> BodyT:
    """Read a body that is JSON as `model` has it, with an image in it under whatever name, or none.

    Raises:
        FieldError: it is not as the model has it.
        MediaTypeError: it is not JSON.
        ClientDisconnect: the caller has gone.
    """
    service: Service = http.app.state.service
    if media_type(http) != "application/json":
        raise MediaTypeError("a body of this kind is not read", hint="Send application/json")
    with timed(http, "read"):
        body = await _parsed(model, await whole(http), limits=service.settings)
    service.metrics.stage("read", timings(http)["read"])
    return body


async def whole(http: Request) -> bytes:
    """Return all bytes of a body; `http.body()` would keep them for as long as the request lasts.

    Raises:
        ClientDisconnect: the caller has gone.
    """
    return b"".join([chunk async for chunk in http.stream()])


async def read_parts(
    http: Request, *, most_files: int, most_fields: int = 1
) -> dict[str, str | bytes]:
    """Read a form of parts into memory: text of fields and bytes of files, each by its name.

    Raises:
        FieldError: it cannot be read, has too many parts, or two of one name.
    """
    content_type = http.headers["content-type"]
    return await read_form(http.stream(), content_type, most=most_files + most_fields)


async def received(http: Request, *, most_files: int, hint: str) -> bytes | dict[str, str | bytes]:
    """Return the bytes of a body of JSON, or the parts of a form: files, and one field.

    Raises:
        MediaTypeError: it is neither; the `hint` says what to send.
        FieldError: as `read_parts`.
        ClientDisconnect: the caller has gone.
    """
    match media_type(http):
        case "application/json":
            return await whole(http)
        case "multipart/form-data":
            return await read_parts(http, most_files=most_files)
        case "":
            raise MediaTypeError("the body says no kind that it is of", hint=hint)
    raise MediaTypeError("a body of this kind is not read", hint=hint)


def media_type(http: Request) -> str:
    """Return what kind of body a request says it has, without details."""
    return http.headers.get("content-type", "").partition(";")[0].strip().lower()


async def picture_of(
    service: Service, caller: Caller, body: BaseModel, data: bytes | None
) -> Picture:
    """Return the image that a body is about: decoded from what was sent, or of a session.

    Raises:
        SessionError: there is no such session of this caller.
        ImageError: the image is damaged or refused.
        OverloadedError: there is no room for it at the moment.
    """
    session = getattr(body, "session", None)
    if session is not None:
        return service.sessions.get(caller.owner, session).picture
    assert data is not None
    begun = time.perf_counter()
    picture = await service.pictures.picture(data, owner=caller.owner)
    service.metrics.stage("decode", time.perf_counter() - begun)
    return picture


async def request_of(
    service: Service, caller: Caller, question: Question, picture: Picture
) -> Asked:
    """Return what the engine is asked by a question about a picture.

    Raises:
        FieldError: something does not fit the picture; `field` says what.
        ImageError, OverloadedError: as `picture_of`, of a hint.
    """
    pixels = picture.pixels
    match question:
        case SegmentWords():
            prompts = await _prompts(service, caller, question, Size(*pixels.shape[:2]))
            return SegmentRequest(pixels, prompts, options_of(question, SegmentOptions))
        case FindWords():
            concepts = []
            for place, words in question.each():
                with field(place):
                    concepts.append(words.as_concept())
                    concepts[-1].check(Size(*pixels.shape[:2]))
            return FindRequest(pixels, tuple(concepts), options_of(question, FindOptions))
        case EverythingWords():
            return EverythingRequest(pixels, options_of(question, EverythingOptions))


async def prompt_of(service: Service, caller: Caller, words: ObjectWords, size: Size) -> Prompt:
    """Return what is said of one object of an image of `size`.

    Raises:
        FieldError: it makes no sense, or does not fit the image.
        ImageError, OverloadedError: as `picture_of`, of a hint.
    """
    points, hint = words.as_points(), None
    box = None if words.box is None else Box(*words.box)
    for name, part in (("points", points), ("box", box)):
        if part is not None:
            with field(name):
                Prompt(**{name: part}).check(size)  # type: ignore[arg-type]
    if words.hint is not None:
        with field("hint"):
            hint = MaskHint(await _drawn(service, caller, words.hint, size))
    with field("hint"):
        return Prompt(points=points, box=box, hint=hint)


def _said(parts: Mapping[str, str | bytes]) -> tuple[bytes | str, bytes | None]:
    """Take a form apart: what it says, and the image beside it."""
    for name in parts:
        if name not in ("image", "query"):
            raise FieldError(
                f"there is no part `{name[:SHOWN]}` here",
                hint="The parts are `image`, a file, and `query`, JSON",
                field=name[:SHOWN],
            )
    data = parts.get("image")
    if isinstance(data, str):
        raise FieldError(
            "`image` is a file, got text",
            hint="Send it with a file name, as curl's @",
            field="image",
        )
    if data == b"":
        raise FieldError(
            "the image is empty", hint="Send the bytes of an image file", field="image"
        )
    return parts.get("query", b"{}"), data


async def _parsed(model: type[BodyT], said: bytes | str, *, limits: object) -> BodyT:
    if len(said) <= MOST_INLINE:
        return parse(model, said, limits=limits)
    return await asyncio.to_thread(parse, model, said, limits=limits)


async def _taken(body: BodyT, image: str | bytes) -> tuple[BodyT, bytes]:
    """Take the image out of a body, which lets go of it."""
    if isinstance(image, str):
        with field("image"):
            image = await asyncio.to_thread(decoded, image)
    return body.model_copy(update={"image": None}), image


def _require_one_source(model: type[BaseModel], body: BaseModel, data: bytes | None) -> None:
    session = getattr(body, "session", None) or getattr(body, "folder_image", None)
    if data is not None and session is not None:
        raise FieldError("there is both an image and a session", hint=SOURCE_HINT, field="session")
    if data is None and session is None:
        hint = SOURCE_HINT if "session" in model.model_fields else KINDS_HINT
        raise FieldError("`image` is missing", hint=hint, field="image")


async def _prompts(
    service: Service, caller: Caller, question: SegmentWords, size: Size
) -> tuple[Prompt, ...]:
    """Return the prompts of all objects; their hints together have a bound, as an image has."""
    each = question.each()
    hints = sum(words.hint is not None for _, words in each)
    if hints > 1 and hints * size.height * size.width > service.settings.max_pixels:
        raise ImageSizeError(
            f"{hints} hints of {size} are more than {service.settings.max_pixels} pixels together",
            hint="Ask in several requests",
        )
    prompts = []
    for place, words in each:
        with field(place):
            prompts.append(await prompt_of(service, caller, words, size))
    return tuple(prompts)


async def _drawn(
    service: Service, caller: Caller, hint: RunLength | bytes, size: Size
) -> MaskArray:
    """Return the mask that a hint is, once it is known to be of the image's size."""
    if isinstance(hint, RunLength):
        _require_size(hint.size, size)
        return await asyncio.to_thread(hint.to_mask)
    try:
        picture = await service.pictures.picture(hint, owner=caller.owner)
    except ImageError as error:
        raise FieldError(f"the hint cannot be read: {error}", hint=error.hint) from None
    _require_size(Size(*picture.pixels.shape[:2]), size)
    return await asyncio.to_thread(_black_and_white, picture)


def _require_size(found: Size, size: Size) -> None:
    if found != size:
        raise FieldError(
            f"the hint is {found}, but the image is {size}",
            hint="Give a mask at the image's own size",
        )


def _black_and_white(picture: Picture) -> MaskArray:
    pixels = picture.pixels
    mask: MaskArray = pixels[..., 0] > 127
    if not (pixels == mask[..., None] * pixels.dtype.type(255)).all():
        raise FieldError(
            "the hint is not black and white", hint="Give 255 inside the object and 0 outside"
        )
    return mask
