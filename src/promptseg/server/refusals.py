"""Why a body is refused: one sentence that names the field, what it got, and what to do."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from promptseg.errors import PromptError, PromptsegError

ModelT = TypeVar("ModelT", bound=BaseModel)

# What each kind of refusal wants, by pydantic's name for it; what is in braces is of its context.
WANTED = {
    "missing": "is missing",
    "bool_type": "is true or false",
    "int_type": "is a whole number",
    "int_from_float": "is a whole number",
    "int_parsing": "is a whole number",
    "int_parsing_size": "is a number of fewer digits",
    "float_type": "is a number",
    "finite_number": "is a finite number",
    "string_type": "is text",
    "list_type": "is a list",
    "tuple_type": "is a list",
    "dict_type": "is an object",
    "model_type": "is an object",
    "model_attributes_type": "is an object",
    "none_required": "is null",
    "literal_error": "is one of {expected}",
    "greater_than": "is above {gt}",
    "greater_than_equal": "is at least {ge}",
    "less_than_equal": "is at most {le}",
    "too_long": "is a list of at most {max_length}",
    "too_short": "is a list of at least {min_length}",
    "string_too_long": "has at most {max_length} letters",
    "string_too_short": "has at least {min_length} letters",
    "string_pattern_mismatch": "is spelled otherwise",
    "string_unicode": "is text in UTF-8",
}
HUGE = 1e300
# Values of a body, each of which takes some 100 bytes and, of a wrong kind, ten times as many: more
# would take gigabytes, and seconds in which no other thread of Python goes on.
MOST_VALUES = 2**18
PIECE = 2**20
# Beyond so many mistakes none is looked at.
MOST_MISTAKES = 1000
# Letters of what a caller wrote that are repeated in an error.
SHOWN = 40
SEE = "The words of each request are in /docs"


class FieldError(PromptError):
    """A part of a body that makes no sense; `field` says which, such as `objects.3.points`."""

    def __init__(self, message: str, *, hint: str | None = None, field: str = "") -> None:
        super().__init__(message, hint=hint)
        self.field = field


@contextmanager
def field(name: str) -> Iterator[None]:
    """Say in a `PromptError` which part of a body it is about."""
    try:
        yield
    except PromptError as error:
        inner = error.field if isinstance(error, FieldError) else ""
        path = ".".join(filter(None, (name, inner)))
        raise FieldError(str(error), hint=error.hint, field=path) from None


def parse(model: type[ModelT], said: bytes | str, *, limits: object = None) -> ModelT:
    """Read a body's JSON as `model` has it; `limits` have the numbers that `Limited` fields name.

    Raises:
        FieldError: it is no JSON, not as the model has it, or has more than `MOST_VALUES`.
    """
    data = said.encode() if isinstance(said, str) else said
    if not _is_short(data):
        raise FieldError(
            f"a body has at most {MOST_VALUES} values", hint="Ask in several requests, with less"
        )
    try:
        return model.model_validate_json(data, context=limits)
    except ValidationError as error:
        if (count := error.error_count()) > MOST_MISTAKES:
            refusal = FieldError(f"the body has {count} mistakes", hint=SEE)
        else:
            refusal = refused(error.errors(include_url=False))
    except RecursionError:
        refusal = FieldError("the body is nested too deeply", hint=SEE)
    raise refusal


def refused(details: Sequence[Mapping[str, Any]], *, has_branches: bool = True) -> FieldError:
    """Say the first of the reasons why something was refused.

    Without branches every part of its place is a name, however it is spelled.
    """
    detail = _plainest(details) if has_branches else details[0]
    parts = [part for part in detail["loc"] if not (has_branches and _is_branch(part))]
    place = ".".join(map(str, parts))
    cause = detail.get("ctx", {}).get("error")
    match detail["type"]:
        case "value_error" if isinstance(cause, PromptsegError):
            inner = getattr(cause, "field", "")
            path = ".".join(filter(None, (place, inner)))
            return FieldError(str(cause), hint=cause.hint, field=path)
        case "json_invalid" | "json_type":
            return FieldError("the body is not JSON that can be read", hint=SEE, field=place)
        case "extra_forbidden":
            return FieldError(f"there is no `{_short(place)}` here", hint=SEE, field=_short(place))
        case "missing":
            return FieldError(f"`{place}` is missing", hint=SEE, field=place)
    context = {
        name: f"{value:.10g}" if isinstance(value, float) else str(value).replace("'", "")
        for name, value in detail.get("ctx", {}).items()
    }
    wanted = WANTED.get(detail["type"], "is something else").format(**context)
    name = f"`{_short(place)}`" if place else "the body"
    return FieldError(
        f"{name} {wanted}, got {shown(detail.get('input'))}", hint=SEE, field=_short(place)
    )


def _is_short(data: bytes) -> bool:
    """Whether there are at most `MOST_VALUES`; no other thread goes on while a piece is counted."""
    count = 0
    for start in range(0, len(data), PIECE):
        piece = data[start : start + PIECE]
        count += sum(map(piece.count, (b",", b"[", b"{")))
        if count > MOST_VALUES:
            return False
    return True


def shown(value: object) -> str:
    """Say in short what a value of JSON is."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            # Written so that a whole number that no float holds is not made one.
            return f"{value:g}" if abs(value) < HUGE else "a huge number or none"
        case str():
            return json.dumps(value[:SHOWN]) if value else "an empty text"
        case list() | tuple():
            return f"a list of {len(value)}"
        case dict():
            return "an object"
    return "something else"


def _plainest(details: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Take the first reason; of the branches of a choice the one that got furthest."""
    first = details[0]
    if not any(_is_branch(part) for part in first["loc"]):
        return first
    return max(details, key=lambda each: len(each["loc"]))


def _is_branch(part: object) -> bool:
    """Whether pydantic means a branch of a choice by a part of a place, and not a field."""
    return isinstance(part, str) and (not part.isidentifier() or part[:1].isupper())


def _short(place: str) -> str:
    return place if len(place) <= 80 else f"{place[:80]}..."
