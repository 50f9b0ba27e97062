"""Tracking on small networks: what a step does, whom it does not touch, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from seen_clips import CPU, SEEING, clip, seeing, tracker
from torch.testing import assert_close

from fake_network import FakeNetwork
from promptseg.errors import MaskError, PromptError, VideoError, WeightsError
from promptseg.geometry import Box, Size
from promptseg.prompts import MaskHint, Points, Prompt
from promptseg.results import FrameMasks, Masks
from promptseg.tracking.frames import frame_pixels
from promptseg.tracking.state_file import load_state, save_state
from promptseg.tracking.tracker import trackable
from small_sam2 import FITTING, small_sam2

SIDE = FITTING.image_side
SIZE = Size(SIDE, SIDE)
POINT = Prompt(points=Points([(20.0, 30.0)]))
BOX = Prompt(box=Box(10, 12, 40, 50))
# Float32 sums in another order.
ROUNDING = 1e-4


@pytest.fixture(scope="module")
def network():
    return seeing("2.1")


@pytest.fixture(scope="module")
def mine(network):
    return tracker(network)


@pytest.fixture(scope="module")
def frames(mine):
    return [mine.watch(frame) for frame in clip(SIDE)]


def run(tracker, frames, state, indices, *, prompts=None, backward=False):
    """Step through frames; `prompts` are said at theirs. Returns the state and all masks."""
    seen = []
    for index in indices:
        said = (prompts or {}).get(index, {})
        state, masks = tracker.step(state, index, frames[index], said, backward=backward)
        seen.append(masks)
    return state, seen


def logits(state, name, frame):
    return state.object(name).bank.at(frame).logits


def same_masks(one, other):
    """The same objects, masks and scores, frame by frame."""
    for mine, theirs in zip(one, other, strict=True):
        assert (mine.frame, mine.names) == (theirs.frame, theirs.names)
        assert mine.masks.runs == theirs.masks.runs
        assert mine.masks.scores.tolist() == theirs.masks.scores.tolist()
        assert mine.masks.presence.tolist() == theirs.masks.presence.tolist()


def test_masks_are_at_the_size_of_the_video(network, frames):
    """A mask is the logits, enlarged as torch does; out of sight it is empty."""
    mine = tracker(network)
    size = Size(37, 101)
    video = [frame._replace(size=size) for frame in frames]
    prompt = Prompt(points=Points([(31.0, 17.0)]))
    state, seen = run(mine, video, mine.start(size), range(12), prompts={0: {"a": prompt}})
    grid = logits(state, "a", 11)[None, None]
    expected = torch.nn.functional.interpolate(grid, size=size, mode="bilinear")[0, 0] > 0
    assert np.array_equal(seen[11].of("a").to_numpy()[0], expected.numpy())
    shown = [masks.masks.areas[0] > 0 for masks in seen]
    assert shown == [masks.masks.presence[0] > 0.5 for masks in seen]
    assert set(shown) == {True, False}


@pytest.mark.parametrize("version", SEEING)
def test_company_changes_no_mask(version):
    """An object has the mask it has alone, also beside one that was added and removed midway."""
    network = seeing(version)
    mine = tracker(network)
    side = network.config.image_side
    frames = [mine.watch(frame) for frame in clip(side)]
    start = mine.start(Size(side, side))
    alone, _ = run(mine, frames, start, range(15), prompts={2: {"a": POINT}} | {0: {"b": BOX}})
    state, _ = run(mine, frames, start, range(0, 2), prompts={0: {"b": BOX}})
    state, _ = run(mine, frames, state, range(2, 6), prompts={2: {"a": POINT}, 4: {"c": BOX}})
    state = state.remove("b")
    state, seen = run(mine, frames, state, range(6, 15))
    assert seen[-1].names == ("a", "c")
    assert_close(logits(state, "a", 14), logits(alone, "a", 14), atol=ROUNDING, rtol=0)


def test_few_at_a_time_are_answered_as_all_together(network, frames):
    """Portions of one object give what one batch gives."""
    prompts = {0: {"a": POINT, "b": BOX}, 2: {"c": POINT}}
    together, apart = tracker(network), tracker(network)
    apart._portions.most = 1
    states = [
        run(each, frames, each.start(SIZE), range(6), prompts=prompts)[0]
        for each in (together, apart)
    ]
    for name in "abc":
        assert_close(*(logits(state, name, 5) for state in states), atol=ROUNDING, rtol=0)


def test_a_state_is_a_value(mine, frames):
    """A state can be kept and gone on from again, in another way, and then again in the first."""
    state, _ = run(mine, frames, mine.start(SIZE), range(5), prompts={0: {"a": POINT}})
    _, first = run(mine, frames, state, range(5, 9))
    run(mine, frames, state, range(5, 9), prompts={5: {"a": BOX, "b": BOX}})
    _, again = run(mine, frames, state, range(5, 9))
    same_masks(first, again)


def test_a_prompted_frame_keeps_its_mask(mine, frames):
    """Tracked over again, from either side, it is the answer to its prompt; others are not."""
    state, seen = run(mine, frames, mine.start(SIZE), range(3, 7), prompts={3: {"a": POINT}})
    _, again = run(mine, frames, state, [3], backward=True)
    same_masks(again, seen[:1])


def test_a_given_mask_is_the_answer(mine, frames):
    """Its own pixels come back, with full score, surely there."""
    mask = np.zeros(SIZE, dtype=bool)
    mask[8:40, 16:48] = True
    given = {"a": Prompt(hint=MaskHint(mask))}
    _, masks = mine.step(mine.start(SIZE), 0, frames[0], given)
    found = masks.of("a")
    agree = (found.to_numpy()[0] == mask).mean()
    assert agree > 0.98
    assert found.scores.tolist() == [1.0]
    assert found.presence[0] > 0.999


def test_a_mask_too_small_to_be_seen_is_of_nothing(network):
    """A pixel that vanishes in the network's square says that the object is not there."""
    mine = tracker(network)
    size = Size(SIDE * 8, SIDE * 8)
    mask = np.zeros(size, dtype=bool)
    mask[3, 3] = True
    frame = mine.watch(np.zeros((*size, 3), np.uint8))
    state, masks = mine.step(mine.start(size), 0, frame, {"a": Prompt(hint=MaskHint(mask))})
    assert masks.of("a").areas.tolist() == [0]
    pointer = state.object("a").bank.at(0).pointer
    assert torch.equal(pointer, network.memory.no_pointer[0])


def test_a_correction_sees_memory_and_the_mask_before(mine, frames):
    """The same point says something else in a frame that was tracked than in one that was not."""
    state, _ = run(mine, frames, mine.start(SIZE), range(6), prompts={0: {"a": BOX}})
    corrected = mine.step(state, 5, frames[5], {"a": POINT}).state
    anew = mine.step(mine.start(SIZE), 5, frames[5], {"a": POINT}).state
    presence = [each.object("a").bank.at(5).presence for each in (corrected, anew)]
    assert abs(presence[0] - presence[1]) > 0.1
    assert not corrected.object("a").bank.at(5).prompted
    assert corrected.object("a").bank.prompted == (0,)
    assert sorted(corrected.object("a").prompts) == [0, 5]


def test_lasting_corrections_count_as_prompted(network, frames):
    """Where that is wanted a corrected frame keeps its mask and is read from then on."""
    mine = tracker(network, lasting_corrections=True)
    state, _ = run(mine, frames, mine.start(SIZE), range(6), prompts={0: {"a": BOX}})
    state, corrected = run(mine, frames, state, [5], prompts={5: {"a": POINT}})
    assert state.object("a").bank.prompted == (0, 5)
    same_masks(run(mine, frames, state, [5])[1], corrected)


def test_prompts_alone_track_nobody(mine, frames):
    """`prompt` answers what it is asked about; prompts of any frames can come first."""
    state = mine.start(SIZE)
    state, first = mine.prompt(state, 9, frames[9], {"a": POINT})
    state, second = mine.prompt(state, 2, frames[2], {"b": BOX})
    assert (first.names, second.names) == (("a",), ("b",))
    assert [sorted(each.bank.seen) for each in state.objects] == [[9], [2]]


def test_prompts_are_taken_back(mine, frames):
    """Without a prompt in any frame an object cannot be tracked, and says so; resetting helps."""
    state, _ = run(mine, frames, mine.start(SIZE), range(3), prompts={0: {"a": POINT}, 1: {}})
    state = state.withdraw("a", 0)
    assert state.object("a").bank.at(0) is not None
    with pytest.raises(PromptError, match="object `a` is prompted in no frame"):
        mine.step(state, 3, frames[3])
    with pytest.raises(PromptError, match="nothing was said of object `a` in frame 0"):
        state.withdraw("a", 0)
    again, _ = run(mine, frames, state, [1, 2, 3], prompts={1: {"a": BOX}})
    assert again.object("a").bank.prompted == (1,)
    assert len(mine.step(state.reset(), 3, frames[3]).masks) == 0


def test_what_is_wrong_is_said(mine, frames):
    """Each mistake is one sentence, and the state is as before."""
    state, _ = run(mine, frames, mine.start(SIZE, length=8), range(2), prompts={0: {"a": POINT}})
    mask = MaskHint(np.ones(SIZE, dtype=bool))
    other = frames[0]._replace(size=Size(32, 48))
    with pytest.raises(PromptError, match="there is no frame 8 in this video, which has 8"):
        mine.step(state, 8, frames[8])
    with pytest.raises(PromptError, match="there is no frame -1"):
        mine.step(state, -1, frames[0], {"a": POINT})
    with pytest.raises(VideoError, match=r"frame 2 is 48 x 32 .*, but the video is 64 x 64"):
        mine.step(state, 2, other)
    with pytest.raises(PromptError, match="lies outside the image"):
        mine.step(state, 2, frames[2], {"a": Prompt(points=Points([(64.0, 3.0)]))})
    with pytest.raises(PromptError, match="no points or box beside it"):
        mine.step(state, 2, frames[2], {"a": Prompt(points=POINT.points, hint=mask)})
    with pytest.raises(PromptError, match="must be bool, at the size of the video, got logits"):
        mine.step(state, 2, frames[2], {"a": Prompt(hint=MaskHint(np.full((16, 16), 3.0)))})
    with pytest.raises(PromptError, match="there is no object `b`; there are: `a`"):
        state.remove("b")
    with pytest.raises(WeightsError, match="made with other weights"):
        mine.step(replace(state, digest="others"), 2, frames[2])
    with pytest.raises(MaskError, match="0 masks, but 1 names"):
        FrameMasks(frame=0, names=("a",), masks=Masks.empty(SIZE))
    with pytest.raises(KeyError):
        mine.step(state, 2, frames[2]).masks.of("b")


def test_networks_without_memory_say_so(network):
    """A file of SAM 2's image half, and any other network."""
    assert trackable(network) is network
    for other in (small_sam2(replace(FITTING, memory=None)), FakeNetwork()):
        with pytest.raises(PromptError, match="cannot track: its weights have no memory of frames"):
            trackable(other)


def test_memory_does_not_grow(network):
    """After the first frames a state takes as much as it will ever take."""
    mine = tracker(network)
    frames = [mine.watch(frame) for frame in clip(SIDE)]
    state, sizes = mine.start(SIZE), []
    for index in range(60):
        said = {0: {"a": POINT, "b": BOX}}.get(index, {})
        state, _ = mine.step(state, index, frames[index % len(frames)], said)
        sizes.append(state.bytes)
    # From here on the frames near the prompted one and those near the latest are not the same.
    assert set(sizes[31:]) == {max(sizes)}
    unbounded = tracker(network, forget=False)
    grown, _ = run(unbounded, frames, unbounded.start(SIZE), range(20), prompts={0: {"a": POINT}})
    assert len(grown.object("a").bank) == 20


def test_a_saved_state_goes_on_in_another_process(mine, frames, tmp_path, network):
    """All prompts and memories come back, and the masks that follow are the same."""
    mask = np.zeros(SIZE, dtype=bool)
    mask[3:30, 5:20] = True
    said = {0: {"a": POINT, 7: BOX}, 2: {"c": Prompt(hint=MaskHint(mask))}}
    state, _ = run(mine, frames, mine.start(SIZE, length=20), range(9), prompts=said)
    path = save_state(state, tmp_path / "state.safetensors")
    again = load_state(path, torch.device("cpu"))
    assert again.names == ("a", 7, "c")
    assert [each.prompts for each in again.objects] == [each.prompts for each in state.objects]
    same_masks(run(mine, frames, state, range(9, 14))[1], run(mine, frames, again, range(9, 14))[1])

    code = (
        "import sys; sys.path[:0] = sys.argv[2:]; from seen_clips import *; "
        "from promptseg.tracking.state_file import load_state; "
        "mine = tracker(seeing('2.1')); state = load_state(sys.argv[1]); "
        "step = mine.step(state, 9, mine.watch(clip(64)[9])); "
        "print([mask.to_coco()['counts'] for mask in step.masks.masks.runs])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, str(path), *sys.path], check=True, capture_output=True
    )
    _, masks = mine.step(state, 9, frames[9])
    expected = [run.to_coco()["counts"] for run in masks.masks.runs]
    assert ended.stdout.decode().strip() == str(expected)


def test_files_that_are_no_states_are_refused(tmp_path, mine, frames):
    """A missing, a torn and a foreign file are each named."""
    torn = tmp_path / "torn"
    state, _ = mine.prompt(mine.start(SIZE), 0, frames[0], {"a": POINT})
    whole = save_state(state, tmp_path / "whole").read_bytes()
    torn.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(VideoError, match="is damaged"):
        load_state(torn)
    with pytest.raises(VideoError, match="cannot read the tracking state"):
        load_state(tmp_path / "missing")
    foreign = tmp_path / "foreign"
    foreign.write_bytes(whole.replace(b"promptseg-track-1", b"promptseg-track-0"))
    with pytest.raises(VideoError, match="no tracking state of this version"):
        load_state(foreign)
    wrong = tmp_path / "wrong"
    wrong.write_bytes(whole.replace(b"0.0.pointer", b"0.1.pointer"))
    with pytest.raises(VideoError, match="is damaged"):
        load_state(wrong)


def test_frames_are_resized_as_pillow_does(network):
    """Bicubic, in bytes, then brought to the scale of the weights."""
    noise = np.random.default_rng(2).integers(0, 256, (97, 41, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(noise).resize((SIDE, SIDE)), np.float32) / 255
    expected = (expected - network.spec.mean) / network.spec.std
    pixels = frame_pixels(noise, network.spec, CPU)
    assert np.abs(pixels[0].permute(1, 2, 0).numpy() - expected).max() < 1e-6
