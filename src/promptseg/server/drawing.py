"""An image and the objects drawn on it, step by step: a value, and how much memory it takes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from promptseg.engine.session import Step, Steps
from promptseg.errors import PromptError, SessionError
from promptseg.geometry import Size
from promptseg.masks import RunLength
from promptseg.options import SegmentOptions
from promptseg.prompts import Prompt
from promptseg.results import Masks
from promptseg.server.pictures import Picture
from promptseg.server.schemas import Format

# What undo can take back of one object: so many steps, and so many bytes that they keep.
MOST_STEPS = 100
STEP_BYTES = 16 * 2**20
# What the objects that are done may take; those of photos take some kilobytes each.
OBJECT_BYTES = 16 * 2**20
# A mask keeps its runs, and once it was asked for them their places and their sums.
RUN_COPIES = 3


class Accepted(NamedTuple):
    """An object that is done: its one mask, and what it is said to be."""

    masks: Masks
    label: str | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class State:
    """One image, the objects that are done, and the steps of the one being drawn: a value.

    `format` is that in which its masks go out.
    """

    picture: Picture
    options: SegmentOptions = field(default_factory=SegmentOptions)
    format: Format = "rle"
    steps: Steps = field(default_factory=Steps)
    objects: tuple[Accepted, ...] = ()

    @property
    def size(self) -> Size:
        """The size of its image, and of its masks."""
        return Size(*self.picture.pixels.shape[:2])

    @cached_property
    def bytes(self) -> int:
        """How much memory its steps and objects take, beside its image."""
        kept = {place: size for step in self.steps.taken for place, size in _kept(step).items()}
        return sum(kept.values()) + _object_bytes(self.objects)

    @property
    def masks(self) -> Masks:
        """The object as drawn so far; none before the first step."""
        return Masks.empty(self.size) if self.steps.masks is None else self.steps.masks

    @property
    def accepted(self) -> Masks:
        """The objects that are done, numbered in their order, with their labels."""
        if not self.objects:
            return Masks.empty(self.size)
        return replace(
            Masks.concatenate([each.masks for each in self.objects]),
            objects=np.arange(len(self.objects)),
            labels=np.array([each.label or "" for each in self.objects]),
        )

    def require_room(self, new: Prompt, *, max_points: int) -> None:
        """Refuse what would be more points of one object than are allowed.

        Raises:
            PromptError: it would.
        """
        points = self.steps.said(new).points
        if points is not None and len(points) > max_points:
            raise PromptError(
                f"an object has at most {max_points} points, and this makes {len(points)}",
                hint="Accept the object, or take steps back",
            )

    def answered(self, new: Prompt, answer: Masks) -> State:
        """Return the state after one more step, whose answer came with its logits."""
        steps = self.steps.with_answer(new, answer, self.options)
        return replace(self, steps=_latest(steps, STEP_BYTES))

    def within(self, most: int) -> State:
        """Return the state with as many of its last steps as fit into `most` bytes, and one."""
        return replace(self, steps=_latest(self.steps, most - _object_bytes(self.objects)))

    def undone(self) -> State:
        """Return the state without the last step; without steps it stays as it is."""
        return replace(self, steps=self.steps.undone())

    def accept(self, *, label: str | None = None, mask: int = 0, max_objects: int) -> State:
        """Return the state in which one of the masks is an object that is done.

        Raises:
            PromptError: there is no such mask, or the objects are too many or too large.
        """
        masks = self.masks
        if not 0 <= mask < len(masks):
            raise PromptError(
                f"there is no mask {mask} to accept, but {len(masks)} of them, counted from 0"
                if len(masks)
                else "there is no mask to accept",
                hint="Say with points, a box or a hint what the object is",
            )
        if len(self.objects) >= max_objects:
            raise PromptError(
                f"a session has at most {max_objects} objects", hint="Open another for more"
            )
        done = Accepted(replace(masks[[mask]], logits=None), label)
        objects = (*self.objects, done)
        if _object_bytes(objects) > OBJECT_BYTES:
            raise PromptError(
                "the objects of this session have too intricate outlines to be kept together",
                hint="Open another for more, or draw smoother ones (`tidy`)",
            )
        return replace(self, steps=Steps(), objects=objects)

    def without(self, number: int) -> State:
        """Return the state without an object that was done; later ones move up.

        Raises:
            SessionError: there is no such object.
        """
        if not 0 <= number < len(self.objects):
            raise SessionError(
                "there is no such object in the session",
                hint="Objects are counted from 0, in the order in which they were accepted",
            )
        return replace(self, objects=self.objects[:number] + self.objects[number + 1 :])


def _latest(steps: Steps, most: int) -> Steps:
    """Forget the earliest steps where they are too many, or keep more bytes; the last one stays."""
    kept: dict[int, int] = {}
    first = len(steps)
    for step in reversed(steps.taken[-MOST_STEPS:]):
        kept |= _kept(step)
        if first < len(steps) and sum(kept.values()) > most:
            break
        first -= 1
    return Steps(steps.taken[first:])


def _kept(step: Step) -> dict[int, int]:
    """Return the bytes of what a step keeps, each by its identity, for steps share some of it."""
    points, hint = step.prompt.points, step.prompt.hint
    arrays = [step.logits]
    if points is not None:
        arrays += [points.coordinates, points.labels]
    if hint is not None:
        arrays.append(hint.mask)
    runs = {id(run): run_bytes(run) for run in step.masks.runs}
    return runs | {id(array): array.nbytes for array in arrays}


def _object_bytes(objects: Iterable[Accepted]) -> int:
    return sum(run_bytes(run) for each in objects for run in each.masks.runs)


def run_bytes(run: RunLength) -> int:
    """How much memory a mask takes."""
    return RUN_COPIES * run.counts.nbytes
