"""The memory of SAM 2 gives the numbers that transformers' implementation gives."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from promptseg.nn.outputs import Past
from promptseg.nn.parts.memory import MemoryConfig
from promptseg.nn.parts.positions import sine_positions
from promptseg.nn.sam2 import config as sizes
from small_sam2 import FITTING, PADDED, small_sam2

pytest.importorskip("transformers")
from reference_sam2 import Reference

# Float32 sums in another order, at values of about 1 to 4.
ROUNDING = 1e-5
# One step of bfloat16, where two roundings fall on either side.
STEP = 2**-7
FRAMES = 8
# Now, the frames that were prompted, and those that were tracked.
PASTS = {
    "one frame, no pointer": (3, [5], []),
    "three frames, no pointer": (3, [5, 6, 7], []),
    "one frame and its pointer": (2, [0], []),
    "three frames and their pointers": (4, [0], [2, 3]),
    "more pointers than frames": (7, [0], [1, 2, 3, 4, 5, 6]),
}


def noise(*shape, seed=3):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class Pair:
    """Both implementations with the same weights."""

    def __init__(self, config) -> None:
        self.config = config
        network = small_sam2(config)
        self.memory = network.memory
        self.reference = Reference(network)
        channels, side = config.channels, config.prompt_side
        self.image = noise(1, channels, side, side)
        self.grids = [
            noise(1, channels // 8, 4 * side, 4 * side),
            noise(1, channels // 4, 2 * side, 2 * side),
            self.image,
        ]


@pytest.fixture(scope="module", params=["2.1", "2"])
def pair(request):
    return Pair({"2.1": FITTING, "2": PADDED}[request.param])


def encoded(pair, masks):
    """What the encoder makes of logits, and its reference."""
    with torch.inference_mode():
        mine = pair.memory.encoder(pair.image, masks)
        theirs, places = pair.reference.model.memory_encoder(pair.image, masks[:, None])
    return mine, theirs, places


def test_encoded_memories_agree(pair):
    """Two masks on one image, and the positions of what comes of them."""
    side = pair.config.image_side
    mine, theirs, places = encoded(pair, 10 * noise(2, side, side).sign())
    assert theirs.abs().max() > 1
    assert_close(mine, theirs, atol=ROUNDING, rtol=0)
    assert_close(sine_positions(*mine.shape[1:]), places[0], atol=1e-6, rtol=0)


@pytest.mark.parametrize("prompted", [True, False])
def test_stored_memories_agree(pair, prompted):
    """Of an object that is there and one that is not, of a mask in black and white or in grey."""
    side = pair.config.image_side
    logits, presence = 3 * noise(2, side, side), torch.tensor([1.5, -0.5])
    masks = (logits > 0).float() if prompted else logits.sigmoid()
    with torch.inference_mode():
        mine = pair.memory.remember(pair.image, masks, presence)
        theirs, _ = pair.reference.remember(pair.image, logits, presence, prompted=prompted)
    assert mine.dtype == theirs.dtype == torch.bfloat16
    assert_close(mine.flatten(2).float(), theirs.float(), atol=ROUNDING, rtol=STEP)
    assert (mine.flatten(2) == theirs).float().mean() > 0.99


@pytest.mark.parametrize("past", PASTS)
def test_recalled_images_agree(pair, past):
    """Two objects, with one memory or several, with pointers or without."""
    now, prompted, tracked = PASTS[past]
    channels, side = pair.config.memory.channels, pair.config.prompt_side
    slots = pair.config.memory.slots
    seen = prompted + tracked
    grids = noise(2, len(seen), channels, side, side, seed=4).bfloat16()
    pointers = noise(2, len(seen), pair.config.channels, seed=5)
    near = [i for i, frame in enumerate(seen) if frame in prompted or now - frame < slots]
    behind = [i for i, frame in enumerate(seen) if frame <= now]
    mine = [
        Past(
            grids[i, near],
            torch.tensor([0 if seen[k] in prompted else now - seen[k] for k in near]),
            pointers[i, behind],
            torch.tensor([now - seen[k] for k in behind]) / (FRAMES - 1),
        )
        for i in range(2)
    ]
    with torch.inference_mode():
        told = pair.memory.recall(pair.image, mine)
        for i in range(2):
            frames = {frame: (grids[i, k], pointers[i, k]) for k, frame in enumerate(seen)}
            theirs = pair.reference.recall(
                pair.image,
                now,
                FRAMES,
                {frame: frames[frame] for frame in prompted},
                {frame: frames[frame] for frame in tracked},
            )
            assert theirs.abs().max() > 1
            assert_close(told[i : i + 1], theirs, atol=ROUNDING, rtol=0)


@pytest.mark.parametrize("presence", [0.5, 0.0])
def test_pointers_agree(pair, presence):
    """The pointer to an object that is there, and the one that says it is not."""
    with torch.inference_mode():
        token, theirs = pair.reference.point(pair.grids, presence)
        mine = pair.memory.point(token, torch.tensor([presence]))
    assert theirs.abs().max() > 0.1
    assert_close(mine, theirs, atol=ROUNDING, rtol=0)


def test_hints_of_given_masks_agree(pair):
    """What the decoder is told of a mask, so that it can find the pointer."""
    side = pair.config.image_side
    masks = (noise(1, side, side) > 0).float()
    with torch.inference_mode():
        theirs = pair.reference.hint(pair.grids, masks)
        mine = pair.memory.hint(masks)
    assert_close(mine, theirs, atol=ROUNDING, rtol=0)


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.parametrize("version", ["2.1", "2"])
def test_full_sizes_agree(version):
    """Memories and what is recalled of them, at the size that all published networks share."""
    pair = Pair(replace(sizes.TINY, memory=MemoryConfig(version=version)))
    test_encoded_memories_agree(pair)
    test_recalled_images_agree(pair, "three frames and their pointers")
