"""A ledger in Redis, for many machines."""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from promptseg.errors import JobError, MissingExtraError
from promptseg.jobs.job import Job, State
from promptseg.jobs.ledger import (
    Claim,
    Claimed,
    Entry,
    Item,
    Listing,
    Outcome,
    Reporting,
    Status,
    not_ended,
    unknown,
    used,
)
from promptseg.jobs.redis_scripts import SCRIPTS
from promptseg.jobs.texts import (
    COUNTS,
    item_of,
    item_text,
    job_of,
    job_text,
    outcome_of,
    outcome_text,
    status_of,
)

try:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry
except ImportError as error:
    raise MissingExtraError(
        "jobs in Redis need redis-py, which is not installed",
        hint="pip install 'promptseg[jobs]'",
    ) from error

# Seconds that a step waits for a server that does not answer, so that it may start again.
PATIENCE = 10.0
CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 30.0
FIRST_WAIT, LONGEST_WAIT = 0.05, 1.0
# Images read at a time where all of a job are gone through.
PAGE = 1000
# A server that cannot answer now says so with these.
BUSY = ("BUSY", "LOADING", "MASTERDOWN", "TRYAGAIN")
KINDS = {Claim: "claim", Listing: "listing", Reporting: "report"}

log = logging.getLogger(__name__)


class RedisLedger:
    """A `Ledger` in a server of Redis, of version 5 or later, under keys of one prefix.

    Its clock is the server's, unless `clock` gives seconds since 1970. A step whose answer is lost
    is sent again for `patience` seconds, and is done once all the same. What the server has not
    written to its disk is lost with it: up to a second, with `appendonly yes`.

    Raises:
        JobError: the server cannot be reached, or drops keys when its memory is full.
    """

    def __init__(
        self,
        address: str,
        *,
        prefix: str = "promptseg",
        patience: float = PATIENCE,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._prefix = prefix
        self._patience = patience
        self._clock = clock
        self._place = _without_password(address)
        try:
            self._redis = redis.Redis.from_url(
                address,
                decode_responses=True,
                retry=Retry(NoBackoff(), 0),
                socket_connect_timeout=CONNECT_SECONDS,
                socket_timeout=ANSWER_SECONDS,
            )
        except ValueError as error:
            raise JobError(
                f"`{self._place}` is no address of Redis", hint="One is redis://localhost:6379/0"
            ) from error
        self._scripts = {
            name: self._redis.register_script(script) for name, script in SCRIPTS.items()
        }
        try:
            self._require_durable()
        except BaseException:
            self.close()
            raise

    def submit(self, job: Job, *, owner: str = "") -> str:
        """Take a job on, as `Ledger.submit`."""
        asked = job_text(job)
        name = "" if job.key is None else f"{owner}\0{job.key}"
        limits = [_or_nothing(each) for each in (job.model, job.seconds, job.keep_seconds)]
        known, before = self._do(
            "submit",
            *(secrets.token_hex(12), owner, name, asked, job.priority, job.attempts, *limits),
        )
        if before != asked:
            raise used(str(job.key), known)
        return str(known)

    def claim_listing(self, *, seconds: float) -> Listing | None:
        """Take on a listing, as `Ledger.claim_listing`."""
        found = self._do("claim_listing", seconds)
        if found is None:
            return None
        job, asked, token, until, known = found
        return Listing(job, job_of(asked), int(token), int(known), float(until))

    def add(self, listing: Listing, items: Sequence[Item], *, seconds: float) -> bool:
        """Add images, as `Ledger.add`."""
        texts = [item_text(item) for item in items]
        return bool(self._do("add", listing.job, listing.token, seconds, *texts))

    def listed(self, listing: Listing, problems: Sequence[str] = ()) -> bool:
        """End a listing, as `Ledger.listed`."""
        return bool(self._do("listed", listing.job, listing.token, json.dumps(list(problems))))

    def claim(
        self, *, most: int, seconds: float, model: str | None = None, job: str | None = None
    ) -> Claim | None:
        """Take on images, as `Ledger.claim`."""
        found = self._do("claim", most, seconds, _or_nothing(model), _or_nothing(job))
        if found is None:
            return None
        name, asked, token, until, *rest = found
        items = [
            Claimed(int(number), item_of(item), int(attempts))
            for number, item, attempts in zip(rest[::3], rest[1::3], rest[2::3], strict=True)
        ]
        return Claim(name, job_of(asked), int(token), tuple(sorted(items)), float(until))

    def claim_reporting(self, *, seconds: float) -> Reporting | None:
        """Take on a report, as `Ledger.claim_reporting`."""
        found = self._do("claim_reporting", seconds)
        if found is None:
            return None
        job, asked, token, until, _ = found
        return Reporting(job, job_of(asked), int(token), float(until))

    def reported(self, reporting: Reporting) -> bool:
        """End a report, as `Ledger.reported`."""
        return bool(self._do("reported", reporting.job, reporting.token))

    def extend(self, claim: Claim | Reporting, seconds: float) -> bool:
        """Hold a claim, as `Ledger.extend`."""
        return bool(self._do("extend", claim.job, claim.token, seconds, KINDS[type(claim)]))

    def finish(self, claim: Claim, number: int, outcome: Outcome) -> bool:
        """End an image, as `Ledger.finish`."""
        state, text = outcome.state.value, outcome_text(outcome)
        return bool(self._do("finish", claim.job, claim.token, number, state, text))

    def release(self, claim: Claim | Listing | Reporting, *, reason: str | None = None) -> None:
        """Give back a claim, as `Ledger.release`."""
        why = "" if reason is None else outcome_text(Outcome(State.FAILED, problems=(reason,)))
        self._do("release", claim.job, claim.token, KINDS[type(claim)], why)

    def status(self, job: str, *, owner: str | None = None) -> Status:
        """Say how a job stands, as `Ledger.status`."""
        is_asked = int(owner is not None)
        return self._status(job, self._do("status", job, is_asked, _or_nothing(owner)))

    def jobs(self, *, owner: str | None = None) -> list[Status]:
        """Say how jobs stand, as `Ledger.jobs`."""
        found = self._do("jobs", int(owner is not None), _or_nothing(owner))
        return [self._status("", flat) for flat in found]

    def entries(self, job: str, *, start: int = 0) -> Iterator[Entry]:
        """Go through what has ended, as `Ledger.entries`."""
        seen = PAGE
        while seen == PAGE:
            page = self._do("entries", job, start, PAGE)
            if page is None:
                raise unknown(job)
            seen, found = page
            for number, item, said in zip(found[::3], found[1::3], found[2::3], strict=True):
                _, _, outcome = said.partition(" ")
                yield Entry(int(number), item_of(item), outcome_of(outcome))
            start += PAGE

    def cancel(self, job: str) -> Status:
        """End what is left of a job, as `Ledger.cancel`."""
        outcome = outcome_text(Outcome(State.CANCELLED))
        return self._status(job, self._do("cancel", job, outcome))

    def retry(self, job: str) -> Status:
        """Let images wait again, as `Ledger.retry`."""
        return self._status(job, self._do("retry", job))

    def forget(self, job: str) -> None:
        """Drop a job, as `Ledger.forget`."""
        became = self._do("forget", job)
        if became == "unknown":
            raise unknown(job)
        if became == "not ended":
            raise not_ended(job)

    def overdue(self) -> list[str]:
        """Name what need not be kept, as `Ledger.overdue`."""
        return list(self._do("overdue"))

    def next_due(self, *, model: str | None = None, job: str | None = None) -> float | None:
        """Say when there is something to do, as `Ledger.next_due`."""
        due = self._do("next_due", _or_nothing(model), _or_nothing(job))
        return None if due is None else float(due)

    def close(self) -> None:
        """Let go of the connections."""
        self._redis.close()

    def _status(self, job: str, flat: Sequence[str]) -> Status:
        if not flat:
            raise unknown(job)
        row: dict[str, Any] = dict(zip(flat[::2], flat[1::2], strict=True))
        for name in (*COUNTS, "is_listed", "is_cancelled", "is_reported"):
            row[name] = int(row[name])
        for name in ("submitted", "started", "ended"):
            row[name] = float(row[name]) if name in row else None
        return status_of(row)

    def _do(self, step: str, *values: str | float) -> Any:
        """Take a step; again, with the same `nonce`, if the answer is lost."""
        nonce = secrets.token_hex(8)
        clock = "" if self._clock is None else repr(self._clock())

        def once(is_again: bool) -> Any:
            arguments = [clock, nonce, int(is_again), *values]
            return self._scripts[step](keys=[self._prefix], args=arguments)

        return self._patiently(once)

    def _patiently(self, ask: Callable[[bool], Any]) -> Any:
        """Ask until there is an answer; `ask` is told whether it may have been asked before.

        Raises:
            JobError: there was none in time, or it is no.
        """
        until = time.monotonic() + self._patience
        wait = FIRST_WAIT
        is_again = False
        while True:
            try:
                return ask(is_again)
            except (redis.RedisError, UnicodeError) as error:
                if not _may_pass(error):
                    raise JobError(f"the jobs in `{self._place}` fail: {_said(error)}") from error
                if time.monotonic() + wait > until:
                    raise JobError(
                        f"the Redis of the jobs at `{self._place}` does not answer: {_said(error)}",
                        hint="Start it, or name another address",
                    ) from error
            time.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT)
            is_again = True

    def _require_durable(self) -> None:
        """See that the server keeps what it is given.

        Raises:
            JobError: it drops keys when its memory is full.
        """
        self._patiently(lambda _: self._redis.ping())
        try:
            said: Any = self._patiently(
                lambda _: {
                    **self._redis.config_get("maxmemory-policy"),
                    **self._redis.config_get("appendonly"),
                }
            )
        except JobError as error:
            log.warning("whether `%s` keeps what it is given is not known: %s", self._place, error)
            return
        policy = said.get("maxmemory-policy", "noeviction")
        if policy != "noeviction":
            raise JobError(
                f"the Redis at `{self._place}` drops keys when its memory is full: its"
                f" `maxmemory-policy` is `{policy}`",
                hint="Give the jobs a Redis of their own, with `maxmemory-policy noeviction`",
            )
        if said.get("appendonly") == "no":
            log.warning(
                "the Redis at `%s` may forget jobs when it stops: its `appendonly` is `no`",
                self._place,
            )


def _may_pass(error: Exception) -> bool:
    """Whether the same may go well a moment later."""
    if isinstance(error, redis.AuthenticationError):
        return False
    if isinstance(error, (redis.ConnectionError, redis.TimeoutError)):
        return True
    return isinstance(error, redis.ResponseError) and str(error).startswith(BUSY)


def _said(error: Exception) -> str:
    # After its sentence a script's error names a line of ours.
    said = str(error).partition(" script: ")[0].partition("\n")[0]
    return said.rstrip(". ") or type(error).__name__


def _or_nothing(value: str | float | None) -> str | float:
    return "" if value is None else value


def _without_password(address: str) -> str:
    """Return an address as it may be shown."""
    try:
        parts = urlsplit(address)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
    except ValueError:
        return "redis://..."
