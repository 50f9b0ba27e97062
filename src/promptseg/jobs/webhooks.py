"""Telling a web server that a job has ended: off unless hosts are allowed, and signed."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from promptseg.errors import ConfigError, JobError, reason
from promptseg.jobs.job import Job
from promptseg.jobs.ledger import Status
from promptseg.settings import Settings

SIGNATURE = "X-Promptseg-Signature"
DELIVERY = "X-Promptseg-Delivery"
LEAST_SECRET = 16
# Seconds that a host may let us wait for each thing that it has to do, and in one try.
SECONDS, TRY_SECONDS = 5.0, 15.0
# Seconds before the second and the third try.
PAUSES = (1.0, 4.0)
ALLOW_HINT = "Whoever runs the workers allows hosts by `webhook_hosts`, PROMPTSEG_WEBHOOK_HOSTS"


class Webhooks:
    """Tells the ends of jobs to hosts that are allowed, each named as addresses name it.

    A host is `hooks.example.org`, or `hooks.example.org:8443` where an address has such a port.

    Raises:
        ConfigError: the secret is too short to keep anybody out.
    """

    def __init__(
        self, secret: str, *, hosts: Sequence[str], wait: Callable[[float], object] = time.sleep
    ) -> None:
        if len(secret) < LEAST_SECRET:
            raise ConfigError(
                f"the secret of webhooks has at least {LEAST_SECRET} letters, got {len(secret)}",
                hint="Make one: openssl rand -hex 32 > webhook.secret",
            )
        self._secret = secret.encode()
        self._hosts = hosts
        self._wait = wait

    @classmethod
    def of(cls, settings: Settings) -> Webhooks | None:
        """Return what settings allow, None where they allow no host.

        Raises:
            ConfigError: there is no secret, or its file cannot be read.
        """
        if not settings.webhook_hosts:
            return None
        file = settings.webhook_secret
        if file is None:
            raise ConfigError(
                "`webhook_hosts` are told of jobs, and there is no secret to sign with",
                hint="Name its file by `webhook_secret`",
            )
        return cls(_read(file), hosts=settings.webhook_hosts)

    def tell(self, status: Status, address: str) -> None:
        """Post how a job stands, as JSON, in three tries; an answer of 2xx says it has arrived.

        Redirects are not followed. Who gets it twice knows by its `X-Promptseg-Delivery`, the id of
        the job.

        Raises:
            JobError: the address is not allowed, or it has not arrived.
        """
        parts = _allowed(address, self._hosts)
        said = status.as_json()
        # Which folders may be read is nobody's business elsewhere.
        del said["job"]["within"]
        body = json.dumps(said).encode()
        for pause in (*PAUSES, None):
            failure = self._post(parts, status.id, body)
            if failure is None:
                return
            if pause is not None:
                self._wait(pause)
        raise JobError(f"the end was not told to `{parts.hostname}`: {failure}")

    def _post(self, parts: SplitResult, job: str, body: bytes) -> str | None:
        """Try once, and return what went wrong, if anything did."""
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "promptseg",
            SIGNATURE: signature(self._secret, body, at=int(time.time())),
            DELIVERY: job,
        }
        assert parts.hostname is not None
        is_secure = parts.scheme == "https"
        kind = http.client.HTTPSConnection if is_secure else http.client.HTTPConnection
        connection = kind(parts.hostname, parts.port, timeout=SECONDS)
        clock = threading.Timer(TRY_SECONDS, _cut, [connection])
        clock.daemon = True
        clock.start()
        target = parts._replace(scheme="", netloc="", fragment="", path=parts.path or "/").geturl()
        try:
            connection.request("POST", target, body, headers)
            answer = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            return reason(error) or type(error).__name__
        finally:
            clock.cancel()
            connection.close()
        return None if 200 <= answer < 300 else f"it answered {answer}"


def check(job: Job, hosts: Sequence[str]) -> None:
    """Refuse a job whose webhook would not be told.

    Raises:
        JobError: its host is not among those allowed, or it is no address.
    """
    if job.webhook is not None:
        _allowed(job.webhook, hosts)


def signature(secret: bytes, body: bytes, *, at: int) -> str:
    """Sign a body with the time, in seconds since 1970: `t=1700000000,v1=` and a hex HMAC-SHA256.

    What is signed is the time, a dot and the body.
    """
    signed = hmac.new(secret, b"%d.%b" % (at, body), hashlib.sha256)
    return f"t={at},v1={signed.hexdigest()}"


def _allowed(address: str, hosts: Sequence[str]) -> SplitResult:
    """Take an address apart, if it is of an allowed host."""
    try:
        parts = urlsplit(address)
        is_plain = address.isascii() and address.isprintable() and " " not in address
        # Reading the port checks it.
        is_one = is_plain and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_one = False
    if not is_one or parts.scheme not in ("http", "https"):
        raise JobError(
            f"`webhook` is an address of the web, got `{address:.60}`",
            hint="As in https://hooks.example.org/jobs",
        )
    if parts.netloc.lower() not in [host.lower() for host in hosts]:
        # Without what may be a name and a key before the host.
        host = parts.netloc.rpartition("@")[2]
        raise JobError(
            f"`webhook` names the host `{host:.60}`, which is not allowed", hint=ALLOW_HINT
        )
    return parts


def _cut(connection: http.client.HTTPConnection) -> None:
    """Have whoever waits for an answer wait no more."""
    line = connection.sock
    if line is not None:
        with suppress(OSError):
            line.shutdown(socket.SHUT_RDWR)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(f"cannot read `{file}`: {reason(error)}") from error
    except UnicodeDecodeError:
        raise ConfigError(
            f"`{file}` is no text", hint="Put the secret in it, in one line"
        ) from None
