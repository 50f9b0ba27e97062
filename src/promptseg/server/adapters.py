"""What the shapes of other tools share: bodies of JSON, read and documented as all others are."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ConfigDict

from promptseg.server.answering import timed, timings
from promptseg.server.bodies import media_type
from promptseg.server.documents import PLACE
from promptseg.server.problems import MediaTypeError, documented
from promptseg.server.refusals import field, parse
from promptseg.server.schemas import Words, decoded

BodyT = TypeVar("BodyT", bound=BaseModel)

# What asking for a mask may be answered with, beside the mask.
REFUSALS = documented(401, 413, 415, 422, 429, 503, 504)


class ForeignWords(Words):
    """What another tool sends; names that it may add one day are passed over."""

    model_config = ConfigDict(extra="ignore")


async def read_json(http: Request, model: type[BodyT]) -> BodyT:
    """Read a body of JSON, which has the image in it under whatever name the tool gives it.

    Raises:
        FieldError: it is not as the model has it.
        MediaTypeError: it is not JSON.
        ClientDisconnect: the caller has gone.
    """
    service = http.app.state.service
    if media_type(http) != "application/json":
        raise MediaTypeError("a body of this kind is not read", hint="Send application/json")
    with timed(http, "read"):
        said = await http.body()
        body = await asyncio.to_thread(parse, model, said, limits=service.settings)
    service.metrics.stage("read", timings(http)["read"])
    return body


async def image_in(name: str, text: str) -> bytes:
    """Return the image that the field `name` has in base64, beside the event loop.

    Raises:
        FieldError: it has none.
    """
    with field(name):
        return await asyncio.to_thread(decoded, text)


def described(model: type[BaseModel]) -> dict[str, Any]:
    """Describe a body of JSON for the document of the API, which settles what is in `$defs`."""
    schema = model.model_json_schema(ref_template=PLACE)
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
