"""What a refusal looks like: the one table of errors and statuses, and the one body of them all."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from promptseg import errors
from promptseg.errors import (
    AccessError,
    ConfigError,
    DeadlineError,
    ImageError,
    ImageFormatError,
    ImageSizeError,
    JobError,
    OutOfMemoryError,
    OverloadedError,
    PromptError,
    PromptsegError,
    SessionError,
)
from promptseg.jobs.ledger import JobConflictError, UnknownJobError
from promptseg.server.folder import AbsentError, ReadOnlyError, UnwrittenError
from promptseg.server.logs import REQUEST_ID
from promptseg.server.quotas import QuotaError
from promptseg.server.refusals import FieldError, refused

logger = logging.getLogger(__name__)


class MediaTypeError(PromptError):
    """A body of a kind that is not read."""


STATUS: dict[type[PromptsegError], int] = {
    AccessError: 401,
    ReadOnlyError: 403,
    SessionError: 404,
    AbsentError: 404,
    UnknownJobError: 404,
    JobConflictError: 409,
    ImageSizeError: 413,
    ImageFormatError: 415,
    MediaTypeError: 415,
    PromptError: 422,
    ConfigError: 422,
    JobError: 422,
    ImageError: 422,
    QuotaError: 429,
    OverloadedError: 503,
    OutOfMemoryError: 503,
    DeadlineError: 504,
    UnwrittenError: 507,
}
MEANING = {
    401: "The key is missing or not valid.",
    403: "Pages of the site from which this is asked may not; or the folder is read-only.",
    404: "There is no such thing.",
    405: "This address has no such method.",
    409: "It cannot be as things stand, such as to drop a job that has not ended.",
    412: "It was changed by someone else; what is there now comes back.",
    413: "The body or its image is too large.",
    415: "The body, or its image, is of a kind that is not read.",
    421: "The service is not known under the name by which this is asked.",
    422: "What is asked makes no sense, or does not fit the image; `field` says which part.",
    429: "You ask for more than one caller may; try again after `Retry-After`.",
    500: "The request failed unexpectedly.",
    503: "More is asked than can be answered; try again after `Retry-After`.",
    504: "The answer took longer than it may.",
    507: "It cannot be written, as where the disk is full.",
}
UNEXPECTED = "the request failed unexpectedly"
# A client that has gone reads no status; the log does (nginx has the number).
GONE = 499
LEAST_WAIT = 1
# Those of the page's files, which are no routes.
FILE_METHODS = ["GET", "HEAD"]


class Reason(BaseModel):
    """Why a request was refused."""

    kind: str = Field(description="The kind of error, by its name in the library.")
    message: str = Field(description="What is wrong, in one sentence.")
    hint: str | None = Field(description="What to do about it.")
    field: str | None = Field(description="The part of the body, such as objects.3.points.")
    request_id: str = Field(description="Names the request, also in the service's log.")


class Problem(BaseModel):
    """The body of every answer but those that are well."""

    error: Reason


def status_of(error: Exception) -> int:
    """Return the status that an error is answered with."""
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)


def problem_body(error: Exception, request_id: str | None = None) -> dict[str, Any]:
    """Describe an error to a caller; what nobody expected is constant, and whole in the log."""
    if status_of(error) == 500:
        return _body("InternalError", UNEXPECTED, request_id=request_id)
    assert isinstance(error, PromptsegError)
    return _body(
        _kind(error),
        str(error),
        hint=error.hint,
        field=error.field or None if isinstance(error, FieldError) else None,
        request_id=request_id,
    )


def problem_response(error: Exception, request_id: str | None = None) -> Response:
    """Answer with an error. One that nobody expected goes to the log."""
    status, headers = status_of(error), {}
    if status == 500:
        logger.error(UNEXPECTED, exc_info=error)
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if status in (429, 503):
        wait = getattr(error, "retry_after", None) or LEAST_WAIT
        headers["Retry-After"] = str(max(LEAST_WAIT, math.ceil(wait)))
    return _response(status, problem_body(error, request_id), headers)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe answers of these statuses for the document of the API."""
    waits = {"description": "Seconds to wait before asking again.", "schema": {"type": "integer"}}
    return {
        status: {
            "model": Problem,
            "description": MEANING[status],
            **({"headers": {"Retry-After": waits}} if status in (429, 503) else {}),
        }
        for status in statuses
    }


def install(app: FastAPI) -> None:
    """Answer every error of an application's routes in the one way."""
    app.add_exception_handler(PromptsegError, _refuse)
    app.add_exception_handler(HTTPException, _refuse_http)
    app.add_exception_handler(RequestValidationError, _refuse_parameters)
    app.add_exception_handler(ClientDisconnect, _leave)


class Unexpected:
    """Answers what no route expected; it stands inside the guards, so that these see the answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and answer it if that fails before an answer has begun."""
        begun = False

        async def noticed(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self.app(scope, receive, noticed)
        except Exception as error:
            if scope["type"] != "http" or begun:
                raise
            await problem_response(error)(scope, receive, send)


async def _refuse(_: Request, error: Exception) -> Response:
    return problem_response(error)


async def _refuse_http(http: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    match error.status_code:
        case 404:
            said = _body("NotFoundError", "there is nothing at this address", hint="See /docs")
        case 405:
            methods = allowed_methods(http)
            headers = {"Allow": ", ".join(methods)}
            said = _body(
                "MethodError",
                f"this address takes {' and '.join(methods)}, got {http.method[:20]}",
                hint="See /docs",
            )
        case 400:
            said = _body("PromptError", "the body cannot be read", hint="See /docs")
            return _response(422, said, headers)
        case status:
            said = _body("HTTPError", HTTPStatus(status).phrase.lower())
    return _response(error.status_code, said, headers)


async def _refuse_parameters(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    details: Sequence[Mapping[str, Any]] = [
        {**each, "loc": each["loc"][1:]} for each in error.errors()
    ]
    # Names of headers have a `-`, as only branches have in a body.
    return problem_response(refused(details, has_branches=False))


async def _leave(_: Request, error: Exception) -> Response:
    return Response(status_code=GONE)


def allowed_methods(http: Request) -> list[str]:
    """List the methods of all routes at an address, of which a router names the first's only."""
    methods: set[str] = set()
    for route in http.app.state.routes:
        if route.matches(http.scope)[0] is not Match.NONE:
            methods |= route.methods
    return sorted(methods) or FILE_METHODS


def _kind(error: PromptsegError) -> str:
    """Name the error as the library's callers know it."""
    return next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == errors.__name__)


def _body(
    kind: str,
    message: str,
    *,
    hint: str | None = None,
    field: str | None = None,
    request_id: str | None = None,
) -> dict[str, Any]:
    name = REQUEST_ID.get() if request_id is None else request_id
    said = {"kind": kind, "message": message, "hint": hint, "field": field, "request_id": name}
    return {"error": said}


def _response(status: int, said: Mapping[str, Any], headers: Mapping[str, str]) -> Response:
    return Response(to_json(said), status, headers=headers, media_type="application/json")
