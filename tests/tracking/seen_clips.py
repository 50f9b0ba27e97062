"""Short clips, and small trackers that see objects in some frames and not in others."""

from __future__ import annotations

import numpy as np
import torch

from promptseg.engine.runtime import Runtime
from promptseg.options import TrackOptions
from promptseg.tracking.tracker import Tracker
from small_sam2 import FITTING, PADDED, small_sam2

FRAMES = 20
CPU = Runtime(torch.device("cpu"), torch.float32)
# A seed for each version, and by how much the presence of its objects is lowered, so that they are
# in sight and out of it by turns, and never so nearly that rounding decides.
SEEING = {"2.1": (FITTING, 9, 0.0), "2": (PADDED, 7, 6.4)}
SURER = 20
# Frames of another place, so that objects go out of sight.
ELSEWHERE = (9, 10)


def clip(side: int, *, frames: int = FRAMES, seed: int = 3) -> list[np.ndarray]:
    """Coarse noise that moves a little in each frame, `side` x `side`."""
    noise = np.random.default_rng(seed)
    here, there = (
        noise.integers(0, 256, (side // 8, side // 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
        for _ in range(2)
    )
    return [
        np.roll(there // 4 if i in ELSEWHERE else here, (2 * i, 3 * i), (0, 1))
        for i in range(frames)
    ]


def seeing(version: str):
    """A small network whose random numbers see an object in one frame, and in another none."""
    config, seed, lowered = SEEING[version]
    network = small_sam2(config, seed)
    last = network.mask_decoder.presence_head.layers[-1]
    last.weight.mul_(SURER)
    last.bias.sub_(lowered)
    return network


def tracker(network, **options) -> Tracker:
    return Tracker(network, CPU, TrackOptions(**options))
