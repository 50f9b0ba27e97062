"""What `promptseg run` knows of its queries: what is done, what is being asked, what it came to."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

import promptseg
from promptseg.cli import console
from promptseg.cli.each_image import about, has_no_room
from promptseg.cli.outputs import Outputs
from promptseg.errors import ImageError, MaskError, PromptsegError
from promptseg.formats.answers import joined
from promptseg.formats.names import PICTURES
from promptseg.formats.outcomes import Name, OutcomeLog
from promptseg.io import images
from promptseg.io.files import fingerprint
from promptseg.jobs.answering import identity_of
from promptseg.nn.protocol import VISUAL
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


@dataclass(eq=False)
class Look:
    """An image under way: its tasks, its pixels once read, and by id what has no outcome yet."""

    image: AskedImage
    tasks: list[Task]
    pixels: ImageArray | None = None
    open: dict[str, Task] = field(default_factory=dict)


class Follower(NamedTuple):
    """A task that waits for the answer to another of the same key."""

    look: Look
    task: Task


@dataclass
class Job:
    """Answers what is not answered yet, and writes the files of each image from what the log has.

    `advance` is called for each query that has its outcome. `unwritten` counts the images whose
    files could not be written, and the files of the run; `alike` the queries that were answered as
    others of the same content had been.
    """

    model: promptseg.Model
    places: Outputs
    log: OutcomeLog
    max_pixels: int
    advance: Callable[[], None] = lambda: None
    before: int = 0
    answered: int = 0
    alike: int = 0
    failed: int = 0
    unwritten: int = 0

    def __post_init__(self) -> None:
        # Guards the numbers, and what is open of each look.
        self._lock = threading.RLock()
        self._asking: dict[str, list[Follower]] = {}
        self._is_another_said = False

    @property
    def done(self) -> int:
        """How many queries have masks, new or old."""
        return self.before + self.answered

    @property
    def said(self) -> str:
        """How it went, in a line."""
        alike = f" ({self.alike} of them alike)" if self.alike else ""
        parts = [f"{self.answered} answered{alike}"]
        parts += [f"{self.before} done before"] if self.before else []
        parts += [f"{self.failed} failed"] if self.failed else []
        return f"queries: {', '.join(parts)}"

    def finish(self) -> None:
        """Write what is written once for the whole run, and put the log in order.

        Raises:
            OutputError: a file cannot be written.
        """
        for file in self.places.documents():
            console.show(str(file))
        self.log.tidy()
        console.show(str(self.log.path))

    def knows_all(self, image: AskedImage) -> bool:
        """Whether the log has masks of queries with these names, whatever they asked."""
        return all(self.log.knows(Name(image.name, each.id)) for each in image.questions)

    def show(self, files: Sequence[Path]) -> None:
        """Print the files of an image."""
        for file in files:
            if not self.places.is_of_run(file):
                console.show(str(file))

    def tasks(self, image: AskedImage) -> list[Task]:
        """Name each question by what it is about; of what cannot be read there is no key."""
        model = identity_of(self.model)
        try:
            content = fingerprint(image.path)
        except ImageError:
            return [Task(image, question, "") for question in image.questions]
        return [Task(image, each, _key(each, content, model)) for each in image.questions]

    def is_done(self, task: Task) -> bool:
        """Whether the log has masks of this very query."""
        return self.log.knows(task.name, task.key)

    def passed(self, tasks: Sequence[Task]) -> None:
        """Go past tasks that are done."""
        for task in tasks:
            self.log.forgive(task.name)
            self._count("before")

    def keep(self, task: Task, outcome: Masks | PromptsegError, *, alike: bool = False) -> None:
        """Log what a query came to, and say what a user should know of it."""
        if not isinstance(outcome, PromptsegError):
            try:
                masks = task.question.labelled(outcome)
                self.log.add(task.name, task.question.verb, task.key, masks)
            except MaskError as error:
                outcome = error
        if isinstance(outcome, PromptsegError):
            image, name = task.name
            console.problem(f"{image}, query `{name}`: {outcome}", hint=outcome.hint)
            self.fail(task, outcome)
            return
        if not outcome.complete:
            logger.warning("%s, query `%s`: there may be more", *task.name)
        self._count("answered", *["alike"] * alike)

    def fail(self, task: Task, error: PromptsegError) -> None:
        """Log why a query has no masks."""
        self.log.add(task.name, task.question.verb, task.key, error)
        self._count("failed")

    def write(self, tasks: Sequence[Task], pixels: ImageArray | None) -> list[Path]:
        """Write the files of an image with the masks of all its queries that have some."""
        if not self.places.formats:
            return []
        image = tasks[0].image
        parts = [self.log.masks(task.name, task.key) for task in tasks]
        known = [part for part in parts if part is not None]
        if not known:
            return []
        try:
            if pixels is None and any(kind in PICTURES for kind in self.places.formats):
                pixels = images.read(image.path, max_pixels=self.max_pixels)
            return self.places.write(pixels, image.path, joined(known), name=image.name)
        except PromptsegError as error:
            if has_no_room(error):
                raise
            console.problem(about(image.name, error), hint=error.hint)
            with self._lock:
                self.unwritten += 1
            return []

    def say_if_another(self, tasks: Iterable[Task]) -> None:
        """Say once that answers are there to what is asked otherwise now."""
        known = any(task.key and self.log.knows(task.name) for task in tasks)
        if self._is_another_said or not known:
            return
        with self._lock:
            if not self._is_another_said:
                self._is_another_said = True
                logger.warning(
                    "`%s` has answers of another model, with other options or about other images: "
                    "what is asked now is answered again, and replaces them",
                    self.log.path,
                )

    def settled(self, look: Look, task: Task) -> bool:
        """Take a task off those that are open, and tell whether it was the last."""
        with self._lock:
            del look.open[task.question.id]
            return not look.open

    def claim(self, look: Look, task: Task) -> bool:
        """Whether a task is to be asked; if not, another of its key is being asked for both."""
        with self._lock:
            if task.key in self._asking:
                self._asking[task.key].append(Follower(look, task))
                return False
            if task.key:
                self._asking[task.key] = []
            return True

    def followers(self, task: Task) -> list[Follower]:
        """Return the tasks that have waited for this one, which is asked no longer."""
        with self._lock:
            return self._asking.pop(task.key, [])

    def _count(self, *names: str) -> None:
        """Count a query under each of these names, and go on by one."""
        with self._lock:
            for name in names:
                setattr(self, name, getattr(self, name) + 1)
        self.advance()


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


def _key(question: Question, content: str, model: str) -> str:
    try:
        return question.key(content, model)
    except ImageError:
        return ""
