"""A small data folder, and predictors that need no network."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from promptseg.evaluate.predictor import Answer, Question
from promptseg.masks import RunLength


@pytest.fixture
def data_folder(tmp_path) -> Callable[..., Path]:
    """Make a data folder of `(id, image, domain, mask)`, each image grey where its masks are."""

    def make(*objects, **changes) -> Path:
        for name in {image for _, image, _, _ in objects}:
            shade = sum(mask.astype(np.uint8) for _, image, _, mask in objects if image == name)
            picture = Image.fromarray(np.stack([40 + 120 * np.minimum(shade, 1)] * 3, axis=2))
            picture.save(tmp_path / name, format="PNG")
        entries = [
            {
                "id": name,
                "image": image,
                "domain": domain,
                "rle": RunLength.from_mask(mask).to_coco(),
            }
            for name, image, domain, mask in objects
        ]
        (tmp_path / "index.json").write_text(json.dumps({"masks": entries, **changes}))
        return tmp_path

    return make


@pytest.fixture
def blob() -> Callable[..., np.ndarray]:
    """Make a mask of 31 x 37 pixels that is a rectangle, half-open."""

    def make(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
        mask = np.zeros((31, 37), bool)
        mask[y0:y1, x0:x1] = True
        return mask

    return make


class Scripted:
    """Answers click k with the k-th of some masks, the last again when they run out."""

    name = "scripted"

    def __init__(self, masks: Sequence[np.ndarray], *, box: np.ndarray, cap: int = 20) -> None:
        self.cap = cap
        self.asked: list[Question] = []
        self._masks = masks
        self._box = box

    def start(self, image: np.ndarray) -> Scripted:
        return self

    def answer(self, questions: Sequence[Question]) -> list[Answer]:
        self.asked += questions
        return [self._answer(question) for question in questions]

    def _answer(self, question: Question) -> Answer:
        if question.box is not None:
            return Answer(self._box, [self._box])
        place = min(len(question.clicks), len(self._masks)) - 1
        mask = self._masks[place]
        return Answer(mask, [mask, np.zeros_like(mask)], len(question.clicks))


@pytest.fixture
def scripted() -> type[Scripted]:
    """The predictor that says what it is told to."""
    return Scripted
