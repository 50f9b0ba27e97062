"""A loaded model as a predictor, so that what is measured is what is served."""

from __future__ import annotations

from collections.abc import Sequence

from promptseg.api import Model
from promptseg.engine.session import Session
from promptseg.evaluate.metrics import CLICK_CAP
from promptseg.evaluate.predictor import Answer, Question, View
from promptseg.options import SegmentOptions
from promptseg.prompts import Points, Prompt
from promptseg.shapes import ImageArray


class Served:
    """Asks a model as an annotator's program would: one session for each object."""

    def __init__(self, model: Model, *, cap: int = CLICK_CAP) -> None:
        self.name = model.name
        self.cap = cap
        self._model = model

    def start(self, image: ImageArray) -> View:
        """Look at an image; its features wait in the model's cache."""
        return _Sessions(self._model, image)


class _Sessions:
    """The objects of one image, each in a session of its own, the memory of its answers."""

    def __init__(self, model: Model, image: ImageArray) -> None:
        self._model = model
        self._image = image
        # Encode now, so that looking and answering are timed apart.
        self._open().close()

    def answer(self, questions: Sequence[Question]) -> list[Answer]:
        """Add the last click, or the box, to each object's session."""
        return [self._answer(question) for question in questions]

    def _answer(self, question: Question) -> Answer:
        session = question.memory if isinstance(question.memory, Session) else self._open()
        points = [
            Points([(click.x + 0.5, click.y + 0.5)], [click.label])  # the middle of the pixel
            for click in question.clicks[-1:]
        ]
        masks = session.add(Prompt(points=points[0] if points else None, box=question.box))
        # A session's first mask is its choice, which the next click refines; the rest are the
        # others.
        candidates = list(masks.to_numpy())
        return Answer(candidates[0], candidates, session)

    def _open(self) -> Session:
        return self._model.session(self._image, options=SegmentOptions(all_candidates=True))
