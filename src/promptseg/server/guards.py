"""What every request passes before a route sees it, and every answer before it leaves.

Plain ASGI, each a layer round the next: named and counted, headers of safety, the host it is asked
under, the site it comes from, room for it at all, and the bytes and seconds of its body.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from promptseg.engine.tickets import later
from promptseg.errors import (
    AccessError,
    DeadlineError,
    ImageSizeError,
    OverloadedError,
    PromptsegError,
)
from promptseg.server.addresses import OWN_NAMES, is_loopback
from promptseg.server.logs import REQUEST_ID
from promptseg.server.problems import problem_response
from promptseg.server.service import Service
from promptseg.server.settings import ServerSettings

logger = logging.getLogger("promptseg.server.access")

KNOWN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
# Who only asks how the service is may do so under any name, as probes do.
PROBES = ("/health/", "/v2/health/")
# What a page of another site can do unasked changes nothing, and it cannot see the answer.
HARMLESS = ("GET", "HEAD", "OPTIONS")
OWN_SITE = ("same-origin", "none")
# The status by which servers note that a caller left before the answer.
LEFT = 499

ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
LATER = "Ask again after the seconds in `Retry-After`"
# So many posts for each that may wait for the model: others come in, are decoded or written.
UNANSWERED = 4
SENT = ("Authorization", "Content-Type", "Idempotency-Key", "X-API-Key", "X-Request-ID")
HSTS = "max-age=31536000"
# A body comes at this many bytes a second or more, but for the first seconds: Apache's
# mod_reqtimeout has these by default.
LEAST_RATE = 500
FIRST_SECONDS = 20.0


def guarded(app: ASGIApp, service: Service) -> ASGIApp:
    """Put every guard round the application, in their order."""
    settings = service.settings
    origins = [origin.rstrip("/") for origin in settings.origins]
    app = Bodies(app, service)
    if origins:
        app = CORSMiddleware(
            app,
            allow_origins=origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=SENT,
            expose_headers=["Location", "Retry-After", "Server-Timing", "X-Request-ID"],
        )
    app = Sites(app, origins)
    if names := names_of(settings):
        app = Hosts(app, names)
    return Record(Safety(app, tls=settings.certificate is not None), service)


def names_of(settings: ServerSettings) -> tuple[str, ...]:
    """Return the names under which the service may be asked; none stands for any."""
    if settings.hosts or not is_loopback(settings.host):
        return settings.hosts
    return (*OWN_NAMES, settings.host)


class Record:
    """Names each request, writes it into the log and counts it; what escapes becomes a 500."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app = app
        self.service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, and see to the rest."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        said = Headers(scope=scope).get("X-Request-ID", "")
        request_id = said if KNOWN_ID.fullmatch(said) else secrets.token_hex(8)
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        state["due"] = time.monotonic() + self.service.settings.max_seconds
        REQUEST_ID.set(request_id)
        began = time.perf_counter()
        status, sent, whole = 0, 0, False

        async def noted(message: Message) -> None:
            nonlocal status, sent, whole
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                if self.service.phase == "draining":
                    # Else a caller would send its next request into a connection that is closed.
                    headers["Connection"] = "close"
            else:
                sent += len(message.get("body", b""))
                whole = not message.get("more_body")
            await send(message)

        metrics = self.service.metrics
        metrics.in_flight.inc()
        try:
            await self.app(scope, receive, noted)
        except ClientDisconnect:
            status = LEFT
        except Exception as error:
            if not status:
                await problem_response(error, request_id)(scope, receive, noted)
            elif whole:
                logger.exception("a request failed after its answer")
            else:
                # Only a broken connection tells that an answer is not all there.
                raise
        finally:
            metrics.in_flight.dec()
            seconds = time.perf_counter() - began
            # Without an answer the task was cancelled: the caller has left, or the process ends.
            status = status or LEFT
            route = route_of(scope)
            metrics.request(route, status, seconds)
            _log(scope, route, status, seconds, sent)


def route_of(scope: Scope) -> str:
    """Return the template of the route that answered, which no caller's text gets into."""
    return str(getattr(scope.get("route"), "path", "other"))


def _log(scope: Scope, route: str, status: int, seconds: float, sent: int) -> None:
    said = {
        "method": scope["method"],
        "route": route,
        "status": status,
        "ms": round(seconds * 1000, 1),
        "owner": scope["state"].get("owner"),
        "bytes": sent,
    }
    line = "{method} {route} {status} {ms} ms {bytes} bytes".format(**said)
    logger.info("%s", f"{line} {said['owner']}" if said["owner"] else line, extra=said)


class Safety:
    """Tells browsers to do nothing with an answer but hand it over, where the answer says no more.

    The headers are those of OWASP's list for services that answer in JSON.
    """

    def __init__(self, app: ASGIApp, *, tls: bool) -> None:
        self.app = app
        self.headers = {**ALWAYS, **({"Strict-Transport-Security": HSTS} if tls else {})}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request with the headers."""

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self.headers.items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, marked)


class Hosts:
    """Refuses requests under a name that is not the service's.

    A page of another site whose name is made to lead here (DNS rebinding) would count as the
    service's own otherwise.
    """

    def __init__(self, app: ASGIApp, names: Sequence[str]) -> None:
        self.app = app
        self.names = {name.lower() for name in names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request under a known name."""
        if scope["type"] != "http" or path_of(scope).startswith(PROBES):
            await self.app(scope, receive, send)
            return
        asked = re.sub(r":\d*$", "", Headers(scope=scope).get("Host", "").lower())
        if asked in self.names or f"[{asked}]" in self.names or asked.strip("[]") in self.names:
            await self.app(scope, receive, send)
            return
        error = AccessError(
            "the service is not known under the name in `Host`",
            hint="Its operator names the hosts it answers for with `--hosts`",
        )
        await _refuse(error, 421, scope, receive, send)


class Sites:
    """Refuses what a page of another site makes a browser send, unless that site may ask.

    Forms and plain posts need no permission of CORS, so that alone would not keep them out.
    """

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        self.app = app
        self.origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that may be made."""
        if scope["type"] != "http" or self._may(scope["method"], Headers(scope=scope)):
            await self.app(scope, receive, send)
            return
        error = AccessError(
            "pages of other sites may not ask this service",
            hint="Its operator allows a site with `--origins`",
        )
        await _refuse(error, 403, scope, receive, send)

    def _may(self, method: str, headers: Headers) -> bool:
        if method in HARMLESS:
            return True
        origin, site = headers.get("Origin"), headers.get("Sec-Fetch-Site")
        if site in OWN_SITE or (origin is not None and origin in self.origins):
            return True
        if origin is None:
            return site is None
        return site is None and origin.partition("://")[2] == headers.get("Host")


class Bodies:
    """Refuses posts unread while the service is full, and bounds the bytes and time of a body.

    A body is counted until its request is answered, for what is read of it is still held.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app = app
        self.service = service
        self.unanswered = 0
        self.held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that there is room for."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        settings = self.service.settings
        is_post = scope["method"] == "POST"
        if is_post and (full := self._full()):
            self.service.metrics.refused()
            await _refuse(full, None, scope, receive, send)
            return
        length = Headers(scope=scope).get("Content-Length", "")
        if length.isdecimal() and int(length) > settings.max_bytes:
            await _refuse(_too_large(settings.max_bytes), None, scope, receive, send)
            return
        body = _Body(receive, self, settings, due=scope["state"]["due"])
        self.unanswered += is_post
        try:
            await self._answer(body, scope, receive, send)
        finally:
            self.unanswered -= is_post
            self.held -= body.read

    async def _answer(self, body: _Body, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def sent(message: Message) -> None:
            nonlocal started
            if body.error is None or started:
                started = True
                await send(message)

        try:
            await self.app(scope, body.receive, sent)
        except Exception:
            if body.error is None or started:
                raise
        # However the route took it, a body that was cut short has one answer.
        if body.error is not None and not started:
            await _refuse(body.error, None, scope, receive, send)

    def _full(self) -> OverloadedError | None:
        """Return what a request is answered while there is no room for it."""
        most = self.service.settings.waiting
        load = self.service.scheduler.load()
        if load.waiting + load.working < most and self.unanswered < UNANSWERED * most:
            return None
        return OverloadedError(
            f"{max(load.waiting + load.working, self.unanswered)} requests are waiting for an "
            "answer, and no more fit",
            hint=LATER,
            retry_after=later(load.seconds),
        )


class _Body:
    """Hands on the body of a request, and counts what has been read of it."""

    def __init__(
        self, receive: Receive, counted: Bodies, settings: ServerSettings, *, due: float
    ) -> None:
        self.error: PromptsegError | None = None
        self.read = 0
        self._receive = receive
        self._counted = counted
        self._settings = settings
        self._due = due
        self._began: float | None = None
        self._whole = False

    async def receive(self) -> Message:
        """Return what comes next of the body.

        Raises:
            ImageSizeError: it has more bytes than allowed.
            OverloadedError: all that are not answered yet have.
            DeadlineError: it does not come.
        """
        if self._whole:
            return await self._receive()
        if self.error is None:
            message = await self._next()
            self._count(len(message.get("body", b"")))
        if self.error is not None:
            raise self.error
        self._whole = not message.get("more_body")
        return message

    async def _next(self) -> Message:
        now = time.monotonic()
        began = self._began = now if self._began is None else self._began
        until = min(self._due, began + FIRST_SECONDS + self.read / LEAST_RATE)
        try:
            return await asyncio.wait_for(self._receive(), max(until - now, 0.001))
        except (TimeoutError, asyncio.TimeoutError):
            self.error = DeadlineError(
                f"{self.read} bytes of the body of the request came within "
                f"{time.monotonic() - began:.3g} seconds, and not all of it",
                hint="Send less, or over a quicker line",
            )
            return {}

    def _count(self, length: int) -> None:
        most = self._settings.max_bytes
        self.read += length
        self._counted.held += length
        if self.read > most:
            self.error = _too_large(most)
        elif self._counted.held > max(most, self._settings.picture_bytes):
            self.error = OverloadedError(
                "too many large requests come in at the moment", hint=LATER, retry_after=1.0
            )


def path_of(scope: Scope) -> str:
    """Return the path that was asked for, without what a proxy puts before it."""
    return str(scope["path"]).removeprefix(scope.get("root_path", ""))


def _too_large(most: int) -> ImageSizeError:
    return ImageSizeError(
        f"the body of a request has at most {most} bytes",
        hint="Send a smaller image, or the same one as JPEG or WebP",
    )


async def _refuse(
    error: PromptsegError, status: int | None, scope: Scope, receive: Receive, send: Send
) -> None:
    """Answer in place of the application; without a `status` with the error's own."""
    response = problem_response(error, scope["state"]["request_id"])
    if status is not None:
        response.status_code = status
        # The advice to send a key goes with 401 alone.
        if "WWW-Authenticate" in response.headers:
            del response.headers["WWW-Authenticate"]
    await response(scope, receive, send)
