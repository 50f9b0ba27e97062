"""The protocol: every object of a dataset, click by click and with its box."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from promptseg.errors import ConfigError
from promptseg.evaluate.clicks import Click, first_click, next_click
from promptseg.evaluate.datasets import Dataset, Example, Photo
from promptseg.evaluate.metrics import (
    REPORTED_CLICKS,
    REPORTED_LEVELS,
    Summary,
    Trace,
    iou,
    summarise,
)
from promptseg.evaluate.predictor import Answer, Predictor, Question, View
from promptseg.geometry import Box
from promptseg.shapes import ImageArray, MaskArray


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Seconds a predictor took for an image and for an answer, on average, and how many of each."""

    image_seconds: float
    answer_seconds: float
    images: int
    answers: int


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What one predictor reached."""

    predictor: str
    cap: int
    summary: Summary
    traces: tuple[Trace, ...]
    timing: Timing


def evaluate(
    predictor: Predictor,
    dataset: Dataset,
    *,
    watch: Callable[[Iterable[Photo]], Iterable[Photo]] = iter,
) -> Evaluation:
    """Measure a predictor on a dataset; `watch` passes the photos on, to show how far it is.

    The same predictor and data give the same numbers, the timing aside.

    Raises:
        ConfigError: the predictor takes too few clicks, or the data are damaged.
        ImageError: an image is missing or unreadable.
    """
    if predictor.cap < max(REPORTED_CLICKS):
        raise ConfigError(
            f"the protocol gives at least {max(REPORTED_CLICKS)} clicks, "
            f"but `{predictor.name}` takes {predictor.cap}"
        )
    traces: list[Trace] = []
    timed = _Timed(predictor)
    for image, examples in watch(dataset.photos()):
        traces += measure_photo(timed.start(image), examples, cap=predictor.cap)
    return Evaluation(
        predictor=predictor.name,
        cap=predictor.cap,
        summary=summarise(traces),
        traces=tuple(traces),
        timing=timed.timing(),
    )


def measure_photo(view: View, examples: Sequence[Example], *, cap: int) -> list[Trace]:
    """Go through the clicks and boxes of all objects of one image, as many at once as there are."""
    objects = [_Object(example) for example in examples]
    for _ in range(cap):
        waiting = [each for each in objects if each.question is not None]
        if not waiting:
            break
        answers = view.answer([each.question for each in waiting if each.question is not None])
        for each, answer in zip(waiting, answers, strict=True):
            each.hear(answer)
    boxes = [Question(box=Box.from_sequence(example.truth.box)) for example in examples]
    for each, answer in zip(objects, view.answer(boxes), strict=True):
        each.hear_box(answer)
    return [each.trace(cap) for each in objects]


class _Object:
    """One object under way; `question` is what to ask next, None when nothing is left to learn."""

    def __init__(self, example: Example) -> None:
        self._example = example
        self._truth: MaskArray = np.ascontiguousarray(example.truth.to_mask())
        self._clicks: list[float] = []
        self._best_clicks: list[float] = []
        self._box = self._best_box = 0.0
        self.question = self._next(Question(), first_click(self._truth))

    def hear(self, answer: Answer) -> None:
        """Note how good the answer to the last click is, and where the next click goes."""
        assert self.question is not None
        own, best = self._overlaps(answer)
        self._clicks.append(own)
        self._best_clicks.append(best)
        click = next_click(self._truth, answer.mask)
        done = len(self._clicks) >= max(REPORTED_CLICKS) and own >= max(REPORTED_LEVELS)
        asked = self.question._replace(memory=answer.memory)
        self.question = None if done else self._next(asked, click)

    def hear_box(self, answer: Answer) -> None:
        """Note how good the answer to the tight box is."""
        self._box, self._best_box = self._overlaps(answer)

    def trace(self, cap: int) -> Trace:
        """Return how it went."""
        return Trace(
            id=self._example.id,
            domain=self._example.domain,
            cap=cap,
            clicks=tuple(self._clicks),
            best_clicks=tuple(self._best_clicks),
            box=self._box,
            best_box=self._best_box,
        )

    def _overlaps(self, answer: Answer) -> tuple[float, float]:
        own = iou(answer.mask, self._truth)
        return own, max([own, *(iou(each, self._truth) for each in answer.candidates)])

    @staticmethod
    def _next(question: Question, click: Click | None) -> Question | None:
        """Ask with one click more; a perfect mask leaves nothing to click."""
        if click is None:
            return None
        return question._replace(clicks=(*question.clicks, click))


class _Timed:
    """A predictor whose time is added up, without that of reading files and judging answers."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self._seconds = {"images": 0.0, "answers": 0.0}
        self._counts = {"images": 0, "answers": 0}

    def start(self, image: ImageArray) -> _TimedView:
        with self.adding("images", 1):
            view = self._predictor.start(image)
        return _TimedView(view, self)

    @contextmanager
    def adding(self, to: str, count: int) -> Iterator[None]:
        """Add the time of a block, in which `count` things are done."""
        began = time.perf_counter()
        yield
        self._seconds[to] += time.perf_counter() - began
        self._counts[to] += count

    def timing(self) -> Timing:
        """Return the averages so far."""
        images, answers = self._counts["images"], self._counts["answers"]
        return Timing(
            image_seconds=self._seconds["images"] / max(images, 1),
            answer_seconds=self._seconds["answers"] / max(answers, 1),
            images=images,
            answers=answers,
        )


class _TimedView:
    def __init__(self, view: View, clock: _Timed) -> None:
        self._view = view
        self._clock = clock

    def answer(self, questions: Sequence[Question]) -> list[Answer]:
        with self._clock.adding("answers", len(questions)):
            return self._view.answer(questions)
