"""Masks with the name of their image, and what files say of a mask beside its pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypedDict, cast

import numpy as np

from promptseg.errors import MaskError
from promptseg.geometry import Size
from promptseg.masks import RunLength
from promptseg.results import Masks
from promptseg.shapes import IndexArray

# What a mask is called in formats where each has a name, and nothing is known.
UNNAMED = "object"
# Far beyond any score or coordinate, and within what float32 holds.
LARGEST = 1e9


class Answer(NamedTuple):
    """The masks of one image."""

    name: str
    masks: Masks


class Facts(TypedDict, total=False):
    """What our files say of a mask beside its pixels and its label, as `Masks` means it."""

    score: float
    object: int
    candidate: int
    presence: float
    confident: bool
    stability: float
    point: list[float]
    crop: list[float]


class Found(NamedTuple):
    """One mask that a file has."""

    run: RunLength
    label: str | None
    facts: Facts


def merged(answers: Sequence[tuple[str, Masks]]) -> list[Answer]:
    """Check what is to be written, and put answers about one image together, in order.

    Raises:
        MaskError: an answer is not a name with `Masks`, or those of one image differ in size.
    """
    if isinstance(answers, (str, Masks)) or not isinstance(answers, Sequence):
        raise _not_answers(answers)
    parts: dict[str, list[Masks]] = {}
    for answer in answers:
        match answer:
            case (str(name), Masks() as masks):
                parts.setdefault(name, []).append(masks)
            case _:
                raise _not_answers(answer)
    return [Answer(name, _together(name, same)) for name, same in parts.items()]


def joined(parts: Sequence[Masks]) -> Masks:
    """Put masks of one image together, at least one; those without a label have an empty one.

    Raises:
        MaskError: they differ in size.
    """
    if any(part.labels is not None for part in parts):
        parts = [
            replace(part, labels=np.full(len(part), "")) if part.labels is None else part
            for part in parts
        ]
    return Masks.concatenate(parts)


def facts_of(masks: Masks, i: int) -> Facts:
    """Say of mask `i` what is known.

    Raises:
        MaskError: a number is not finite.
    """
    facts: Facts = {
        "score": _short(masks.scores[i]),
        "object": int(masks.objects[i]),
        "candidate": int(masks.candidates[i]),
        "presence": _short(masks.presence[i]),
        "confident": bool(masks.confident[i]),
    }
    if masks.stability is not None:
        facts["stability"] = _short(masks.stability[i])
    if masks.points is not None:
        facts["point"] = masks.points[i].tolist()
    if masks.crops is not None:
        facts["crop"] = masks.crops[i].tolist()
    for name, value in facts.items():
        if not np.isfinite(value).all():  # type: ignore[call-overload]
            raise MaskError(f"mask {i} has a {name} of {value}, which no file can hold")
    return facts


def read_facts(record: dict[str, object]) -> Facts:
    """Take from a record what `facts_of` writes; what others mean by the same words stays there."""
    kept = {name: record[name] for name, fits in FITTING.items() if fits(record.get(name))}
    return cast(Facts, kept)


def assemble(size: Size, found: Sequence[Found], *, complete: bool = True) -> Masks:
    """Make `Masks` of what a file has of one image.

    What may be missing in `Masks` is there where every mask has it. Other facts that are not known
    are those of `Masks.of`.

    Raises:
        MaskError: a mask has another size.
    """
    facts = [each.facts for each in found]
    count = len(found)

    def known(name: str) -> list[Any] | None:
        values = [fact.get(name) for fact in facts]
        return values if count and all(value is not None for value in values) else None

    labels = [each.label for each in found]
    return Masks(
        size=size,
        runs=tuple(each.run for each in found),
        scores=np.array([fact.get("score", 1.0) for fact in facts], np.float32),
        objects=np.array(known("object") or range(count), np.int64),
        candidates=np.array([fact.get("candidate", 0) for fact in facts], np.int64),
        presence=np.array([fact.get("presence", 1.0) for fact in facts], np.float32),
        confident=np.array([fact.get("confident", True) for fact in facts], np.bool_),
        stability=_column(known("stability"), np.float32),
        points=_column(known("point"), np.float64),
        crops=_column(known("crop"), np.float64),
        labels=np.array([label or "" for label in labels], np.str_) if any(labels) else None,
        complete=complete,
    )


def label_of(masks: Masks, i: int) -> str | None:
    """Return what mask `i` is of, None where nothing is said."""
    return None if masks.labels is None else str(masks.labels[i]) or None


def numbers_of(masks: Masks) -> IndexArray:
    """Return a number for each mask, from 1: after its object's, or its place where two share one.

    Answers with several candidates of an object are numbered by their places.
    """
    objects = masks.objects
    apart = len(np.unique(objects)) == len(objects)
    return (objects if apart and (objects >= 0).all() else np.arange(len(objects))) + 1


def _column(values: list[Any] | None, dtype: type[np.generic]) -> Any:
    return None if values is None else np.array(values, dtype)


def _short(number: np.float32) -> float:
    """Return the shortest number that is this float32, so that 0.9 does not read 0.89999998."""
    return float(str(np.float32(number)))


def _together(name: str, parts: Sequence[Masks]) -> Masks:
    if len({part.size for part in parts}) > 1:
        raise MaskError(
            f"masks of different sizes for one image, `{name}`: {parts[0].size}, "
            f"{next(part.size for part in parts if part.size != parts[0].size)}",
            hint="Give each image a name of its own, or bring its masks to one size",
        )
    return parts[0] if len(parts) == 1 else Masks.concatenate(parts)


def _not_answers(value: object) -> MaskError:
    return MaskError(
        f"answers are a list of names with `Masks`, got {type(value).__name__}",
        hint='Write `[("photo.jpg", masks)]`',
    )


def _is_number(value: object) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and abs(value) <= LARGEST  # type: ignore[arg-type]


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def _is_point(value: object) -> bool:
    return _are_numbers(value, 2)


def _is_box(value: object) -> bool:
    return _are_numbers(value, 4)


def _are_numbers(value: object, count: int) -> bool:
    return isinstance(value, list) and len(value) == count and all(map(_is_number, value))


# How each fact looks in a file.
FITTING: dict[str, Callable[[object], bool]] = {
    "score": _is_number,
    "object": _is_whole,
    "candidate": _is_whole,
    "presence": _is_number,
    "confident": lambda value: isinstance(value, bool),
    "stability": _is_number,
    "point": _is_point,
    "crop": _is_box,
}
