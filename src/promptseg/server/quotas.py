"""How much one caller may ask: in a second, and at a time."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from promptseg.errors import AccessError, OverloadedError
from promptseg.server.keys import Caller

# Keys that are not good: so many at once from one address, and then so many in each second.
TRIES = 20
TRIES_PER_SECOND = 1.0
# Most addresses remembered: those that tried last.
ADDRESSES = 4096
# Sums of seconds are not exact.
ROUNDING = 1e-6
SLOWER_HINT = "Ask again after the seconds in `Retry-After`"


class QuotaError(OverloadedError):
    """More than one caller may ask, however little others do."""


@dataclass
class Use:
    """What one owner, or one address, has taken up.

    A bucket of requests fills steadily; it is known by the moment at which it is full again.
    """

    full: float
    working: int = 0

    def take(self, now: float, *, rate: float, most: float) -> float:
        """Take a request out of a bucket of `most`; return the seconds to wait, 0 where it is."""
        early = self.full - now - (most - 1) / rate
        if early > ROUNDING:
            return early
        self.full = max(self.full, now) + 1 / rate
        return 0.0


class Quotas:
    """Bounds each owner's requests; an owner's keys share what it may.

    `rate` are requests in a second for those whose key does not say; None is no bound. After a
    pause as many may come at once as come in a second, and at least one. Nothing waits.
    """

    def __init__(
        self, *, rate: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.rate = rate
        self._clock = clock
        self._lock = threading.Lock()
        self._owners: OrderedDict[str, Use] = OrderedDict()
        self._addresses: OrderedDict[str, Use] = OrderedDict()

    def __len__(self) -> int:
        """How many owners it has to remember."""
        with self._lock:
            self._forget(self._clock())
            return len(self._owners)

    @contextmanager
    def admit(self, caller: Caller) -> Iterator[None]:
        """Count a request while it is worked on.

        Raises:
            QuotaError: its owner asks too often, or for too much at a time.
        """
        use = self._take(caller)
        try:
            yield
        finally:
            with self._lock:
                use.working -= 1

    def refusal(self, address: str, error: AccessError) -> AccessError | QuotaError:
        """Return what a request from `address` is answered whose key is not good.

        Whoever tries on and on is told to wait; a key that is good passes all the same.
        """
        with self._lock:
            now = self._clock()
            use = self._addresses.setdefault(address, Use(now))
            self._addresses.move_to_end(address)
            if len(self._addresses) > ADDRESSES:
                self._addresses.popitem(last=False)
            wait = use.take(now, rate=TRIES_PER_SECOND, most=TRIES)
        if not wait:
            return error
        return QuotaError(
            "too many requests came without a valid key", hint=SLOWER_HINT, retry_after=wait
        )

    def _take(self, caller: Caller) -> Use:
        rate = self.rate if caller.rate is None else caller.rate
        with self._lock:
            now = self._clock()
            self._forget(now)
            use = self._owners.setdefault(caller.owner, Use(now))
            self._owners.move_to_end(caller.owner)
            if caller.at_once is not None and use.working >= caller.at_once:
                raise QuotaError(
                    f"{use.working} of your requests are being worked on, "
                    f"and {caller.at_once} may be",
                    hint="Wait for an answer before you ask on",
                    retry_after=1.0,
                )
            if rate is not None and (wait := use.take(now, rate=rate, most=max(1.0, rate))):
                raise QuotaError(
                    f"more than {rate:g} requests in a second", hint=SLOWER_HINT, retry_after=wait
                )
            use.working += 1
            return use

    def _forget(self, now: float) -> None:
        """Forget who asked longest ago, where that loses nothing. Under the lock."""
        while self._owners:
            owner, use = next(iter(self._owners.items()))
            if use.working or use.full > now:
                return
            del self._owners[owner]
