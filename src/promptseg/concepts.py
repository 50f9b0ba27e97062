"""What may be said about every such thing: a phrase, example boxes, or both; checked when made."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from promptseg.errors import PromptError
from promptseg.geometry import Box, Size
from promptseg.shapes import BoxRow

KINDS_HINT = (
    'Say what to find in a phrase such as "red car", or give boxes of examples: '
    "`include=[(x0, y0, x1, y1)]`, and of what is not meant: `exclude=[...]`; "
    "points are prompts of `segment`"
)
# Longer than any phrase that a network reads whole, and short enough to be shown in a message.
MOST_LETTERS = 1000
# What masks found by examples alone are labelled.
EXAMPLE = "example"

OneBox: TypeAlias = "Box | Sequence[float] | BoxRow"


@dataclass(frozen=True, init=False)
class Concept:
    """Things of one kind: named by a phrase, shown by example boxes, or both.

    `include` are boxes of things that are meant, `exclude` of things that are not, all on the image
    that is asked about. Examples alone are legal, and so are excluded ones alone: these leave it to
    the model what else is meant, and it rarely knows. An excluded example is weighed, not cut out:
    the model learns from it what is not meant.

    Raises:
        PromptError: neither a phrase nor a box, a phrase that is empty, too long or holds control
            characters, or a box without inside.
    """

    text: str | None
    include: tuple[Box, ...]
    exclude: tuple[Box, ...]

    def __init__(
        self,
        text: str | None = None,
        *,
        include: Sequence[OneBox] = (),
        exclude: Sequence[OneBox] = (),
    ) -> None:
        object.__setattr__(self, "text", None if text is None else _phrase(text))
        object.__setattr__(self, "include", _boxes(include, "include"))
        object.__setattr__(self, "exclude", _boxes(exclude, "exclude"))
        if text is None and not self.include and not self.exclude:
            raise PromptError(
                "a concept needs a phrase or example boxes, got neither", hint=KINDS_HINT
            )

    @property
    def label(self) -> str:
        """What masks of it are labelled: the phrase, or `example` where there is none."""
        return EXAMPLE if self.text is None else self.text

    @property
    def says_only_what_not(self) -> bool:
        """Whether all that is known of it is what it is not."""
        return self.text is None and not self.include

    def check(self, size: Size) -> None:
        """Refuse boxes that lie outside an image of `size`; they may stick out of it.

        Raises:
            PromptError: one does.
        """
        for box in (*self.include, *self.exclude):
            box.require_overlap(size)


def as_concept(
    value: str | Concept | None,
    *,
    include: Sequence[OneBox] = (),
    exclude: Sequence[OneBox] = (),
) -> Concept:
    """Make a concept of a phrase and example boxes, or take one as it is.

    Raises:
        PromptError: it makes no sense, or boxes are given beside a concept that has its own.
    """
    if value is None or isinstance(value, str):
        return Concept(value, include=include, exclude=exclude)
    if isinstance(value, Box):
        raise PromptError(
            "a box shows a thing and does not name it",
            hint=f"Write `include=[{value}]`; `segment` finds the one object in a box",
        )
    if not isinstance(value, Concept):
        raise PromptError(
            f"`find` asks for phrases and examples, got {type(value).__name__}", hint=KINDS_HINT
        )
    if has_boxes(include, exclude):
        raise PromptError(
            "a `Concept` has its own examples, so `include` and `exclude` say nothing",
            hint="Give a phrase beside them, or put the boxes into the `Concept`",
        )
    return value


def has_boxes(include: Sequence[OneBox], exclude: Sequence[OneBox]) -> bool:
    """Whether there is any example box.

    Raises:
        PromptError: these are no boxes.
    """
    return bool(_boxes(include, "include") + _boxes(exclude, "exclude"))


def _phrase(text: object) -> str:
    if not isinstance(text, str):
        raise PromptError(f"a phrase must be text, got {type(text).__name__}", hint=KINDS_HINT)
    phrase = " ".join(text.split())
    # Joiners and marks of direction (Cf) cannot be seen.
    if all(unicodedata.category(letter) in ("Zs", "Cf") for letter in phrase):
        raise PromptError("a phrase needs a word at least, got an empty one", hint=KINDS_HINT)
    if len(phrase) > MOST_LETTERS:
        raise PromptError(
            f"a phrase has at most {MOST_LETTERS} letters, got {len(phrase)}: `{phrase[:40]}...`",
            hint="Name the thing in a few words",
        )
    # Control characters, and halves of surrogate pairs, which are no text.
    if strange := [letter for letter in phrase if unicodedata.category(letter) in ("Cc", "Cs")]:
        raise PromptError(
            f"a phrase holds no control characters, got {strange[0]!r} in {phrase[:40]!r}",
            hint="Name the thing in a few plain words",
        )
    return phrase


def _boxes(values: Sequence[OneBox], name: str) -> tuple[Box, ...]:
    if isinstance(values, Box):
        values = [values]
    if not _is_list(values):
        raise PromptError(
            f"`{name}` must be a list of boxes, got {type(values).__name__}", hint=KINDS_HINT
        )
    return tuple(map(_box, values))


def _box(value: OneBox) -> Box:
    if isinstance(value, Box):
        return value
    if not _is_list(value):
        raise PromptError(
            f"a box needs 4 numbers, got {type(value).__name__}",
            hint="Give a list of boxes: `[(x0, y0, x1, y1)]`",
        )
    return Box.from_sequence(value)


def _is_list(value: object) -> bool:
    """Whether there are things in it to be taken one by one; text is not meant."""
    if isinstance(value, np.ndarray):
        return value.ndim > 0
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))
