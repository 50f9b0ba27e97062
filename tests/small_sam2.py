"""SAM 2 at sizes that answer in milliseconds, with seeded weights."""

from __future__ import annotations

import torch

from promptseg.nn.parts.memory import MemoryConfig
from promptseg.nn.sam2.config import HieraConfig, Sam2Config
from promptseg.nn.sam2.model import Sam2Network
from promptseg.nn.sam2.video import sam2_of
from seeded import fill

# Windows fill every map: its sides are 16, 8, 4 and 2. SAM 2.1's memory.
FITTING = Sam2Config(
    image_side=64,
    trunk=HieraConfig(
        width=6,
        heads=1,
        depths=(1, 2, 3, 1),
        windows=(8, 4, 2, 1),
        global_blocks=(4,),
        background=7,
    ),
    channels=32,
    heads=2,
    hidden=24,
    memory=MemoryConfig(version="2.1", channels=16, slots=5, layers=3, hidden=20, blocks=2),
)
# Windows reach over the edges of maps at strides 16 and 32: their sides are 24, 12, 6 and 3.
# SAM 2's memory.
PADDED = Sam2Config(
    image_side=96,
    trunk=HieraConfig(
        width=10,
        heads=2,
        depths=(2, 1, 3, 2),
        windows=(8, 8, 4, 2),
        global_blocks=(5,),
        background=5,
    ),
    channels=48,
    heads=4,
    hidden=40,
    memory=MemoryConfig(version="2", channels=12, slots=4, layers=2, hidden=28, blocks=1),
)


def small_sam2(config: Sam2Config = FITTING, seed: int = 5) -> Sam2Network:
    """Make the network without touching the caller's random numbers."""
    with torch.device("meta"):
        network = sam2_of(config, digest=f"random {seed}")
    return fill(network, seed)
