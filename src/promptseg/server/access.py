"""Who asks: the dependencies by which routes know their caller, and keep to what it may."""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPBasic, HTTPBearer
from fastapi.security.base import SecurityBase
from starlette.datastructures import Headers

from promptseg.errors import AccessError, OverloadedError
from promptseg.server.keys import Caller, refused
from promptseg.server.service import Service


class Way(SecurityBase):
    """A way of sending a key, for the document; `token_of` reads whichever was taken.

    FastAPI's own would answer by itself what is malformed.
    """

    def __init__(self, like: SecurityBase) -> None:
        self.model = like.model
        self.scheme_name = like.scheme_name

    async def __call__(self) -> None:
        """Do nothing."""


BEARER = Way(
    HTTPBearer(scheme_name="bearer", description="A key, where the service is run with keys.")
)
HEADER = Way(
    APIKeyHeader(name="X-API-Key", scheme_name="header", description="The key in a header.")
)
BASIC = Way(
    HTTPBasic(
        scheme_name="password",
        description="The key as a password, for tools that know no other way; any name.",
    )
)


async def known(
    http: Request,
    _bearer: Annotated[None, Security(BEARER)] = None,
    _header: Annotated[None, Security(HEADER)] = None,
    _basic: Annotated[None, Security(BASIC)] = None,
) -> Caller:
    """Tell who asks by the key that came along; without keys in use all are one caller.

    Raises:
        AccessError: there is no key, or none that is good.
        QuotaError: too many such requests came from there.
    """
    service: Service = http.app.state.service
    if service.keys is None:
        return Caller()
    try:
        caller = service.keys.caller(token_of(http.headers))
    except AccessError as error:
        address = http.client.host if http.client else ""
        raise service.quotas.refusal(address, error) from None
    http.state.owner = caller.owner  # for the log
    return caller


async def admitted(
    http: Request, caller: Annotated[Caller, Depends(known)]
) -> AsyncIterator[Caller]:
    """Tell who asks, and count the request until it is answered.

    Raises:
        OverloadedError: the service is not ready yet.
        QuotaError: the caller asks too often, or for too much at a time.
    """
    service: Service = http.app.state.service
    if service.phase == "starting":
        raise OverloadedError(
            "the service is starting", hint="Ask again in a moment", retry_after=1.0
        )
    with service.quotas.admit(caller):
        yield caller


def token_of(headers: Headers) -> str:
    """Return the key of a request: `X-API-Key`, a bearer token, or the password of basic access.

    The first of them that is there counts: a proxy may keep `Authorization` to itself.

    Raises:
        AccessError: there is none.
    """
    if token := headers.get("X-API-Key", "").strip():
        return token
    scheme, _, said = headers.get("Authorization", "").strip().partition(" ")
    match scheme.lower():
        case "bearer":
            token = said.strip()
        case "basic":
            token = _password(said.strip())
    if not token:
        raise refused()
    return token


def _password(said: str) -> str:
    try:
        pair = base64.b64decode(said, validate=True).decode()
    except (binascii.Error, ValueError):
        return ""
    return pair.partition(":")[2]


Known = Annotated[Caller, Depends(known)]
Admitted = Annotated[Caller, Depends(admitted)]


async def placed(http: Request, caller: Admitted) -> Caller:
    """Tell who asks, where the queue has a place for one request more of the caller.

    Before the body is read, so that whoever asks too much hears of it at once.

    Raises:
        OverloadedError: it has none.
    """
    service: Service = http.app.state.service
    service.scheduler.require_place(caller.owner)
    return caller


Placed = Annotated[Caller, Depends(placed)]
