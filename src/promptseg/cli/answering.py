"""The work of `promptseg run`: queries without an answer get one, and files are written of all."""

from __future__ import annotations

import logging
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from promptseg.batch import Batch
from promptseg.cli import console
from promptseg.cli.each_image import about
from promptseg.cli.job import Follower, Job, Look, Task
from promptseg.errors import ImageError, PromptsegError
from promptseg.formats.names import Format
from promptseg.io import images
from promptseg.jobs.pipeline import Pace, decoded_bytes, run
from promptseg.queries import AskedImage
from promptseg.results import Masks

logger = logging.getLogger(__name__)

CHANGED_HINT = "Run it again once nothing writes to that file"


def answer(job: Job, asked: Sequence[AskedImage]) -> None:
    """Answer all queries; images that are done come first, for their files.

    Raises:
        OutputError: there is no room left to write to, or the log cannot be written.
    """
    pace = Pace.of(job.model)
    if Format.SHEET in job.places.formats:
        # Images are put on it in the order in which they are written.
        pace = replace(pace, askers=1, writers=1)
    known = [image for image in asked if job.knows_all(image)]
    done = set()
    for image, files in zip(known, run(_Known(job), known, pace), strict=True):
        if files is not None:
            done.add(image.path)
            job.show(files)
    waiting = (image for image in asked if image.path not in done)
    for files in run(_Fresh(job), waiting, pace):
        job.show(files)


@dataclass(frozen=True)
class _Known:
    """The stages of images whose queries all have answers; those that do not hold give None."""

    job: Job

    def weigh(self, image: AskedImage) -> int:
        return 0

    def read(self, image: AskedImage) -> Look:
        return Look(image, self.job.tasks(image))

    def is_open(self, look: Look) -> bool:
        return False

    def ask(self, group: Sequence[Look]) -> Generator[Look, None, None]:
        yield from group

    def write(self, look: Look) -> list[Path] | None:
        if not all(map(self.job.is_done, look.tasks)):
            return None
        self.job.passed(look.tasks)
        return self.job.write(look.tasks, None)


@dataclass(frozen=True)
class _Fresh:
    """The stages of images of which something is to be asked."""

    job: Job

    def weigh(self, image: AskedImage) -> int:
        return decoded_bytes(image.path)

    def read(self, image: AskedImage) -> Look:
        """Read an image, unless all that is asked is known of one with the same content."""
        look = Look(image, self.job.tasks(image))
        self.job.passed([task for task in look.tasks if self.job.is_done(task)])
        look.open = {each.question.id: each for each in look.tasks if not self.job.is_done(each)}
        self.job.say_if_another(look.open.values())
        for task in list(look.open.values()):
            self._copy(look, task)
        if not look.open:
            return look
        try:
            look.pixels = images.read(image.path, max_pixels=self.job.max_pixels)
            self._require_unchanged(look)
        except ImageError as error:
            console.problem(about(image.name, error), hint=error.hint)
            for task in look.open.values():
                self.job.fail(task, error)
            look.pixels, look.open = None, {}
        return look

    def is_open(self, look: Look) -> bool:
        return bool(look.open)

    def ask(self, group: Sequence[Look]) -> Generator[Look, None, None]:
        """Ask about images together; equal questions about equal images are one."""
        batch = Batch()
        asked: dict[str, Follower] = {}
        for look in group:
            for task in list(look.open.values()):
                if self._copy(look, task):
                    if not look.open:
                        yield look
                elif self.job.claim(look, task):
                    try:
                        asked[self._put(look, task, batch)] = Follower(look, task)
                    except PromptsegError as error:
                        yield from self._keep(look, task, error)
        for answer in self.job.model.stream(batch):
            if answer.id in asked:  # else it changed while it was read
                yield from self._keep(*asked[answer.id], answer.outcome)

    def write(self, look: Look) -> list[Path]:
        return self.job.write(look.tasks, look.pixels)

    def _put(self, look: Look, task: Task, batch: Batch) -> str:
        """Put a query into a batch, and return the id that it has there."""
        assert look.pixels is not None
        _warn_of_doubt(task)
        asked = task.question.ask(batch.image(look.pixels), max_pixels=self.job.max_pixels)
        if task.question.mask is not None:
            self._require_unchanged(look)
        return asked

    def _keep(
        self, look: Look, task: Task, outcome: Masks | PromptsegError
    ) -> Generator[Look, None, None]:
        """Keep an outcome for all that wait for it, and hand out the images that are complete."""
        self.job.keep(task, outcome)
        if self.job.settled(look, task):
            yield look
        for follower in self.job.followers(task):
            self.job.keep(follower.task, outcome, alike=True)
            if self.job.settled(*follower):
                yield follower.look

    def _copy(self, look: Look, task: Task) -> bool:
        """Take the answer of a query that was the same, of an image that was; tell if there is."""
        masks = self.job.log.like(task.key) if task.key else None
        if masks is None:
            return False
        self.job.keep(task, masks, alike=True)
        self.job.settled(look, task)
        return True

    def _require_unchanged(self, look: Look) -> None:
        """Refuse an image that is another now than the one its tasks are named after."""
        if [task.key for task in self.job.tasks(look.image)] != [task.key for task in look.tasks]:
            raise ImageError(f"`{look.image.path}` changed while it was read", hint=CHANGED_HINT)


def _warn_of_doubt(task: Task) -> None:
    concept = task.question.concept
    if concept is not None and concept.says_only_what_not:
        logger.warning(
            "%s, query `%s`: only `exclude` is given, what is meant is left to the model, "
            "which rarely knows",
            *task.name,
        )
