"""Requests over HTTP: what is asked again, and every way in which one can fail as our own error."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from promptseg.client import wire
from promptseg.client.events import Event, events, lines
from promptseg.errors import (
    AccessError,
    ConfigError,
    DeadlineError,
    MissingExtraError,
    OverloadedError,
    PromptsegError,
    ServiceError,
    reason,
)
from promptseg.options.checks import require_count, require_number

try:
    import httpx
except ImportError as error:
    raise MissingExtraError(
        "asking a service needs httpx, which is not installed",
        hint='pip install "promptseg[client]"',
    ) from error

BUSY = (429, 503)
# Where a busy service does not say when to come again, or not in seconds.
USUAL_WAIT = 1.0
# The wait before the second try to connect; each later one is twice as long.
FIRST_WAIT = 0.2
# A service closes connections that are idle, `promptseg serve` after 15 seconds and others of
# uvicorn's after 5; one that it is just closing would be lost with what was sent.
IDLE_SECONDS = 2.0
URL_HINT = 'Write it as "http://127.0.0.1:8000"'
REACH_HINT = "Is it running, and is this its address? `promptseg serve` starts one"
CLOSED_HINT = "Ask inside the `with` block, or make another `Client`"

# Nothing of these has reached the service, so that they may be tried again.
UNSENT = (httpx.ConnectError, httpx.ConnectTimeout)


@dataclass(frozen=True)
class Body:
    """What is sent: values by name, each some JSON, and files by name."""

    parts: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)

    def content(self) -> dict[str, Any]:
        """Return what httpx is told to send: a form where there are files, else JSON itself."""
        if self.files:
            named = [
                (name, (name, data, "application/octet-stream"))
                for name, data in self.files.items()
            ]
            return {"data": dict(self.parts), "files": named}
        return {"content": "".join(self.parts.values())} if self.parts else {}

    def headers(self) -> dict[str, str]:
        """Return what says that it is JSON; of a form httpx says so itself."""
        return {"Content-Type": "application/json"} if self.parts and not self.files else {}


NOTHING = Body()


class Connection:
    """Asks one service; threads may share it."""

    def __init__(
        self,
        url: str,
        *,
        key: str | None,
        timeout: float,
        retries: int,
        certificate: str | Path | None,
    ) -> None:
        self.url = _checked(url)
        self.timeout = timeout
        self.retries = retries
        require_number(self, "timeout", least=0.001)
        require_count(self, "retries", least=0)
        self._client = httpx.Client(
            headers={} if key is None else {"Authorization": f"Bearer {_header(key)}"},
            limits=httpx.Limits(keepalive_expiry=IDLE_SECONDS),
            verify=_trust(certificate),
            # Proxies and passwords are not taken from the environment, which only doors read.
            trust_env=False,
        )

    def ask(self, method: str, path: str, body: Body = NOTHING) -> dict[str, Any]:
        """Ask, and return the object of JSON that comes back; of an empty answer an empty one.

        Raises:
            PromptsegError: the service refuses, each by its kind.
            ServiceError: it cannot be reached, fails, or answers nonsense.
            DeadlineError: it does not answer in time.
        """
        with self._answered(method, path, body, "application/json") as response:
            with self._failures():
                content = response.read()
            if response.status_code == 204:
                return {}
            return wire.parsed(content)

    @contextmanager
    def stream(self, method: str, path: str, body: Body = NOTHING) -> Iterator[Iterator[Event]]:
        """Ask, and hand out events as they come; leaving the block tells the service to stop.

        Raises:
            PromptsegError: as `ask`; an event of an error is raised too.
        """
        with self._answered(method, path, body, "text/event-stream") as response:
            if "text/event-stream" not in response.headers.get("content-type", ""):
                raise wire.nonsense("it is no stream of events")
            yield self._events(response)

    @contextmanager
    def lines(self, path: str) -> Iterator[Iterator[bytes]]:
        """Get something, and hand out its lines as they come.

        Raises:
            PromptsegError: as `ask`.
        """
        with self._answered("GET", path, NOTHING, "*/*") as response:
            yield self._lines(response)

    def status(self, path: str) -> int:
        """Ask once, and return only the status of the answer.

        Raises:
            ServiceError, DeadlineError: there is none.
        """
        try:
            with self._failures():
                return self._client.get(f"{self.url}{path}", timeout=self.timeout).status_code
        except UNSENT as error:
            raise self._unreachable(error) from error

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def _events(self, response: httpx.Response) -> Iterator[Event]:
        with self._failures():
            for event in events(response.iter_bytes()):
                if event.kind == "error":
                    raise _problem(response.status_code, event.data, None)
                yield event

    def _lines(self, response: httpx.Response) -> Iterator[bytes]:
        with self._failures():
            yield from lines(response.iter_bytes())

    @contextmanager
    def _answered(
        self, method: str, path: str, body: Body, accept: str
    ) -> Iterator[httpx.Response]:
        response = self._tried(method, path, body, accept)
        try:
            yield response
        finally:
            response.close()

    def _tried(self, method: str, path: str, body: Body, accept: str) -> httpx.Response:
        """Ask until there is an answer, or no more tries or no time.

        Only what a busy service refused, or what never reached one, is sent again.
        """
        until = time.monotonic() + self.timeout
        problem: PromptsegError
        for number in count(1):
            try:
                return self._once(method, path, body, accept, max(until - time.monotonic(), 0.001))
            except UNSENT as error:
                problem = self._unreachable(error)
                wait = FIRST_WAIT * 2 ** (number - 1)
            except OverloadedError as error:
                problem = error
                wait = USUAL_WAIT if error.retry_after is None else error.retry_after
            if number > self.retries or time.monotonic() + wait > until:
                break
            time.sleep(wait)
        raise problem

    def _once(
        self, method: str, path: str, body: Body, accept: str, seconds: float
    ) -> httpx.Response:
        """Ask once; the answer is good, and yet to be read and closed."""
        headers = {**body.headers(), "Accept": accept}
        with self._failures():
            request = self._client.build_request(
                method, f"{self.url}{path}", headers=headers, timeout=seconds, **body.content()
            )
            response = self._client.send(request, stream=True)
            if response.is_success:
                return response
            try:
                said = response.read()
            finally:
                response.close()
        raise _problem(response.status_code, said, response.headers.get("retry-after"))

    def _unreachable(self, error: Exception) -> ServiceError:
        unreachable = ServiceError(f"cannot reach {self.url}: {reason(error)}", hint=REACH_HINT)
        unreachable.__cause__ = error
        return unreachable

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Raise what httpx raises as errors of our own, but for those of `UNSENT`."""
        try:
            yield
        except UNSENT:
            raise
        except httpx.TimeoutException as error:
            raise DeadlineError(
                f"{self.url} said nothing for {self.timeout:g} seconds",
                hint="Give `Client` a longer `timeout`, or ask for less at a time",
            ) from error
        except httpx.DecodingError as error:
            raise wire.nonsense("it is compressed, and damaged") from error
        except httpx.HTTPError as error:
            raise ServiceError(
                f"the connection to {self.url} broke off before the answer was whole",
                hint="Ask again; if it happens often, look into the log of the service",
            ) from error
        except RuntimeError as error:
            if not self._client.is_closed or isinstance(error, PromptsegError):
                raise
            raise ServiceError("the client is closed", hint=CLOSED_HINT) from error


def _problem(status: int, said: bytes, retry_after: str | None) -> PromptsegError:
    """Make the error that an answer tells of: by its kind, or else by its status."""
    try:
        told = wire.error_of(wire.parsed(said))
    except ServiceError:
        told = None
    message, hint = (str(told), told.hint) if told else (f"the service answered {status}", None)
    if status in BUSY:
        return OverloadedError(message, hint=hint, retry_after=_seconds(retry_after))
    if told is not None and type(told) is not ServiceError:
        return told
    if status in (401, 403):
        return AccessError(message, hint=hint or "Give `Client` the `key` that it asks for")
    return ServiceError(message, hint=hint or wire.NONSENSE_HINT)


def _seconds(retry_after: str | None) -> float | None:
    """Read after how many seconds to come again; a date, which proxies may give, is not read."""
    told = retry_after or ""
    return float(told) if told.isascii() and told.isdecimal() else None


def _checked(url: str) -> str:
    """Return an address without a slash at its end; what is wrong with one is not repeated."""
    try:
        said = httpx.URL(url if isinstance(url, str) else "")
    except httpx.InvalidURL:
        said = httpx.URL("")
    if said.userinfo:
        raise ConfigError("the address of a service holds no password", hint="Give it as `key`")
    # What cannot be part of a name httpx writes with a percent sign.
    is_site = said.scheme in ("http", "https") and said.host and "%" not in said.host
    if not is_site or "?" in url or "#" in url:
        raise ConfigError("the address of a service is that of a site", hint=URL_HINT)
    return str(said).rstrip("/")


def _header(key: str) -> str:
    """Check that a key is one; what it is, no error tells."""
    if not isinstance(key, str) or not key or not key.isascii() or not key.isprintable():
        raise ConfigError(
            "`key` is some text of plain letters and digits",
            hint="`promptseg keys` makes keys; leave it out where the service asks for none",
        )
    return key


def _trust(certificate: str | Path | None) -> ssl.SSLContext | bool:
    """Trust the usual authorities, or those of a file."""
    if certificate is None:
        return True
    try:
        return ssl.create_default_context(cafile=certificate)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"cannot read the certificate `{certificate}`: {reason(error)}",
            hint="It is a file in PEM, that of the service or of who signed it",
        ) from error
