"""What is remembered of one object: which frames a frame reads, and which can be forgotten.

The rules are SAM 2's (Ravi 2024, section 4; `SAM2Base._prepare_memory_conditioned_features`). A
frame reads

- the memories of prompted frames, wherever they are, or of the `most_prompted` nearest;
- those of the `slots - 1` frames before it, each with its age. Tracking backward these are the
  frames after it, whichever way they were tracked themselves;
- the pointers of prompted frames that do not lie ahead, and of the `pointers - 1` frames before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor

from promptseg.nn.outputs import Past
from promptseg.nn.protocol import Reach
from promptseg.options import TrackOptions


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """One object in one frame.

    It was prompted there, or tracked, `backward` if time ran so. `score` is the predicted IoU and
    `presence` a logit. Once nothing reads them any more `grid` and `logits` are None.
    """

    frame: int
    prompted: bool
    backward: bool
    score: float
    presence: float
    pointer: Float[Tensor, " c"]
    grid: Float[Tensor, "d h w"] | None
    logits: Float[Tensor, "H W"] | None

    def to(self, device: torch.device) -> Seen:
        """Return the same with all tensors on another device."""
        return replace(
            self,
            pointer=self.pointer.to(device),
            grid=None if self.grid is None else self.grid.to(device),
            logits=None if self.logits is None else self.logits.to(device),
        )

    @property
    def bytes(self) -> int:
        """How much memory the tensors take."""
        tensors = (self.pointer, self.grid, self.logits)
        return sum(each.numel() * each.element_size() for each in tensors if each is not None)


@dataclass(frozen=True, eq=False)
class Bank:
    """What is remembered of one object, by frame. A value: `remember` returns a new bank."""

    seen: Mapping[int, Seen] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.seen)

    def at(self, frame: int) -> Seen | None:
        """Return what was seen in a frame, None where that is not known."""
        return self.seen.get(frame)

    @property
    def prompted(self) -> tuple[int, ...]:
        """The prompted frames, in the order of time."""
        return tuple(sorted(frame for frame, each in self.seen.items() if each.prompted))

    def remember(self, seen: Seen) -> Bank:
        """Remember one frame more, in the place of what was known of it."""
        return Bank({**self.seen, seen.frame: seen})

    def past(
        self, now: int, *, backward: bool, reach: Reach, length: int | None, options: TrackOptions
    ) -> Past:
        """Return what the frame `now` reads; there must be a prompted frame.

        `length` is the number of frames of the video, None where it has no end. Of a video shorter
        than `reach.pointers` distances of pointers are shares of its own length.
        """
        step = 1 if backward else -1
        read = nearest(self.prompted, now, options.most_prompted)
        aged = [(0, self.seen[frame]) for frame in read]
        aged += [
            (age, seen)
            for age in range(reach.slots - 1, 0, -1)
            if (seen := self._tracked(now + step * age, read)) is not None
        ]
        grids = [(age, seen.grid) for age, seen in aged if seen.grid is not None]

        pointers = reach.pointers if length is None else min(length, reach.pointers)
        apart = [((frame - now) * step, self.seen[frame]) for frame in read]
        apart = [(distance, seen) for distance, seen in apart if distance >= 0]
        apart += [
            (distance, seen)
            for distance in range(1, pointers)
            if (seen := self._tracked(now + step * distance, read)) is not None
        ]
        distances = torch.tensor([float(distance) for distance, _ in apart])
        first = aged[0][1].pointer
        return Past(
            grids=torch.stack([grid for _, grid in grids]),
            ages=torch.tensor([age for age, _ in grids], device=first.device),
            pointers=torch.stack([seen.pointer for _, seen in apart])
            if apart
            else first.new_zeros(0, len(first)),
            distances=(distances / max(1, pointers - 1)).to(first.device),
        )

    def forget(self, now: int, *, backward: bool, reach: Reach, options: TrackOptions) -> Bank:
        """Let go of what can no longer be read, now that the frame `now` has been looked at.

        Read again is what lies near `now`, to go on either way or to correct it, and near a
        prompted frame, where tracking the other way begins. Of the prompted frames that lie behind,
        the `most_prompted` nearest can be read again.
        """
        kept = set(self.prompted)
        if options.most_prompted is not None:
            behind = [frame for frame in kept if (frame >= now if backward else frame <= now)]
            behind.sort(key=lambda frame: abs(frame - now))
            far = {frame for frame in behind if abs(frame - now) >= reach.pointers}
            kept -= far.intersection(behind[options.most_prompted :])
        left = {}
        for frame, seen in self.seen.items():
            apart = min(abs(frame - other) for other in (now, *kept))
            if frame in kept:
                left[frame] = seen
            elif apart < reach.pointers:
                left[frame] = replace(
                    seen,
                    prompted=False,
                    grid=seen.grid if apart < reach.slots else None,
                    logits=seen.logits if abs(frame - now) < reach.pointers else None,
                )
        return Bank(left)

    def _tracked(self, frame: int, read: Iterable[int]) -> Seen | None:
        """Return a frame that is not among the prompted ones that are read as such."""
        return None if frame in read else self.seen.get(frame)


def nearest(frames: tuple[int, ...], now: int, most: int | None) -> tuple[int, ...]:
    """Choose `most` of some frames: the last before `now`, the first from it on, then the nearest.

    As in SAM 2, `select_closest_cond_frames`.
    """
    if most is None or len(frames) <= most:
        return frames
    before = [frame for frame in frames if frame < now][-1:]
    after = [frame for frame in frames if frame >= now][:1]
    others = [frame for frame in frames if frame not in before + after]
    others.sort(key=lambda frame: abs(frame - now))
    return tuple(sorted([*before, *after, *others][:most]))
