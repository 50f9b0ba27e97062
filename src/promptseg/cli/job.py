"""The work of `promptseg run`: queries without an answer get one, and files are written of all."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

import promptseg
from promptseg.batch import Batch
from promptseg.cli import console
from promptseg.cli.each_image import about, has_no_room
from promptseg.cli.formats import PICTURES
from promptseg.cli.outputs import Outputs
from promptseg.errors import ImageError, MaskError, PromptsegError
from promptseg.formats.outcomes import Name, OutcomeLog
from promptseg.io import images
from promptseg.io.files import fingerprint
from promptseg.nn.protocol import VISUAL, NetworkSpec
from promptseg.queries import AskedImage, Question
from promptseg.results import Masks
from promptseg.shapes import ImageArray

logger = logging.getLogger(__name__)


class Task(NamedTuple):
    """A question about an image, and the key of both."""

    image: AskedImage
    question: Question
    key: str

    @property
    def name(self) -> Name:
        """What the query is known by."""
        return Name(self.image.name, self.question.id)


@dataclass
class _Look:
    """An image that is looked at: its tasks, its pixels once read, and what is asked of them now.

    `asked` are the tasks that have no outcome yet, by their ids in the batch.
    """

    image: AskedImage
    tasks: list[Task]
    pixels: ImageArray | None = None
    asked: dict[str, Task] = field(default_factory=dict)


@dataclass
class Job:
    """Answers what is not answered yet, and writes the files of each image from what the log has.

    `unwritten` counts the images whose files could not be written, and the files of the run.
    """

    model: promptseg.Model
    places: Outputs
    log: OutcomeLog
    max_pixels: int
    before: int = 0
    answered: int = 0
    failed: int = 0
    unwritten: int = 0

    @property
    def done(self) -> int:
        """How many queries have masks, new or old."""
        return self.before + self.answered

    @property
    def said(self) -> str:
        """How it went, in a line."""
        parts = [f"{self.answered} answered"]
        parts += [f"{self.before} done before"] if self.before else []
        parts += [f"{self.failed} failed"] if self.failed else []
        return f"queries: {', '.join(parts)}"

    def answer(self, asked: Sequence[AskedImage]) -> Iterator[None]:
        """Hand out a step for each query; images that are done come first, for their files.

        Raises:
            OutputError: there is no room left to write to, or the log cannot be written.
        """
        waiting = []
        for image in asked:
            tasks = self._tasks_if_known(image)
            if tasks is None:
                waiting.append(image)
                continue
            yield from self._pass(tasks)
            self._write(tasks, None)
        at_once = max(self.model.usage().images, 1)
        for start in range(0, len(waiting), at_once):
            yield from self._answer(waiting[start : start + at_once])

    def finish(self) -> None:
        """Write what is written once for the whole run, and put the log in order.

        Raises:
            OutputError: a file cannot be written.
        """
        for file in self.places.documents():
            console.show(str(file))
        self.log.tidy()
        console.show(str(self.log.path))

    def _tasks_if_known(self, image: AskedImage) -> list[Task] | None:
        """Return the tasks of an image all of whose questions are answered, else None."""
        if not all(self.log.knows(Name(image.name, each.id)) for each in image.questions):
            return None
        tasks = _tasks(image, self.model.spec)
        return tasks if all(self._is_done(task) for task in tasks) else None

    def _is_done(self, task: Task) -> bool:
        return self.log.knows(task.name, task.key)

    def _pass(self, tasks: Sequence[Task]) -> Iterator[None]:
        """Go past tasks that are done."""
        for task in tasks:
            self.before += 1
            self.log.forgive(task.name)
            yield

    def _answer(self, some: Sequence[AskedImage]) -> Iterator[None]:
        """Look at images together, and write the files of each when its last query is answered."""
        batch = Batch()
        seen = []
        for image in some:
            look = _Look(image, _tasks(image, self.model.spec))
            yield from self._pass([task for task in look.tasks if self._is_done(task)])
            yield from self._prepare(look, batch)
            if look.pixels is not None:
                seen.append(look)
        for look in seen:
            if not look.asked:
                self._write(look.tasks, look.pixels)
        look_of = {name: look for look in seen for name in look.asked}
        for answer in self.model.stream(batch):
            look = look_of[answer.id]
            task = look.asked.pop(answer.id)
            self._keep(task, answer.outcome)
            if not look.asked:
                self._write(look.tasks, look.pixels)
            yield

    def _prepare(self, look: _Look, batch: Batch) -> Iterator[None]:
        """Read an image and put its open queries into a batch; what cannot be is an outcome."""
        fresh = [task for task in look.tasks if not self._is_done(task)]
        try:
            look.pixels = images.read(look.image.path, max_pixels=self.max_pixels)
        except ImageError as error:
            console.problem(about(look.image.name, error), hint=error.hint)
            for task in fresh:
                self._fail(task, error)
                yield
            return
        place = batch.image(look.pixels)
        for task in fresh:
            self._warn_of_doubt(task)
            try:
                look.asked[task.question.ask(place, max_pixels=self.max_pixels)] = task
            except PromptsegError as error:
                self._keep(task, error)
                yield

    def _keep(self, task: Task, outcome: Masks | PromptsegError) -> None:
        """Log what a query came to, and say what a user should know of it."""
        if not isinstance(outcome, PromptsegError):
            try:
                masks = _labelled(outcome, task.question.label)
                self.log.add(task.name, task.question.verb, task.key, masks)
            except MaskError as error:
                outcome = error
        if isinstance(outcome, PromptsegError):
            image, name = task.name
            console.problem(f"{image}, query `{name}`: {outcome}", hint=outcome.hint)
            self._fail(task, outcome)
            return
        self.answered += 1
        if not outcome.complete:
            logger.warning("%s, query `%s`: there may be more", *task.name)

    def _fail(self, task: Task, error: PromptsegError) -> None:
        self.log.add(task.name, task.question.verb, task.key, error)
        self.failed += 1

    def _warn_of_doubt(self, task: Task) -> None:
        concept = task.question.concept
        if concept is not None and concept.says_only_what_not:
            logger.warning(
                "%s, query `%s`: only `exclude` is given, what is meant is left to the model, "
                "which rarely knows",
                *task.name,
            )

    def _write(self, tasks: Sequence[Task], pixels: ImageArray | None) -> None:
        """Write the files of an image with the masks of all its queries that have some."""
        if not self.places.formats:
            return
        image = tasks[0].image
        parts = [self.log.masks(task.name, task.key) for task in tasks]
        known = [part for part in parts if part is not None]
        if not known:
            return
        try:
            if pixels is None and any(kind in PICTURES for kind in self.places.formats):
                pixels = images.read(image.path, max_pixels=self.max_pixels)
            files = self.places.write(pixels, image.path, _joined(known), name=image.name)
        except PromptsegError as error:
            if has_no_room(error):
                raise
            console.problem(about(image.name, error), hint=error.hint)
            self.unwritten += 1
            return
        for file in files:
            if not self.places.is_of_run(file):
                console.show(str(file))


def require_some_answerable(model: promptseg.Model, asked: Sequence[AskedImage]) -> None:
    """Refuse queries none of which a model can answer, once and not one by one.

    Raises:
        PromptError: all ask for what the model does not do.
        WeightsError: all ask for what can be found, and the weights came without the files that
            take phrases apart.
    """
    verbs = {question.verb for image in asked for question in image.questions}
    if "find" in verbs:
        try:
            model.finder.reader([VISUAL])
        except PromptsegError:
            if verbs == {"find"}:
                raise
        else:
            return
    model.segment(np.zeros((1, 1, 3), np.uint8), [])


def _tasks(image: AskedImage, spec: NetworkSpec) -> list[Task]:
    """Name each question by what it is about; what cannot be read has no key, and no answer."""
    # What a network trusts decides where options say nothing.
    model = f"{spec.digest} {spec.trust}"
    tasks = []
    try:
        content = fingerprint(image.path)
    except ImageError:
        return [Task(image, question, "") for question in image.questions]
    for question in image.questions:
        try:
            tasks.append(Task(image, question, question.key(content, model)))
        except ImageError:
            tasks.append(Task(image, question, ""))
    return tasks


def _labelled(masks: Masks, label: str) -> Masks:
    return replace(masks, labels=np.full(len(masks), label)) if label else masks


def _joined(parts: Sequence[Masks]) -> Masks:
    """Put the masks of an image's queries together; those without a label have an empty one."""
    if any(part.labels is not None for part in parts):
        parts = [
            replace(part, labels=np.full(len(part), "")) if part.labels is None else part
            for part in parts
        ]
    return Masks.concatenate(parts)
