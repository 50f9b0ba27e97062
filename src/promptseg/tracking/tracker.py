"""The `track` verb, one frame at a time: a state and a frame in, a state and masks out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeVar

import numpy as np
import torch

from promptseg.engine import preprocess
from promptseg.engine.batches import Limits
from promptseg.engine.portions import Portions
from promptseg.engine.postprocess import LOGIT_LIMIT
from promptseg.engine.runtime import Runtime
from promptseg.engine.upsample import to_runs
from promptseg.errors import PromptError, VideoError, WeightsError
from promptseg.geometry import Placement, Size
from promptseg.nn.outputs import ImageFeatures
from promptseg.nn.protocol import Encoding, Trackable
from promptseg.options import TrackOptions
from promptseg.prompts import MaskHint, Prompt
from promptseg.results import FrameMasks, Masks
from promptseg.shapes import ImageArray
from promptseg.tracking.answers import Answers, followed, given, prompted
from promptseg.tracking.bank import Bank, Seen
from promptseg.tracking.frames import WatchedFrame, frame_pixels
from promptseg.tracking.state import Name, Tracked, TrackState

# Objects that a CPU answers together: the image's first look at itself is then made once for all,
# and what lies between takes about 70 MB for each (SAM 2.1 in float32).
TOGETHER = 8

Item = TypeVar("Item")


class Step(NamedTuple):
    """What is known after a frame, and what is seen in it."""

    state: TrackState
    masks: FrameMasks


class Said(NamedTuple):
    """What is said of one object in this frame."""

    tracked: Tracked
    prompt: Prompt


class Tracker:
    """Follows objects with one network; it keeps nothing of any video itself.

    The network must sit on the runtime's device already (`Runtime.place`). Small holes are not
    filled: SAM 2 fills them on CUDA alone.
    """

    def __init__(
        self, network: Trackable, runtime: Runtime, options: TrackOptions | None = None
    ) -> None:
        self.network = network
        self.runtime = runtime
        self.options = options or TrackOptions()
        most = TOGETHER
        if runtime.device.type != "cpu":
            most = Limits.of(runtime, network.spec).objects
        self._portions = Portions(most, what="tracking objects", release=runtime.trim)

    def start(self, size: Size, *, length: int | None = None) -> TrackState:
        """Return the state of a video that nothing is known of yet.

        `length` is the number of its frames, None where that is not known: SAM 2 tells objects in
        videos of fewer than 16 frames how many there are.
        """
        return TrackState(size=Size(*size), digest=self.network.spec.digest, length=length)

    @torch.inference_mode()
    def watch(self, frame: ImageArray) -> WatchedFrame:
        """Look at a frame once, for any number of steps."""
        with self.runtime.own_numbers():
            pixels = frame_pixels(frame, self.network.spec, self.runtime).to(self.runtime.dtype)
            return WatchedFrame(Size(*frame.shape[:2]), self.network.watch(pixels))

    def step(
        self,
        state: TrackState,
        index: int,
        frame: WatchedFrame,
        prompts: Mapping[Name, Prompt] | None = None,
        *,
        backward: bool = False,
    ) -> Step:
        """Look for all objects in the frame `index`, those of `prompts` as they say.

        An object that has not been seen in this frame begins anew there, without a word about other
        frames; one that was tracked here already is corrected: it is told of its memories, and of
        its mask here. A prompt of a bool mask alone is itself the answer. Frames in which an object
        was prompted before give the same mask again; all others are looked at anew.

        Raises:
            PromptError: a prompt does not fit the frame, there is no such frame, or an object has
                lost its last prompted frame.
            VideoError: the frame is of another size than the video.
            WeightsError: the state has memories of another network.
            OutOfMemoryError: there is not enough memory for one object alone.
        """
        answered, found = self._prompted(state, index, frame, prompts or {})
        lost = [each for each in state.objects if each.name not in found and not each.bank.prompted]
        if lost:
            raise PromptError(
                f"object `{lost[0].name}` is prompted in no frame, so it cannot be tracked",
                hint="Prompt it again, or remove it",
            )
        asleep = [
            each
            for each in state.objects
            if each.name not in found and not is_prompted(each.bank, index)
        ]

        def follow(portion: Sequence[Tracked]) -> list[Seen]:
            answers = followed(
                self.network,
                self._recalled(state, index, frame.features, portion, [backward] * len(portion)),
                len(portion),
            )
            flags = [False] * len(portion), [backward] * len(portion)
            return self._remembered(index, frame, answers, *flags)

        for tracked, seen in zip(asleep, self._run(asleep, follow), strict=True):
            answered = answered.with_object(replace(tracked, bank=tracked.bank.remember(seen)))
        masks = self._masks(answered, index, answered.names)
        return Step(self._forgotten(answered, index, backward), masks)

    def prompt(
        self, state: TrackState, index: int, frame: WatchedFrame, prompts: Mapping[Name, Prompt]
    ) -> Step:
        """Answer the prompts of one frame alone: the same as `step`, but no other object is sought.

        So prompts can be given for any frames, in any order, before tracking begins.
        """
        answered, found = self._prompted(state, index, frame, prompts)
        return Step(answered, self._masks(answered, index, found))

    def _prompted(
        self,
        state: TrackState,
        index: int,
        frame: WatchedFrame,
        prompts: Mapping[Name, Prompt],
    ) -> tuple[TrackState, tuple[Name, ...]]:
        """Answer prompts, and remember the answers."""
        self._check(state, index, frame, prompts)
        known = {each.name: each for each in state.objects}
        said = [
            Said(known.get(name, Tracked(name=name)), prompt) for name, prompt in prompts.items()
        ]
        masks = [each for each in said if each.prompt.hint is not None]
        rest = [each for each in said if each.prompt.hint is None]
        new = [each for each in rest if not can_correct(each.tracked.bank, index)]
        corrected = [each for each in rest if can_correct(each.tracked.bank, index)]

        def take(portion: Sequence[Said]) -> list[Seen]:
            hints = [each.prompt.hint for each in portion if each.prompt.hint is not None]
            device = self.runtime.device
            stack = [torch.from_numpy(hint.mask.copy()).to(device) for hint in hints]
            return self._kept(index, frame, given(self.network, frame.features, stack), portion)

        def begin(portion: Sequence[Said]) -> list[Seen]:
            features = self.network.begin(frame.features)
            return self._kept(index, frame, self._asked(index, frame, features, portion), portion)

        def correct(portion: Sequence[Said]) -> list[Seen]:
            tracked = [each.tracked for each in portion]
            directions = [ran_backward(each.bank, index) for each in tracked]
            features = self._recalled(state, index, frame.features, tracked, directions)
            return self._kept(index, frame, self._asked(index, frame, features, portion), portion)

        for some, work in ((masks, take), (new, begin), (corrected, correct)):
            for (tracked, prompt), seen in zip(some, self._run(some, work), strict=True):
                changed = replace(
                    tracked,
                    prompts={**tracked.prompts, index: prompt},
                    bank=tracked.bank.remember(seen),
                )
                state = state.with_object(changed)
        order = tuple(name for name in state.names if name in prompts)
        return state, order

    def _asked(
        self, index: int, frame: WatchedFrame, features: ImageFeatures, said: Sequence[Said]
    ) -> Answers:
        """Ask points and boxes, with what was seen here before as a hint."""
        spec = self.network.spec
        hinted = []
        for tracked, prompt in said:
            seen = tracked.bank.at(index)
            hint = None
            if seen is not None and seen.logits is not None:
                hint = MaskHint(seen.logits.clamp(-LOGIT_LIMIT, LOGIT_LIMIT).cpu().numpy())
            hinted.append(replace(prompt, hint=hint))
        placement = Placement(frame.size, spec.image_side)
        tensors = preprocess.prompt_tensors(hinted, placement, spec, self.runtime)
        return prompted(self.network, features, tensors, [each.prompt for each in said])

    def _recalled(
        self,
        state: TrackState,
        index: int,
        features: ImageFeatures,
        tracked: Sequence[Tracked],
        directions: Sequence[bool],
    ) -> ImageFeatures:
        """Tell a frame what is known of each object from other frames."""
        pasts = [
            each.bank.past(
                index,
                backward=backward,
                reach=self.network.reach,
                length=state.length,
                options=self.options,
            )
            for each, backward in zip(tracked, directions, strict=True)
        ]
        return self.network.recall(features, pasts)

    def _kept(
        self, index: int, frame: WatchedFrame, answers: Answers, said: Sequence[Said]
    ) -> list[Seen]:
        """Remember answers to prompts; a corrected frame counts as tracked, as in SAM 2."""
        corrects = [can_correct(each.tracked.bank, index) for each in said]
        flags = [self.options.lasting_corrections or not each for each in corrects]
        directions = [
            each and ran_backward(said[i].tracked.bank, index) for i, each in enumerate(corrects)
        ]
        return self._remembered(index, frame, answers, flags, directions)

    def _remembered(
        self,
        index: int,
        frame: WatchedFrame,
        answers: Answers,
        flags: Sequence[bool],
        directions: Sequence[bool],
    ) -> list[Seen]:
        """Make what is kept of each object of the frame."""
        grids = self.network.remember(frame.features, answers.masks, answers.presence)
        return [
            Seen(
                frame=index,
                prompted=flags[i],
                backward=directions[i],
                score=float(answers.scores[i]),
                presence=float(answers.presence[i]),
                pointer=answers.pointers[i].clone(),
                grid=grids[i].clone(),
                logits=answers.logits[i].clone(),
            )
            for i in range(len(grids))
        ]

    def _run(
        self, items: Sequence[Item], work: Callable[[Sequence[Item]], list[Seen]]
    ) -> list[Seen]:
        """Work through objects, as many at a time as there is memory for."""
        with torch.inference_mode(), self.runtime.own_numbers():
            return list(self._portions.run(items, work))

    def _masks(self, state: TrackState, index: int, names: Sequence[Name]) -> FrameMasks:
        """Bring what was seen of some objects to the size of the video."""
        found = [seen for name in names if (seen := state.object(name).bank.at(index)) is not None]
        logits = [each.logits.cpu().numpy() for each in found if each.logits is not None]
        presence = torch.tensor([each.presence for each in found]).sigmoid().numpy()
        count = len(found)
        masks = Masks(
            size=state.size,
            runs=tuple(to_runs(np.stack(logits), state.size)) if logits else (),
            scores=np.array([each.score for each in found], np.float32),
            objects=np.arange(count),
            candidates=np.zeros(count, np.int64),
            presence=presence,
            confident=np.array([each.presence > 0 for each in found], np.bool_),
        )
        return FrameMasks(frame=index, names=tuple(names), masks=masks)

    def _forgotten(self, state: TrackState, index: int, backward: bool) -> TrackState:
        if not self.options.forget:
            return state

        def lighter(bank: Bank) -> Bank:
            return bank.forget(
                index, backward=backward, reach=self.network.reach, options=self.options
            )

        objects = tuple(replace(each, bank=lighter(each.bank)) for each in state.objects)
        return replace(state, objects=objects)

    def _check(
        self,
        state: TrackState,
        index: int,
        frame: WatchedFrame,
        prompts: Mapping[Name, Prompt],
    ) -> None:
        if state.digest != self.network.spec.digest:
            raise WeightsError(
                "this state was made with other weights, whose memories mean nothing to these",
                hint="Load the weights that it was made with, or start anew",
            )
        if index < 0 or (state.length is not None and index >= state.length):
            there = "counted from 0" if state.length is None else f"which has {state.length}"
            raise PromptError(f"there is no frame {index} in this video, {there}")
        if frame.size != state.size:
            raise VideoError(
                f"frame {index} is {frame.size}, but the video is {state.size}",
                hint="Frames of another size are another video: start anew with them",
            )
        for name, prompt in prompts.items():
            prompt.check(state.size)
            check_mask(name, prompt)


def is_prompted(bank: Bank, frame: int) -> bool:
    """Whether an object has been prompted in a frame, so that its mask there stands."""
    seen = bank.at(frame)
    return seen is not None and seen.prompted


def can_correct(bank: Bank, frame: int) -> bool:
    """Whether a prompt corrects what was tracked here, rather than beginning anew."""
    seen = bank.at(frame)
    return seen is not None and not seen.prompted and bool(bank.prompted)


def ran_backward(bank: Bank, frame: int) -> bool:
    """Whether a frame was tracked backward, so that it is corrected so."""
    seen = bank.at(frame)
    return seen is not None and seen.backward


def check_mask(name: Name, prompt: Prompt) -> None:
    """Refuse a hint that cannot be the answer.

    Raises:
        PromptError: it is logits, or comes with points or a box.
    """
    if prompt.hint is None:
        return
    if prompt.points is not None or prompt.box is not None:
        raise PromptError(
            f"the mask of object `{name}` is the answer in its frame, so there can be no points or "
            "box beside it",
            hint="Give the mask first, and correct it in the same frame with points afterwards",
        )
    if prompt.hint.is_logits:
        raise PromptError(
            f"the mask of object `{name}` must be bool, at the size of the video, got logits",
            hint="Pass `logits > 0` at the size of the video",
        )


def trackable(network: Encoding) -> Trackable:
    """Return a network as one that tracks.

    Raises:
        PromptError: it does not.
    """
    if not isinstance(network, Trackable):
        raise PromptError(
            "this model cannot track: its weights have no memory of frames",
            hint="Load a SAM 2 or SAM 2.1 file that has its memory, as all published ones do",
        )
    return network
