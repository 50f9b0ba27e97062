"""What a line of a file of queries says, checked word by word (docs/queries.md)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

from promptseg.batch import VERBS
from promptseg.concepts import Concept
from promptseg.errors import PromptError, PromptsegError
from promptseg.geometry import Box
from promptseg.prompts import Points
from promptseg.queries.question import Options, Question, new_name

RECORDS: dict[str, type[Any]] = {verb: record for record, verb in VERBS.items()}
# What is said beside options, which are the fields of the verb's record.
ASKED = {
    "find": ("text", "include", "exclude"),
    "segment": ("points", "labels", "box", "mask"),
    "everything": (),
}
# Fields that a file of answers has no place for.
LEFT_OUT = ("logits", "mask_size")
# Short words, those of the command line's flags.
SHORT = {"max": "max_masks"}
# Bytes of a line: a hundred thousand boxes are a tenth of it.
LONGEST_LINE = 64 << 20
LINE_HINT = 'A line is {"image": "a.jpg", "queries": [{"verb": "find", "text": "cat"}]}'


class Line(NamedTuple):
    """The path of an image, and the queries about it, both as they are written."""

    image: str
    queries: list[object]


def parse(line: bytes) -> Line:
    """Take a line apart.

    Raises:
        PromptError: it is no such line; its queries are not looked at.
    """
    if len(line) > LONGEST_LINE:
        raise PromptError(
            f"a line is too long: it has at most {LONGEST_LINE >> 20} MiB",
            hint="Ask about each image in a line of its own",
        )
    try:
        said = json.loads(line.decode(), object_pairs_hook=_object_of)
    except PromptError:
        raise
    except UnicodeDecodeError:
        raise PromptError("not text in UTF-8", hint=LINE_HINT) from None
    except json.JSONDecodeError as error:
        what = f"{error.msg[:1].lower()}{error.msg[1:]}"
        raise PromptError(f"not JSON: {what} at letter {error.pos + 1}", hint=LINE_HINT) from None
    except (ValueError, RecursionError):
        raise PromptError(
            "not JSON that can be read: a number is too long, or it is nested too deeply",
            hint=LINE_HINT,
        ) from None
    if not isinstance(said, dict):
        raise PromptError(f"a line is an object of JSON, got {_kind(said)}", hint=LINE_HINT)
    if unknown := [key for key in said if key not in ("image", "queries")]:
        raise PromptError(f"a line has `image` and `queries`, no `{unknown[0]}`", hint=LINE_HINT)
    name, queries = said.get("image"), said.get("queries")
    if not _is_path(name):
        raise PromptError(f"`image` is the path of an image, got {_kind(name)}", hint=LINE_HINT)
    if not isinstance(queries, list):
        raise PromptError(f"`queries` is a list, got {_kind(queries)}", hint=LINE_HINT)
    return Line(str(name), queries)


def _object_of(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    """Make an object of JSON, whose keys differ."""
    known: dict[str, object] = {}
    for key, value in pairs:
        if key in known:
            raise PromptError(f"{json.dumps(key[:40])} is there twice", hint="Leave one of them")
        known[key] = value
    return known


def understand(
    said: Sequence[object], folder: Path, *, before: Sequence[Question] = ()
) -> list[Question]:
    """Read the queries of one line, after those `before` of the same image.

    Paths of masks are relative to the folder.

    Raises:
        PromptError: one of them makes no sense.
    """
    taken = {question.id for question in before}
    named = [_name(query, place) for place, query in enumerate(said)]
    for given in filter(None, named):
        if given in taken:
            raise PromptError(
                f"two queries of one image have the id `{given}`", hint="Give each its own, or none"
            )
        taken.add(given)
    found = []
    for place, (query, name) in enumerate(zip(said, named, strict=True)):
        assert isinstance(query, dict)
        try:
            options, asked = _understood(query, folder)
        except PromptsegError as error:
            which = f"query {place + 1}" if name is None else f"query `{name}`"
            raise PromptError(f"{which}: {error}", hint=error.hint) from error
        made = name or new_name(options, asked, query.get("mask"), taken)
        taken.add(made)
        found.append(Question(id=made, name=name, options=options, **asked))
    return found


def _name(query: object, place: int) -> str | None:
    if not isinstance(query, dict):
        raise PromptError(
            f"query {place + 1}: a query is an object of JSON, got {_kind(query)}", hint=LINE_HINT
        )
    name = query.get("id")
    if "id" in query and (not isinstance(name, str) or not name):
        raise PromptError(f"query {place + 1}: an id is some text, got {_kind(name)}")
    return name


def _understood(query: Mapping[str, Any], folder: Path) -> tuple[Options, dict[str, Any]]:
    verb = query.get("verb")
    if not isinstance(verb, str) or verb not in RECORDS:
        raise PromptError(
            f"`verb` is one of {', '.join(RECORDS)}, got {json.dumps(verb)}", hint=LINE_HINT
        )
    said = {key: value for key, value in query.items() if key not in ("id", "verb")}
    for short, full in SHORT.items():
        if short in said and full in _fields(RECORDS[verb]):
            if full in said:
                raise PromptError(f"`{short}` and `{full}` are the same", hint="Give one of them")
            said[full] = said.pop(short)
    asked = {key: said.pop(key) for key in ASKED[verb] if key in said}
    for key in said:
        if key not in _fields(RECORDS[verb]):
            raise _unknown(verb, key)
    options = _record(RECORDS[verb], said)
    if verb == "find":
        return options, {"concept": _concept(asked)}
    return options, _object(asked, folder) if verb == "segment" else {}


def _unknown(verb: str, key: str) -> PromptError:
    known = [*ASKED[verb], *_fields(RECORDS[verb])]
    others = [other for other in RECORDS if key in (*ASKED[other], *_fields(RECORDS[other]))]
    hint = f"It has {', '.join(known)}"
    if others:
        hint = f"`{others[0]}` has it; `{verb}` has {', '.join(known)}"
    return PromptError(f"`{verb}` has no `{key}`", hint=hint)


def _fields(record: type[Any]) -> list[str]:
    return [entry.name for entry in fields(record) if entry.name not in LEFT_OUT]


def _record(record: type[Any], said: Mapping[str, Any], where: str = "") -> Any:
    """Make a record of options of an object of JSON, and records in it of objects in that."""
    kinds = _kinds(record)  # type: ignore[arg-type] # mypy finds no hash in a class
    values = dict(said)
    for entry in fields(record):
        kind = kinds[entry.name]
        if entry.name in values and is_dataclass(kind):
            inner = values[entry.name]
            if not isinstance(inner, dict):
                raise PromptError(f"`{entry.name}` is an object of JSON, got {_kind(inner)}")
            assert isinstance(kind, type)
            known = _fields(kind)
            if unknown := [key for key in inner if key not in known]:
                raise PromptError(
                    f"`{entry.name}` has no `{unknown[0]}`", hint=f"It has {', '.join(known)}"
                )
            values[entry.name] = _record(kind, inner)
    return record(**values)


@cache
def _kinds(record: type[Any]) -> dict[str, Any]:
    # Half of the time that a line took, before it was cached.
    return get_type_hints(record)


def _concept(asked: Mapping[str, Any]) -> Concept:
    return Concept(
        asked.get("text"),
        include=_list(asked, "include", "boxes") or (),
        exclude=_list(asked, "exclude", "boxes") or (),
    )


def _object(asked: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Read what is said of one object; its mask stays a path."""
    mask = asked.get("mask")
    if "mask" in asked and not _is_path(mask):
        raise PromptError(f"`mask` is the path of a picture, got {_kind(mask)}")
    points, labels = _list(asked, "points", "points"), _list(asked, "labels", "labels")
    box = _list(asked, "box", "numbers")
    if labels is not None and points is None:
        raise PromptError("`labels` are those of `points`, which are not given")
    if points is None and box is None and mask is None:
        raise PromptError(
            "`segment` needs points, a box or a mask, got none",
            hint='Say what to segment, such as "points": [[320, 200]] or "box": [10, 20, 90, 80]',
        )
    return {
        "points": None if points is None else Points(points, labels),
        "box": None if box is None else Box.from_sequence(box),
        "mask": None if mask is None else folder / mask,
    }


def _list(asked: Mapping[str, Any], name: str, of: str) -> list[Any] | None:
    if name not in asked:
        return None
    if not isinstance(asked[name], list):
        raise PromptError(f"`{name}` is a list of {of}, got {_kind(asked[name])}")
    return list(asked[name])


def _is_path(value: object) -> bool:
    """Tell whether a value is text that a file can be called."""
    if not isinstance(value, str) or not value or "\0" in value:
        return False
    try:
        os.fsencode(value)
    except UnicodeEncodeError:
        return False
    return True


def _kind(value: object) -> str:
    """Say what a value of JSON is."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true or false"
        case str():
            return f"{json.dumps(value[:40])}" if value else "an empty text"
        case int() | float():
            return "a number"
        case list():
            return "a list"
    return "an object"
