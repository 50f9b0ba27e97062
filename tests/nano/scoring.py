"""The quiz of the small world put to a model, as its users ask it."""

from __future__ import annotations

from promptseg import Model
from promptseg.nn.protocol import VISUAL
from promptseg.shapes import ImageArray, MaskStack
from promptseg.train.concepts.questions import Question
from promptseg.train.concepts.quiz import Finds


def asked_of(model: Model) -> Finds:
    """Answer questions by `Model.find`; examples without a phrase are asked without one."""

    def find(image: ImageArray, question: Question) -> MaskStack:
        shown = list(zip(question.boxes.tolist(), question.labels.tolist(), strict=True))
        phrase = None if shown and question.phrase == VISUAL else question.phrase
        found = model.find(
            image,
            phrase,
            include=[box for box, label in shown if label == 1],
            exclude=[box for box, label in shown if label == 0],
        )
        return found.to_numpy()

    return find
