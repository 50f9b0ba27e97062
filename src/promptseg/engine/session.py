"""One object, refined step by step on an image that is encoded once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import TracebackType
from typing import NamedTuple

import numpy as np

from promptseg.engine.encoder import EncodedImage
from promptseg.engine.segmenter import Segmenter
from promptseg.errors import SessionError
from promptseg.options import SegmentOptions, TidyOptions
from promptseg.prompts import MaskHint, Points, Prompt, as_prompt
from promptseg.requests import OnePrompt
from promptseg.results import Masks
from promptseg.shapes import ImageArray, LogitArray
from promptseg.tidying import tidy


class Step(NamedTuple):
    """All that was said until then, the answer, and the best mask's logits for the next step."""

    prompt: Prompt
    masks: Masks
    logits: LogitArray


@dataclass(frozen=True, eq=False)
class Steps:
    """What was said about one object, step by step, and what came of it: a value.

    Points accumulate, a later box or hint replaces the earlier one, and each step starts from the
    mask before it.
    """

    taken: tuple[Step, ...] = ()

    def __len__(self) -> int:
        return len(self.taken)

    @property
    def prompt(self) -> Prompt | None:
        """All that was said so far."""
        return self.taken[-1].prompt if self.taken else None

    @property
    def masks(self) -> Masks | None:
        """The answer to all that was said so far."""
        return self.taken[-1].masks if self.taken else None

    def said(self, new: Prompt) -> Prompt:
        """Return all that is said once `new` is."""
        return _joined(self.prompt, new)

    def asked(self, new: Prompt) -> Prompt:
        """Return what a network is asked for `new`: all that is said, and the mask before it."""
        said = self.said(new)
        if new.hint is None and self.taken:
            return replace(said, hint=MaskHint(self.taken[-1].logits))
        return said

    def with_answer(self, new: Prompt, answer: Masks, options: SegmentOptions) -> Steps:
        """Return the steps after `new` too; `answer` is to `asked(new)`, by `asking(options)`."""
        assert answer.logits is not None
        masks = answer if options.logits else replace(answer, logits=None)
        # A copy, for a part would keep the logits of all candidates.
        step = Step(self.said(new), tidy(masks, options.tidy), answer.logits[0].copy())
        return Steps((*self.taken, step))

    def undone(self) -> Steps:
        """Return the steps without the last one; of none there are none."""
        return Steps(self.taken[:-1])


def asking(options: SegmentOptions) -> SegmentOptions:
    """Return the options by which a step is asked, so that the next one can start from it.

    Masks are tidied after the best one's logits have been taken.
    """
    return replace(options, logits=True, tidy=TidyOptions())


class Session:
    """Collects points, a box and hints for one object; each step starts from the mask before it.

    Points accumulate, a later box or hint replaces the earlier one. Use it in a `with` block, which
    lets go of the image at its end; the answers remain.
    """

    def __init__(
        self, segmenter: Segmenter, image: ImageArray, *, options: SegmentOptions | None = None
    ) -> None:
        self.options = SegmentOptions() if options is None else options
        self._segmenter = segmenter
        self._image: EncodedImage | None = segmenter.encoder.encode([image])[0]
        self._steps = Steps()

    @property
    def prompt(self) -> Prompt | None:
        """All that was said about the object so far."""
        return self._steps.prompt

    @property
    def masks(self) -> Masks | None:
        """The answer to all that was said so far."""
        return self._steps.masks

    def add(self, prompt: OnePrompt) -> Masks:
        """Say more about the object and return the new answer.

        Raises:
            PromptError: it is no prompt, or does not fit the image; the session is as before.
            SessionError: the session is closed.
        """
        if self._image is None:
            raise SessionError(
                "the session is closed", hint="Call `add` inside the `with` block, or open another"
            )
        new = as_prompt(prompt)
        new.check(self._image.size)
        self._segmenter.check([new])
        answer = self._segmenter.answer(self._image, [self._steps.asked(new)], asking(self.options))
        self._steps = self._steps.with_answer(new, answer, self.options)
        return self._steps.taken[-1].masks

    def undo(self) -> Masks | None:
        """Take the last step back and return the answer before it, None when nothing is left."""
        self._steps = self._steps.undone()
        return self.masks

    def close(self) -> None:
        """Let go of the image."""
        self._image = None

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _joined(before: Prompt | None, new: Prompt) -> Prompt:
    if before is None:
        return new
    parts = [part for part in (before.points, new.points) if part is not None]
    points = (
        Points(
            np.concatenate([part.coordinates for part in parts]),
            np.concatenate([part.labels for part in parts]),
        )
        if parts
        else None
    )
    return Prompt(points=points, box=new.box or before.box, hint=new.hint or before.hint)
