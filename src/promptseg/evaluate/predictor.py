"""All that measuring knows of what it measures: a model, a network in training, or a baseline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from promptseg.evaluate.clicks import Click
from promptseg.geometry import Box
from promptseg.shapes import ImageArray, MaskArray


class Answer(NamedTuple):
    """The predictor's own choice, every candidate with the choice among them, and its memory.

    `memory` comes back in the next question about the same object and means something only to the
    predictor.
    """

    mask: MaskArray
    candidates: Sequence[MaskArray]
    memory: object = None


class Question(NamedTuple):
    """All that was said about one object: its clicks so far in order, or its box.

    `memory` is that of the answer to all clicks but the last; None at first.
    """

    clicks: tuple[Click, ...] = ()
    box: Box | None = None
    memory: object = None


class View(Protocol):
    """One image as a predictor sees it, looked at once."""

    def answer(self, questions: Sequence[Question]) -> list[Answer]:
        """Answer questions about different objects, in order, with masks of the image's size."""


class Predictor(Protocol):
    """What can be measured. `cap` is the most clicks it is given for one object, at least 5."""

    @property
    def name(self) -> str:
        """What the report calls it."""

    @property
    def cap(self) -> int:
        """The most clicks it is given."""

    def start(self, image: ImageArray) -> View:
        """Look at an image."""
