"""Words of a body for the options of a record: made from its fields, and bounded as it checks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import cache
from inspect import cleandoc
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model

from promptseg.errors import ConfigError

# No whole number or coordinate that anybody means is wider, and the engine's arrays hold it.
WIDEST = 2**31 - 1
# Fields of the records that a wire has no place for.
LEFT_OUT = ("logits", "mask_size")

WordsT = TypeVar("WordsT", bound="Words")
RecordT = TypeVar("RecordT")


# Asking anew takes a tenth of what a click takes beside the model.
_kinds: Callable[[Any], dict[str, Any]] = cache(get_type_hints)


class Words(BaseModel):
    """Part of a body: nothing that is not known, no number as text, nothing but finite numbers."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        frozen=True,
        arbitrary_types_allowed=True,
    )


def with_options(words: type[WordsT], record: type[Any], name: str) -> type[WordsT]:
    """Add to words those for each option of a record, with its help, its default and its bounds."""
    kinds = _kinds(record)
    options: dict[str, Any] = {}
    for entry in fields(record):
        if entry.name in LEFT_OUT:
            continue
        kind, description = kinds[entry.name], entry.metadata["help"]
        if is_dataclass(kind):
            assert isinstance(kind, type)
            inner = with_options(Words, kind, kind.__name__)
            options[entry.name] = (inner, Field(default=inner(), description=description))
            continue
        least, most = bounds(record, entry.name, kind)
        within = Field(ge=least, le=most)
        if int in (kind, *get_args(kind)):
            number: Any = Annotated[int, within, BeforeValidator(whole)]
            kind, within = (number if kind is int else number | None), Field()
        said = Field(default=entry.default, description=description)
        options[entry.name] = (Annotated[kind, within], said)
    what = cleandoc((record if words is Words else words).__doc__ or "").partition("\n\n")[0]
    return create_model(name, __base__=words, __doc__=what, **options)


def options_of(words: BaseModel, record: type[RecordT]) -> RecordT:
    """Return the record of options that words have.

    Raises:
        ConfigError: a value is of the wrong kind or out of range.
    """
    kinds = _kinds(record)
    said = {name: getattr(words, name) for name in kinds if name in type(words).model_fields}
    for name, value in said.items():
        if isinstance(value, BaseModel):
            said[name] = options_of(value, kinds[name])
    return record(**said)


def bounds(record: type[Any], name: str, kind: Any) -> tuple[int | None, int | None]:
    """Return the least and the most that a record takes for a number, found by asking it.

    Bounds are whole numbers, and those of whole numbers are at most `WIDEST` away from 0. Both are
    None where the field is no number, and one is None where there is none.
    """
    numbers = {int, float} & {kind, *get_args(kind)}
    if not numbers:
        return None, None

    def takes(value: int) -> bool:
        try:
            record(**{name: value})
        except ConfigError:
            return False
        return True

    within = next(value for value in (1, 0) if takes(value))
    least = _furthest(within, -WIDEST, takes)
    most = _furthest(within, WIDEST, takes)
    if int in numbers:
        return least, most
    return (None if least == -WIDEST else least), (None if most == WIDEST else most)


def _furthest(start: int, end: int, takes: Callable[[int], bool]) -> int:
    """Return the last whole number that is taken on the way from one that is to `end`."""
    if takes(end):
        return end
    while abs(end - start) > 1:
        middle = (start + end) // 2
        start, end = (middle, end) if takes(middle) else (start, middle)
    return start


def whole(value: object) -> object:
    """Take 3.0 for 3, as JSON does, which has one kind of number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
