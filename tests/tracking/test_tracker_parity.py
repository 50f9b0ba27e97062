"""The tracker gives the numbers of transformers' `Sam2VideoModel`, frame after frame.

Both keep memories in bfloat16, as Meta's release does even where all else is float32. Where float32
sums in another order fall on either side of a rounding, a number of a memory moves by a step of
2**-8, and the logits that read it by a few 1e-4; where none does they agree to 1e-5. Without the
rounding they would be further off than what is allowed here, so it is a part of the answer
(`test_rounded_memories_are_a_part_of_the_answer`).
"""

from __future__ import annotations

import pytest
import torch
from seen_clips import CPU, FRAMES, SEEING, SURER, clip, seeing, tracker

from promptseg.geometry import Box
from promptseg.nn.sam2 import config as sizes
from promptseg.prompts import MaskHint, Points, Prompt
from promptseg.tracking.frames import frame_pixels
from small_sam2 import small_sam2

pytest.importorskip("transformers")
from reference_sam2_video import ReferenceTracker

# Mask logits, at a scale of 1 to 10.
TOLERANCE = 1e-3
RAISED = 3


class Both:
    """A clip in both implementations; every step compares what they see."""

    def __init__(self, network, frames, **options) -> None:
        side = network.config.image_side
        self.side = side
        self.tracker = tracker(network, **options)
        self.frames = [self.tracker.watch(frame) for frame in frames]
        self.state = self.tracker.start((side, side), length=len(frames))
        pixels = torch.cat([frame_pixels(frame, network.spec, CPU) for frame in frames])
        self.theirs = ReferenceTracker(network, pixels)
        self.furthest = 0.0
        self.presence: list[float] = []

    def points(self, name, frame, points, labels, box=None) -> None:
        """Points and a box in shares of the square."""
        points, corners = (
            [tuple(self.side * each for each in row) for row in rows]
            for rows in (points, [box] if box else [])
        )
        prompt = Prompt(
            points=Points(points, labels) if points else None,
            box=Box(*corners[0]) if corners else None,
        )
        backward = self.theirs.ran_backward(name, frame)
        expected = self.theirs.points(name, frame, points, labels, *corners)
        self._compare(frame, expected, prompts={name: prompt}, backward=backward)

    def mask(self, name, frame, mask) -> None:
        expected = self.theirs.mask(name, frame, mask)
        self._compare(frame, expected, prompts={name: Prompt(hint=MaskHint(mask.numpy()))})

    def track(self, frames, *, backward=False) -> None:
        for frame in frames:
            expected = self.theirs.step(frame, backward=backward)
            self._compare(frame, expected, backward=backward)

    def remove(self, name) -> None:
        self.theirs.remove(name)
        self.state = self.state.remove(name)

    def _compare(self, frame, expected, **said) -> None:
        step = self.tracker.step(self.state, frame, self.frames[frame], **said)
        self.state = step.state
        assert set(step.masks.names) == set(expected)
        for name, theirs in expected.items():
            seen = self.state.object(name).bank.at(frame)
            self.furthest = max(self.furthest, float((seen.logits - theirs).abs().max()))
            self.presence.append(seen.presence)
            presence = self.theirs.presence(name, frame)
            assert seen.presence == pytest.approx(presence, abs=SURER * TOLERANCE)
            assert (seen.logits - theirs).abs().max() < TOLERANCE, (name, frame)


def begin(both) -> None:
    """A point, then two more in the same frame; a box; and a mask of a third object, later."""
    mask = torch.zeros(both.side, both.side, dtype=torch.bool)
    mask[both.side // 3 : both.side // 2, both.side // 5 : both.side // 2] = True
    both.points("one", 4, [(0.31, 0.62)], [1])
    both.points("one", 4, [(0.31, 0.62), (0.7, 0.1), (0.4, 0.55)], [1, 0, 1])
    both.points("two", 4, [], [], box=(0.17, 0.23, 0.71, 0.89))
    both.mask("three", 6, mask)


def forward(both) -> None:
    """To the end, without a correction."""
    begin(both)
    both.track(range(4, FRAMES))


def correct(both, frame) -> None:
    """One point more of what is in sight, and two of another object."""
    both.points("one", frame, [(0.2, 0.5)], [1])
    both.points("two", frame, [(0.3, 0.4), (0.9, 0.9)], [1, 0])


@pytest.fixture(params=SEEING)
def network(request):
    return seeing(request.param)


@pytest.mark.parametrize("forget", [True, False])
def test_a_clip_agrees(network, forget):
    """Forward with a correction on the way, backward, and on without an object.

    What is forgotten on the way is never missed.
    """
    both = Both(network, clip(network.config.image_side), forget=forget)
    begin(both)
    both.track(range(4, 13))
    correct(both, 12)
    both.track(range(13, FRAMES))
    both.track(range(4, -1, -1), backward=True)
    both.remove("three")
    both.track(range(0, 3))
    assert min(both.presence) < 0 < max(both.presence)


def test_corrections_after_the_end_agree(network):
    """With all frames kept, one is corrected when all have been seen, and tracked from there."""
    both = Both(network, clip(network.config.image_side), forget=False)
    forward(both)
    correct(both, 12)
    both.track(range(13, FRAMES))
    both.track(range(11, 2, -1), backward=True)
    correct(both, 5)


def test_a_short_video_agrees(network):
    """A video of fewer frames than there are pointers: it is told how long it is."""
    both = Both(network, clip(network.config.image_side, frames=7))
    begin(both)
    both.track(range(4, 7))
    both.track(range(4, -1, -1), backward=True)


def test_rounded_memories_are_a_part_of_the_answer(network, monkeypatch):
    """Kept in float32 they would give logits that are further off than what is allowed."""
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.float)
    both = Both(network, clip(network.config.image_side))
    with pytest.raises(AssertionError, match="one"):
        forward(both)


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("size", ["tiny", "large"])
def test_full_sizes_agree(size):
    """The same clip at published sizes."""
    config = {"tiny": sizes.TINY, "large": sizes.LARGE}[size]
    network = small_sam2(config)
    # Unless it is raised, every object is out of sight, and its mask the same in both.
    network.mask_decoder.presence_head.layers[-1].bias.add_(RAISED)
    both = Both(network, clip(config.image_side))
    begin(both)
    both.track(range(4, 13))
    correct(both, 12)
    both.track(range(13, FRAMES))
    both.track(range(4, -1, -1), backward=True)
    both.remove("three")
    both.track(range(0, 3))
