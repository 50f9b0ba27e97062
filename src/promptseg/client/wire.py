"""Questions as the service reads them, and its answers as the library has them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple, fields, is_dataclass
from numbers import Integral, Real
from typing import Any, NamedTuple

from promptseg.batch import Query
from promptseg.concepts import Concept
from promptseg.errors import (
    ConfigError,
    MaskError,
    PromptError,
    PromptsegError,
    ServiceError,
    from_record,
)
from promptseg.formats.records import masks_from_json
from promptseg.masks import RunLength
from promptseg.options import EverythingOptions, FindOptions, SegmentOptions
from promptseg.prompts import MaskHint, Points, Prompt
from promptseg.results import Masks

Options = SegmentOptions | FindOptions | EverythingOptions

# What an answer over the wire has no place for.
UNSAID = {
    "logits": "logits stay where the network is",
    "mask_size": "masks come back at the size of the image",
}
LOCAL_HINT = "Leave it out, or ask a `Model` on this machine"
NONSENSE_HINT = "Is this the address of a promptseg service?"


class Progress(NamedTuple):
    """How far a search has come: points asked, of how many, and masks found so far."""

    done: int
    total: int
    found: int


class ServedModel(NamedTuple):
    """A model that a service answers with: what it can be asked, and how it runs.

    `image_side` are the pixels of the square in which it sees an image.
    """

    name: str
    verbs: tuple[str, ...]
    image_side: int
    device: str
    dtype: str


def check(options: Options, asked: Sequence[Concept | Prompt] = ()) -> None:
    """Refuse what the wire has no words for.

    Raises:
        ConfigError: an option asks for what no answer over the wire has.
        PromptError: a hint is logits.
    """
    usual = type(options)()
    for name, why in UNSAID.items():
        if getattr(options, name, None) != getattr(usual, name, None):
            value = getattr(options, name)
            raise ConfigError(f"a service has no `{name}={value!r}`: {why}", hint=LOCAL_HINT)
    for each in asked:
        if isinstance(each, Prompt) and each.hint is not None and each.hint.is_logits:
            raise PromptError(
                "a hint for a service is a mask of the image's size, got logits",
                hint="Give the mask itself, `logits > 0` at the image's size; `Client.session` "
                "keeps the logits of each step for the next",
            )


def segment_words(prompts: Sequence[Prompt], options: SegmentOptions) -> dict[str, object]:
    """Say what `segment` is asked: a list of objects, and the options that were chosen."""
    return {"objects": [prompt_words(each) for each in prompts], **option_words(options)}


def find_words(concepts: Sequence[Concept], options: FindOptions) -> dict[str, object]:
    """Say what `find` is asked: a list of concepts, and the options that were chosen."""
    return {"concepts": [_concept(each) for each in concepts], **option_words(options)}


def query_words(query: Query) -> dict[str, object]:
    """Say one query of a batch: its verb, and what that is asked."""
    asked: Any = query.asked
    match query.options:
        case SegmentOptions():
            return {"verb": query.verb, **segment_words(asked, query.options)}
        case FindOptions():
            return {"verb": query.verb, **find_words(asked, query.options)}
    return {"verb": query.verb, **option_words(query.options)}


def prompt_words(prompt: Prompt) -> dict[str, object]:
    """Say what is known of one object."""
    said: dict[str, object] = {}
    if prompt.points is not None:
        said |= _points(prompt.points)
    if prompt.box is not None:
        said["box"] = list(astuple(prompt.box))
    if prompt.hint is not None:
        said["hint"] = _hint(prompt.hint)
    return said


def accept_words(label: object, mask: object) -> dict[str, object]:
    """Say which mask is an object, and what it is called, if anything.

    Raises:
        PromptError: the label is no text, or the mask no number.
    """
    if not isinstance(label, (str, type(None))):
        raise PromptError(f"a label is some text, got {type(label).__name__}")
    if not isinstance(mask, Integral) or isinstance(mask, bool):
        raise PromptError(f"a mask is named by its place, from 0, got {type(mask).__name__}")
    return {"mask": int(mask), **({} if label is None else {"label": label})}


def option_words(record: Any) -> dict[str, object]:
    """Say the fields of a record of options that are not as by default.

    The others are left to the service, so that one of another version is asked all the same.
    """
    usual = type(record)()
    return {
        entry.name: option_words(value) if is_dataclass(value) else _plain(value)
        for entry in fields(record)
        if (value := getattr(record, entry.name)) != getattr(usual, entry.name)
    }


def written(words: Mapping[str, object]) -> str:
    """Write what is asked as JSON."""
    return json.dumps(words, allow_nan=False, separators=(",", ":"))


def parsed(text: str | bytes) -> dict[str, Any]:
    """Read an object of JSON that the service wrote.

    Raises:
        ServiceError: it is none.
    """
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        raise nonsense("it is no JSON") from None
    if not isinstance(said, dict):
        raise nonsense("it is no object of JSON")
    return said


def masks_of(said: Mapping[str, Any]) -> Masks:
    """Read the masks of an answer.

    Raises:
        ServiceError: it has none.
    """
    try:
        return masks_from_json(said)
    # Beside our own errors those of numpy, of numbers that no array holds.
    except (MaskError, ValueError, TypeError, OverflowError, MemoryError) as error:
        raise nonsense(str(error)) from error


def outcome_of(said: Mapping[str, Any]) -> Masks | PromptsegError:
    """Read the answer to one query of a batch: its masks, or why there are none.

    Raises:
        ServiceError: it is neither.
    """
    return error_of(said) or masks_of(said)


def error_of(said: Mapping[str, Any]) -> PromptsegError | None:
    """Make the error again that an answer tells of, None where it tells of none.

    What the service calls by a name that is unknown here is a `ServiceError`.
    """
    match said.get("error"):
        case {"kind": str(kind), "message": str(message), **others}:
            error = from_record({"kind": kind, "message": message, "hint": others.get("hint")})
            if type(error) is PromptsegError:
                return ServiceError(f"the service says: {message}", hint=error.hint)
            return error
    return None


def progress_of(said: Mapping[str, Any]) -> Progress:
    """Read how far a search has come.

    Raises:
        ServiceError: it does not say so.
    """
    match said:
        case {"done": int(done), "total": int(total), "found": int(found)}:
            return Progress(done, total, found)
    raise nonsense("its progress has no `done`, `total` and `found`")


def models_of(said: Mapping[str, Any]) -> tuple[ServedModel, ...]:
    """Read which models a service answers with.

    Raises:
        ServiceError: it does not say so.
    """
    match said:
        case {"models": [*models]}:
            return tuple(map(_model, models))
    raise nonsense("it names no models")


def nonsense(why: str) -> ServiceError:
    """Make the error of an answer that is none."""
    return ServiceError(f"the service gave no answer that can be read: {why}", hint=NONSENSE_HINT)


def _model(said: object) -> ServedModel:
    match said:
        case {
            "name": str(name),
            "verbs": [*verbs],
            "image_side": int(side),
            "device": str(device),
            "dtype": str(dtype),
        }:
            return ServedModel(name, tuple(map(str, verbs)), side, device, dtype)
    raise nonsense("it names no models")


def _points(points: Points) -> dict[str, object]:
    return {"points": points.coordinates.tolist(), "labels": points.labels.tolist()}


def _hint(hint: MaskHint) -> dict[str, object]:
    return {**RunLength.from_mask(hint.mask.astype(bool)).to_coco()}


def _concept(concept: Concept) -> dict[str, object]:
    said: dict[str, object] = {} if concept.text is None else {"text": concept.text}
    for name in ("include", "exclude"):
        if boxes := getattr(concept, name):
            said[name] = [list(astuple(box)) for box in boxes]
    return said


def _plain(value: object) -> object:
    """Return a number as one of JSON, also where it was numpy's."""
    if isinstance(value, bool):
        return value
    if isinstance(value, Integral):
        return int(value)
    return float(value) if isinstance(value, Real) else value
