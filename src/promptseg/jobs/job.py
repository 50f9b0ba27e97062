"""What is asked of many images, as a value that can be written down (docs/jobs.md)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from enum import Enum
from typing import Any

from promptseg.errors import JobError

DAY = 24 * 60 * 60.0
MOST_PRIORITY = 9
MOST_ATTEMPTS = 20
KEY_LETTERS = 200
HINT = 'A job is {"inputs": ["photos/"], "queries": [{"verb": "find", "text": "cat"}]}'


class State(str, Enum):
    """Where a job, or one of its images, stands; the last three are its end."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def has_ended(self) -> bool:
        """Whether nothing will be done any more."""
        return self in (State.DONE, State.FAILED, State.CANCELLED)


@dataclass(frozen=True, kw_only=True)
class Job:
    """Queries about each of many images.

    `inputs` are paths of images, folders and patterns, files of queries (`.jsonl`), and addresses
    of such in a store that fsspec knows. `queries` are those of a line of such a file, and asked
    about every image that has none of its own. `formats` are files to write of each image.

    A job of a higher `priority`, from 0 to 9, goes first. An image that ends its worker is tried so
    many `attempts`; one may take `item_seconds`, all together `seconds`. What came of a job is kept
    for `keep_seconds` after its end. Two jobs of one `key` are the same. `webhook` is told the end.

    Nothing is read but what lies `within` these folders and addresses, if there are any: images,
    files of queries, and masks, whatever names them or leads to them.

    Raises:
        JobError: something is missing, of another kind, or out of range.
    """

    inputs: tuple[str, ...]
    queries: tuple[Mapping[str, Any], ...] = ()
    formats: tuple[str, ...] = ()
    model: str | None = None
    priority: int = 0
    attempts: int = 3
    item_seconds: float = 300.0
    seconds: float | None = None
    keep_seconds: float | None = 7 * DAY
    key: str | None = None
    webhook: str | None = None
    within: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, kind, what in (
            ("inputs", str, "texts"),
            ("queries", Mapping, "objects"),
            ("formats", str, "texts"),
            ("within", str, "texts"),
        ):
            value = getattr(self, name)
            if isinstance(value, str) or not isinstance(value, Sequence):
                raise JobError(f"`{name}` is a list of {what}, got {_shown(value)}", hint=HINT)
            for each in value:
                if not isinstance(each, kind) or not each:
                    raise JobError(f"`{name}` is a list of {what}, got {_shown(each)}", hint=HINT)
            object.__setattr__(self, name, tuple(value))
        if not self.inputs:
            raise JobError("a job has `inputs`, got none", hint=HINT)
        for name in ("model", "key", "webhook"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, str) or not value):
                raise JobError(f"`{name}` is some text, got {_shown(value)}")
        if self.key is not None and len(self.key) > KEY_LETTERS:
            raise JobError(f"`key` has at most {KEY_LETTERS} letters, got {len(self.key)}")
        _require_whole("priority", self.priority, 0, MOST_PRIORITY)
        _require_whole("attempts", self.attempts, 1, MOST_ATTEMPTS)
        for name in ("item_seconds", "seconds", "keep_seconds"):
            value = getattr(self, name)
            if value is None and name != "item_seconds":
                continue
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not is_number or not 0 < value < math.inf:
                raise JobError(f"`{name}` is a number of seconds above 0, got {_shown(value)}")

    @classmethod
    def from_json(cls, said: object) -> Job:
        """Make a job of a value of JSON.

        Raises:
            JobError: it is none.
        """
        if not isinstance(said, dict):
            raise JobError(f"a job is an object of JSON, got {_shown(said)}", hint=HINT)
        known = [entry.name for entry in fields(cls)]
        if unknown := [name for name in said if name not in known]:
            raise JobError(f"a job has no `{unknown[0]:.40}`", hint=f"It has {', '.join(known)}")
        if "inputs" not in said:
            raise JobError("a job has `inputs`, got none", hint=HINT)
        return cls(**said)

    def as_json(self) -> dict[str, Any]:
        """Return what `from_json` takes."""
        return asdict(self)


def _require_whole(name: str, value: object, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise JobError(f"`{name}` is a whole number from {least} to {most}, got {_shown(value)}")


def _shown(value: object) -> str:
    """Say in a few letters what was given."""
    try:
        return f"{json.dumps(value):.60}"
    except (TypeError, ValueError):
        return f"a {type(value).__name__}"
