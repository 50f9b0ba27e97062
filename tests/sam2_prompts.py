"""Prompts of every kind on the square of a SAM 2 network."""

from __future__ import annotations

import torch

from promptseg.nn.outputs import PromptTensors
from promptseg.nn.sam2.config import Sam2Config


def asked(config: Sam2Config, *, points=(), labels=(), box=None, hint=False) -> PromptTensors:
    """One object; points and box as shares of the square's side; a hint is seeded noise."""
    side, hint_side = config.image_side, config.mask_side
    noise = torch.randn(1, hint_side, hint_side, generator=torch.Generator().manual_seed(13))
    return PromptTensors(
        points=torch.tensor([points or [(0.0, 0.0)]], dtype=torch.float32) * side,
        labels=torch.tensor([labels or [-1]]),
        boxes=torch.tensor([box or (0.0, 0.0, 0.0, 0.0)], dtype=torch.float32) * side,
        boxed=torch.tensor([box is not None]),
        hints=noise * 5 if hint else torch.zeros(1, hint_side, hint_side),
        hinted=torch.tensor([hint]),
    )


POINT = {"points": [(0.31, 0.62)], "labels": [1]}
POINTS = {"points": [(0.31, 0.62), (0.73, 0.11), (0.05, 0.97)], "labels": [1, 0, 1]}
BOX = {"box": (0.17, 0.23, 0.71, 0.89)}
KINDS = {
    "point": POINT,
    "three points": POINTS,
    "box": BOX,
    "box and points": {**BOX, **POINTS},
    "point and hint": {**POINT, "hint": True},
    "hint alone": {"hint": True},
    "nothing": {},
}


def together(*prompts: PromptTensors) -> PromptTensors:
    """Several objects as the engine hands them over: short rows of points padded at the end."""
    most = max(each.points.shape[1] for each in prompts)
    padded = []
    for each in prompts:
        missing = most - each.points.shape[1]
        padded.append(
            each._replace(
                points=torch.nn.functional.pad(each.points, (0, 0, 0, missing)),
                labels=torch.nn.functional.pad(each.labels, (0, missing), value=-1),
            )
        )
    return PromptTensors(*(torch.cat(parts) for parts in zip(*padded, strict=True)))
