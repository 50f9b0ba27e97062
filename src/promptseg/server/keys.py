"""Who may ask: keys that callers hold, of which a file has the hashes only."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import math
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from promptseg.errors import AccessError, ConfigError, OutputError, reason
from promptseg.io.files import hold, resolved, write_atomically
from promptseg.server import rights
from promptseg.settings import read_table

logger = logging.getLogger(__name__)

PREFIX = "ps_"
# 256 bits that no one chose. A hash that is slow on purpose makes up for secrets that people think
# of, which can be tried one after another; these cannot, so a quick one is as safe, and every
# request pays for it. NIST SP 800-63B, 5.1.2.2, asks for salt and slowness below 112 bits only, and
# OWASP's Password Storage Cheat Sheet is about passwords.
SECRET_BYTES = 32
# Longer ones are none of ours, and are not hashed.
LONGEST = 128
ID_BYTES = 4
OWNER = re.compile(r"[\w.@+-]{1,64}")
HASH = re.compile(r"sha256:[0-9a-f]{64}")
# How often the file is looked at, and how long an edit waits for another, in seconds.
LOOK_EVERY = 1.0
WAIT = 10.0
# How long keys stay good when their file is gone, cannot be read or makes no sense: the edit of a
# person takes as long, and a key that was revoked in it is not to be good for much longer.
GRACE = 60.0
HEADER = "# Written by `promptseg keys`: hashes of keys, never a key. Comments are not kept.\n"
FILE_HINT = "`promptseg keys new OWNER --file FILE` writes such a file"


class Caller(NamedTuple):
    """Whose request it is, and what a key allows its owner; None is what the service allows.

    `rate` are requests in a second, `at_once` requests at a time. Without keys in use there is one
    caller, without a name.
    """

    owner: str = ""
    rate: float | None = None
    at_once: int | None = None


@dataclass(frozen=True, kw_only=True)
class Key:
    """What the file has of one key; `id` tells keys of one owner apart, and is no secret.

    Raises:
        ConfigError: a value is of the wrong kind or out of range.
    """

    id: str
    owner: str
    hash: str
    created: datetime
    expires: datetime | None = None
    rate: float | None = None
    at_once: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not re.fullmatch(r"[0-9A-Za-z_-]{1,64}", self.id):
            raise ConfigError("the `id` of a key is 1 to 64 letters and digits")
        if not isinstance(self.owner, str) or not OWNER.fullmatch(self.owner):
            raise ConfigError(
                f"an owner is 1 to 64 letters, digits and any of . @ + - _, got {self.owner!r:.80}"
            )
        if not isinstance(self.hash, str) or not HASH.fullmatch(self.hash):
            raise ConfigError("the `hash` of a key is `sha256:` and 64 hexadecimal digits")
        object.__setattr__(self, "created", _moment("created", self.created))
        if self.expires is not None:
            object.__setattr__(self, "expires", _moment("expires", self.expires))
        if self.rate is not None and not (_is_number(self.rate) and 0 < self.rate < math.inf):
            raise ConfigError(f"`rate` is a number of requests above 0, got {self.rate!r:.80}")
        if self.at_once is not None and not (_is_whole(self.at_once) and self.at_once > 0):
            raise ConfigError(f"`at_once` is a whole number from 1 on, got {self.at_once!r:.80}")

    @property
    def caller(self) -> Caller:
        """Whose it is, and what it allows."""
        return Caller(self.owner, self.rate, self.at_once)

    def has_expired(self, now: datetime) -> bool:
        """Tell whether it is no longer good."""
        return self.expires is not None and now >= self.expires


class Stamp(NamedTuple):
    """What tells that a file was changed."""

    changed: int
    bytes: int
    file: int


class Keys:
    """The keys of a file, which is read again when it changes; threads may share it.

    A new version that makes no sense, cannot be read or is gone leaves what was known in force for
    `GRACE` seconds; then no key is good until the file is, and the log says both. An owner may have
    several keys: a new one is made and handed out, then the old one revoked.

    Raises:
        ConfigError: there is no such file, or it makes no sense.
        MissingExtraError: this Python reads no TOML.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._stamp = _stamp(path)
        self._looked = clock()
        self._lost: float | None = None  # since when the file tells nothing
        self._by_hash = _by_hash(read(path))

    def __len__(self) -> int:
        return len(self._by_hash)

    def caller(self, token: str) -> Caller:
        """Tell whose key this is.

        It is looked for by its hash, so how long that takes tells nothing of other keys.

        Raises:
            AccessError: it is nobody's, or has expired; the message does not say which.
        """
        self._look_again()
        hashed = hash_of(token) if len(token) <= LONGEST else ""
        key = self._by_hash.get(hashed)
        if key is None or not hmac.compare_digest(key.hash, hashed) or key.has_expired(_now()):
            raise refused()
        return key.caller

    def _look_again(self) -> None:
        """Read the file again if it has changed; it is looked at once in a while."""
        if self._clock() - self._looked < LOOK_EVERY or not self._lock.acquire(blocking=False):
            return
        try:
            self._looked = self._clock()
            stamp = _stamp(self.path)
            if stamp == self._stamp and self._lost is None:
                return
            self._by_hash = _by_hash(read(self.path))
            self._stamp, self._lost = stamp, None
            logger.info("the keys were read again: %d", len(self._by_hash))
        except ConfigError as error:
            self._lose(error)
        finally:
            self._lock.release()

    def _lose(self, error: ConfigError) -> None:
        """Go on for a while with the keys of before, and then with none."""
        if self._lost is None:
            self._lost = self._looked
            logger.error("the keys stay as they were for %g s: %s", GRACE, error)
        elif self._by_hash and self._looked - self._lost >= GRACE:
            self._by_hash = {}
            logger.critical("no key is good any more until their file is: %s", error)


def refused() -> AccessError:
    """Make the one error of a key that is missing, unknown or expired."""
    return AccessError(
        "no valid key came with the request",
        hint="Send one as `Authorization: Bearer ps_...`; whoever runs the service hands them out",
    )


def hash_of(token: str) -> str:
    """Return what the file has of a key."""
    return f"sha256:{hashlib.sha256(token.encode(errors='surrogatepass')).hexdigest()}"


def read(path: Path) -> list[Key]:
    """Read a file of keys.

    Raises:
        ConfigError: it cannot be read, or makes no sense; the message says where.
        MissingExtraError: this Python reads no TOML.
    """
    try:
        said = read_table(path)
    except ConfigError as error:
        raise ConfigError(str(error), hint=FILE_HINT) from error
    if unknown := [name for name in said if name != "key"]:
        raise ConfigError(f"`{path}` has tables `[[key]]`, no `{unknown[0]}`", hint=FILE_HINT)
    listed = said.get("key", [])
    if not isinstance(listed, list):
        raise ConfigError(f"`{path}` has tables `[[key]]`, got one `key`", hint=FILE_HINT)
    keys = []
    for number, record in enumerate(listed, start=1):
        try:
            keys.append(_key(record))
        except ConfigError as error:
            raise ConfigError(f"`{path}`, key {number}: {error}", hint=FILE_HINT) from error
    for name in ("id", "hash"):
        if len({getattr(key, name) for key in keys}) < len(keys):
            raise ConfigError(f"`{path}`: two keys have one `{name}`", hint="Leave one of them")
    return keys


def add(
    path: Path,
    owner: str,
    *,
    days: float | None = None,
    rate: float | None = None,
    at_once: int | None = None,
) -> tuple[str, Key]:
    """Make a key for an owner; return it, which is kept nowhere, and what the file has of it.

    `days` are those until it expires. The file is made where there is none.

    Raises:
        ConfigError: the owner or a limit makes no sense, or the file of before.
        OutputError: the file cannot be written.
    """
    token = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
    now = _now().replace(microsecond=0)
    key = Key(
        id=secrets.token_hex(ID_BYTES),
        owner=owner,
        hash=hash_of(token),
        created=now,
        expires=None if days is None else _after(now, days),
        rate=rate,
        at_once=at_once,
    )
    with _editing(path) as keys:
        taken = {each.id for each in keys}
        while key.id in taken:
            key = replace(key, id=secrets.token_hex(ID_BYTES))
        keys.append(key)
    return token, key


def revoke(path: Path, id: str) -> Key:  # noqa: A002 - it is called so everywhere
    """Take a key out of the file, and return what the file had of it.

    Raises:
        ConfigError: no key has this id, or the file makes no sense.
        OutputError: the file cannot be written.
    """
    with _editing(path) as keys:
        for key in keys:
            if key.id == id:
                keys.remove(key)
                return key
        raise ConfigError(
            f"no key of `{path}` has the id `{id}`", hint="`promptseg keys list` has the ids"
        )


@contextmanager
def _editing(path: Path) -> Iterator[list[Key]]:
    """Lend the keys of a file, and write them back; one edit waits for another."""
    target = resolved(path)
    lock = _held(target.with_name(f"{target.name}.lock"))
    try:
        keys = read(target) if target.exists() else []
        yield keys
        write_atomically(target, lambda file: _write(file, keys, like=target))
    finally:
        lock.close()


def _held(path: Path) -> BinaryIO:
    until = time.monotonic() + WAIT
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        while (lock := hold(path)) is None:
            if time.monotonic() > until:
                raise OutputError(
                    f"`{path.with_suffix('')}` is being edited by another process",
                    hint="Try again when it has ended",
                )
            time.sleep(0.01)
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(f"cannot write `{path}`: {reason(error)}") from error
    return lock


def _write(file: BinaryIO, keys: Sequence[Key], *, like: Path) -> None:
    """Write keys, for their owner alone, or for whoever could read the file of before.

    Raises:
        OutputError: not all of those could read the new one.
    """
    rights.share(file.fileno(), like)
    file.write("\n".join([HEADER, *map(_table, keys)]).encode())


def _table(key: Key) -> str:
    lines = ["[[key]]"]
    for entry in fields(key):
        value = getattr(key, entry.name)
        if value is not None:
            lines.append(f"{entry.name} = {_toml(value)}")
    return "\n".join(lines) + "\n"


def _toml(value: str | float | datetime) -> str:
    match value:
        case datetime():
            return value.isoformat()
        case str():
            return json.dumps(value, ensure_ascii=False)
    return repr(value)


def _key(record: object) -> Key:
    if not isinstance(record, dict):
        raise ConfigError("a key is a table")
    known = {entry.name: entry for entry in fields(Key)}
    if unknown := [name for name in record if name not in known]:
        raise ConfigError(f"a key has {', '.join(known)}, no `{unknown[0]}`")
    values: dict[str, Any] = dict(record)
    if missing := [name for name in ("id", "owner", "hash", "created") if name not in values]:
        raise ConfigError(f"a key needs `{missing[0]}`")
    return Key(**values)


def _moment(name: str, value: object) -> datetime:
    """Check a moment; one without a zone is in UTC."""
    if not isinstance(value, datetime):
        raise ConfigError(f"`{name}` is a moment such as 2030-01-31T00:00:00Z, got {value!r:.80}")
    return value if value.tzinfo else value.replace(tzinfo=timezone.utc)


def _after(now: datetime, days: float) -> datetime:
    if not (_is_number(days) and 0 < days < math.inf):
        raise ConfigError(f"a key expires after some days above 0, got {days!r:.80}")
    try:
        return (now + timedelta(days=days)).replace(microsecond=0)
    except OverflowError:
        raise ConfigError(
            f"no calendar goes {days:g} days on", hint="Leave it out for a key that stays good"
        ) from None


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _by_hash(keys: Sequence[Key]) -> dict[str, Key]:
    return {key.hash: key for key in keys}


def _stamp(path: Path) -> Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return Stamp(found.st_mtime_ns, found.st_size, found.st_ino)


def _now() -> datetime:
    return datetime.now(timezone.utc)
