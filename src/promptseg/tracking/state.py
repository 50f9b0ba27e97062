"""All that is known of a video while its objects are tracked, as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import torch

from promptseg.errors import PromptError
from promptseg.geometry import Size
from promptseg.prompts import Prompt
from promptseg.tracking.bank import Bank

Name: TypeAlias = int | str


@dataclass(frozen=True, kw_only=True, eq=False)
class Tracked:
    """One object: what was said of it, by frame, and what is remembered."""

    name: Name
    prompts: Mapping[int, Prompt] = field(default_factory=dict)
    bank: Bank = field(default_factory=Bank)

    def withdraw(self, frame: int) -> Tracked:
        """Take back what was said in a frame; what was seen there stays, as if it were tracked."""
        seen = self.bank.at(frame)
        bank = self.bank if seen is None else self.bank.remember(replace(seen, prompted=False))
        prompts = {other: prompt for other, prompt in self.prompts.items() if other != frame}
        return replace(self, prompts=prompts, bank=bank)


@dataclass(frozen=True, kw_only=True, eq=False)
class TrackState:
    """What is known of a video of frames of one `size`: its objects, in the order they came.

    `length` is the number of its frames, None where that is not known, as of a camera. `digest`
    names the weights whose memories these are. Every change returns a new state, so one can be
    kept, forked and thrown away.
    """

    size: Size
    digest: str
    length: int | None = None
    objects: tuple[Tracked, ...] = ()

    @property
    def names(self) -> tuple[Name, ...]:
        """The names of all objects."""
        return tuple(each.name for each in self.objects)

    @property
    def bytes(self) -> int:
        """How much memory the memories take."""
        return sum(seen.bytes for each in self.objects for seen in each.bank.seen.values())

    def object(self, name: Name) -> Tracked:
        """Return one object.

        Raises:
            PromptError: there is no such object.
        """
        for each in self.objects:
            if each.name == name:
                return each
        names = ", ".join(f"`{name}`" for name in self.names) or "none"
        raise PromptError(f"there is no object `{name}`; there are: {names}")

    def with_object(self, changed: Tracked) -> TrackState:
        """Put an object in the place of the one of its name, or after all others."""
        if changed.name not in self.names:
            return replace(self, objects=(*self.objects, changed))
        objects = [changed if each.name == changed.name else each for each in self.objects]
        return replace(self, objects=tuple(objects))

    def remove(self, name: Name) -> TrackState:
        """Forget an object; the others go on as if it had never been there.

        Raises:
            PromptError: there is no such object.
        """
        gone = self.object(name)
        return replace(self, objects=tuple(each for each in self.objects if each is not gone))

    def withdraw(self, name: Name, frame: int) -> TrackState:
        """Take back what was said of an object in a frame.

        What was seen there stays remembered as if it had been tracked, as in SAM 2's
        `clear_all_prompts_in_frame`, and is corrected by what is said there next. An object that is
        prompted nowhere cannot be tracked on, and begins anew where it is prompted next.

        Raises:
            PromptError: there is no such object, or nothing was said of it in that frame.
        """
        tracked = self.object(name)
        if frame not in tracked.prompts:
            said = ", ".join(str(other) for other in sorted(tracked.prompts)) or "no frame"
            raise PromptError(
                f"nothing was said of object `{name}` in frame {frame}, only in: {said}"
            )
        return self.with_object(tracked.withdraw(frame))

    def reset(self) -> TrackState:
        """Forget all objects; the video stays the same."""
        return replace(self, objects=())

    def to(self, device: torch.device) -> TrackState:
        """Return the same state with all memories on another device."""

        def moved(bank: Bank) -> Bank:
            return Bank({frame: seen.to(device) for frame, seen in bank.seen.items()})

        objects = tuple(replace(each, bank=moved(each.bank)) for each in self.objects)
        return replace(self, objects=objects)
