"""What queries came to, one line of JSON each: appended as it is known, and read back.

A line has the `image` and the `id` of its query, the `verb`, the `key` (`queries.Question.key`) and
either `size`, `complete` and `masks`, or an `error`. docs/queries.md explains each.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from promptseg.errors import MaskError, OutputError, PromptsegError, reason
from promptseg.formats.records import masks_from_json, outcome_to_json
from promptseg.io.files import hold, resolved, write_atomically
from promptseg.results import Masks

logger = logging.getLogger(__name__)

FILE_NAME = "results.jsonl"
ROOM_HINT = "What is done is kept: make room, and go on with the same command"
ELSEWHERE = "Choose another folder with `-o`"
# Damaged lines that are named one by one.
SHOWN = 20


class Name(NamedTuple):
    """What a query is known by: its image as the file of queries names it, and its id."""

    image: str
    id: str


class Place(NamedTuple):
    """Where in the file masks are, and what they are an answer to."""

    start: int
    key: str


class Elsewhere(NamedTuple):
    """Where in another file masks were when it was looked through."""

    path: Path
    start: int


class OutcomeLog:
    """A file of outcomes that grows line by line; what was found is read back from it.

    A later line of a query replaces an earlier one, but an error none that has masks. The last
    line, where it was cut short, is dropped; a damaged one is named, and its query is not known.
    Threads may share a log. Two logs of one file cannot be at work at a time, in whatever
    processes.

    Raises:
        OutputError: the file cannot be read or written to, another run is at work on it, or it has
            lines that were never outcomes.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._found: dict[Name, Place] = {}
        # Where masks are by what they are an answer to, of whichever image.
        self._by_key: dict[str, int] = {}
        self._elsewhere: dict[str, Elsewhere] = {}
        self._failed: dict[Name, int] = {}
        self._damaged = 0
        self._lines = 0
        self._writing = threading.Lock()
        with ExitStack() as opened:
            try:
                opened.enter_context(self._alone())
                self.path.touch()
                whole = self._scan()
                # Unbuffered, so that nothing which found no room is tried again later on.
                self._writer = opened.enter_context(self.path.open("ab", buffering=0))
                self._writer.truncate(whole)
            except OutputError:
                raise
            except OSError as error:
                raise OutputError(
                    f"cannot write `{self.path}`: {reason(error)}", hint=ELSEWHERE
                ) from error
            self._opened = opened.pop_all()

    def __enter__(self) -> OutcomeLog:
        return self

    def __exit__(self, *error: object) -> None:
        self._opened.close()

    def knows(self, name: Name, key: str | None = None) -> bool:
        """Whether it has masks of a query, if a key is given of this very one."""
        place = self._found.get(name)
        return place is not None and key in (None, place.key)

    def add(self, name: Name, verb: str, key: str, outcome: Masks | PromptsegError) -> None:
        """Append what a query came to; once this returns, the line is with the operating system.

        Raises:
            OutputError: it cannot be written; of its line nothing is left.
            MaskError: a number of a mask is not finite.
        """
        line = line_of(name, verb, key, outcome)
        with self._writing:
            start = self._append(line)
            if isinstance(outcome, Masks):
                self._found[name] = Place(start, key)
                self._by_key[key] = start
                self._failed.pop(name, None)
            else:
                self._failed[name] = start

    def masks(self, name: Name, key: str) -> Masks | None:
        """Return the masks of this very query, None where it has none.

        Raises:
            OutputError: they cannot be read.
        """
        place = self._found.get(name)
        return None if place is None or place.key != key else self._read(place.start)

    def like(self, key: str) -> Masks | None:
        """Return the masks of any query that asked this, of an image with the same content.

        Their labels are that query's. None where there is none.

        Raises:
            OutputError: they cannot be read.
        """
        start = self._by_key.get(key)
        if start is not None:
            return self._read(start)
        elsewhere = self._elsewhere.get(key)
        return None if elsewhere is None else _masks_at(elsewhere, key)

    def learn_from(self, path: Path) -> None:
        """Know the answers of another file too, for `like`; another run may be at work in it."""
        start = 0
        with suppress(OSError), path.open("rb") as file:
            for line in file:
                said = _named(line) if line.endswith(b"\n") else None
                if said is not None and "masks" in said:
                    self._elsewhere[said["key"]] = Elsewhere(path, start)
                start += len(line)

    def _read(self, start: int) -> Masks:
        try:
            with self.path.open("rb") as file:
                file.seek(start)
                return masks_from_json(json.loads(file.readline()))
        except (OSError, ValueError) as error:
            raise OutputError(f"cannot read `{self.path}`: {reason(error)}") from error

    def forgive(self, name: Name) -> None:
        """Drop the error that a query came to after it had masks, since these still hold."""
        self._failed.pop(name, None)

    def tidy(self) -> None:
        """End writing, and leave out the lines that later ones have replaced.

        Raises:
            OutputError: the file cannot be written anew; it stays as it was.
        """
        self._writer.close()
        kept = sorted([*(place.start for place in self._found.values()), *self._failed.values()])
        if len(kept) < self._lines:
            write_atomically(self.path, lambda file: self._copy(kept, file))

    def _alone(self) -> BinaryIO:
        """Refuse what is no file of lines, and keep others from it until what comes back closes.

        The lock is beside the file, since `tidy` puts another in its place.
        """
        target = resolved(self.path)
        if target.exists() and not target.is_file():
            what = "a folder" if target.is_dir() else "no regular file"
            raise OutputError(f"cannot write `{self.path}`: it is {what}", hint=ELSEWHERE)
        lock = hold(target.with_name(f".{target.name}.lock"))
        if lock is None:
            raise OutputError(
                f"another run is at work in `{self.path.parent}`",
                hint="Wait until it ends, or choose another folder with `-o`",
            )
        return lock

    def _scan(self) -> int:
        """Learn which outcomes are there, and how long the file is without a line cut short."""
        start = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    break
                self._learn(line, number, start)
                start += len(line)
        if self._damaged > SHOWN:
            more = self._damaged - SHOWN
            logger.warning("and %d more lines of `%s` are damaged", more, self.path)
        return start

    def _learn(self, line: bytes, number: int, start: int) -> None:
        said = _named(line)
        if said is None:
            raise OutputError(
                f"line {number} of `{self.path}` is no result of a query",
                hint=f"{ELSEWHERE}, or move that file away",
            )
        self._lines += 1
        name = Name(said["image"], said["id"])
        if "masks" not in said and isinstance(said.get("error"), dict):
            self._failed[name] = start
            return
        try:
            masks_from_json(said)
        except MaskError as error:
            self._warn(number, name, error)
        else:
            self._found[name] = Place(start, said["key"])
            self._by_key[said["key"]] = start
            self._failed.pop(name, None)

    def _warn(self, number: int, name: Name, error: MaskError) -> None:
        self._damaged += 1
        if self._damaged <= SHOWN:
            logger.warning(
                "line %d of `%s` is damaged, so %s, query `%s` has no answer there: %.200s",
                number,
                self.path,
                *name,
                error,
            )

    def _append(self, line: bytes) -> int:
        start = self._writer.seek(0, os.SEEK_END)
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[self._writer.write(rest) :]
        except OSError as error:
            # A part of a line, were it left, would be dropped the next time.
            with suppress(OSError):
                self._writer.truncate(start)
            raise OutputError(
                f"cannot write `{self.path}`: {reason(error)}", hint=ROOM_HINT
            ) from error
        self._lines += 1
        return start

    def _copy(self, kept: list[int], file: BinaryIO) -> None:
        with self.path.open("rb") as source:
            for start in kept:
                source.seek(start)
                file.write(source.readline())


def line_of(name: Name, verb: str, key: str, outcome: Masks | PromptsegError) -> bytes:
    """Write what a query came to as a line of its own.

    Raises:
        MaskError: a number of a mask is not finite.
    """
    said = {**name._asdict(), "verb": verb, "key": key, **outcome_to_json(outcome)}
    return json.dumps(said, allow_nan=False).encode() + b"\n"


def _masks_at(place: Elsewhere, key: str) -> Masks | None:
    """Read masks of another file, None where they are there no longer."""
    with suppress(OSError, MaskError), place.path.open("rb") as file:
        file.seek(place.start)
        said = _named(file.readline())
        if said is not None and said["key"] == key:
            return masks_from_json(said)
    return None


def _named(line: bytes) -> dict[str, Any] | None:
    """Read a line that is about a query, None where it is not."""
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return None
    words = ("image", "id", "verb", "key")
    named = isinstance(said, dict) and all(isinstance(said.get(word), str) for word in words)
    return said if named else None
