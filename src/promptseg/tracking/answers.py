"""What a network says of objects in a frame, of which one candidate each is taken.

The rules are those of SAM 2 (`SAM2Base._forward_sam_heads`, `_use_mask_as_output`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from promptseg.engine.candidates import single
from promptseg.engine.preprocess import HINT_LOGIT, squash
from promptseg.nn.outputs import ImageFeatures, PromptTensors
from promptseg.nn.protocol import Trackable
from promptseg.prompts import Prompt

# The logits of an object that is not in sight (SAM 2, `NO_OBJ_SCORE`).
ABSENT = -1024.0


class Answers(NamedTuple):
    """What is seen of `n` objects in one frame.

    `logits` are at the network's `mask_side`, `scores` the predicted IoU, `presence` a logit.
    `masks` are what is to be remembered: 0..1, at the side of the network's square.
    """

    logits: Float[Tensor, "n h w"]
    scores: Float[Tensor, " n"]
    presence: Float[Tensor, " n"]
    pointers: Float[Tensor, "n c"]
    masks: Float[Tensor, "n H W"]


def followed(network: Trackable, features: ImageFeatures, count: int) -> Answers:
    """Look for `count` objects of which nothing is said in this frame, each on its own features.

    An object may be seen in several ways then: the best of the candidates for a prompt that leaves
    doubt is taken, and it alone is drawn.
    """
    spec = network.spec
    judgement = network.judge(
        features, PromptTensors.silent(count, spec.mask_side, features.device)
    )
    chosen = best_of_doubt(judgement.scores, spec.sure)
    logits = network.draw_chosen(features, judgement, chosen).float()
    logits = hide_absent(logits, judgement.presence)
    return Answers(
        logits,
        judgement.scores.gather(1, chosen[:, None])[:, 0],
        judgement.presence,
        network.point(judgement, chosen),
        enlarged(logits, spec.image_side).sigmoid(),
    )


def prompted(
    network: Trackable, features: ImageFeatures, tensors: PromptTensors, prompts: Sequence[Prompt]
) -> Answers:
    """Answer points and boxes, each on its own features or all on the same.

    A single point leaves doubt, also with a hint. What leaves none gets the `sure` candidate,
    unless its outline wavers, and is pointed at by that one even then. What is remembered of a
    mask is in black and white.
    """
    spec = network.spec
    judgement = network.judge(features, tensors)
    scores, rows = judgement.scores, torch.arange(len(prompts), device=features.device)
    drawn = network.draw(features, judgement, range(scores.shape[1])).float()
    chosen = best_of_doubt(scores, spec.sure)
    pointed = chosen.clone()
    if spec.sure is not None:
        for row, prompt in enumerate(prompts):
            if not leaves_doubt(prompt):
                candidates = drawn[row].cpu().numpy(), scores[row].float().cpu().numpy()
                chosen[row] = single(*candidates, sure=spec.sure)
                pointed[row] = spec.sure
    logits = hide_absent(drawn[rows, chosen], judgement.presence)
    return Answers(
        logits,
        scores[rows, chosen],
        judgement.presence,
        network.point(judgement, pointed),
        (enlarged(logits, spec.image_side) > 0).float(),
    )


def given(
    network: Trackable, frame: ImageFeatures, masks: Sequence[Bool[Tensor, "_ _"]]
) -> Answers:
    """Take masks at the size of the video as they are; only pointers are asked of the network."""
    spec = network.spec
    squashed = [squash(mask[:, :, None], spec.image_side, white=1.0)[0] for mask in masks]
    square = (torch.cat(squashed) >= 0.5).float()
    coarse = [squash(mask[:, :, None], spec.mask_side, white=1.0)[0] for mask in square]
    there = square.flatten(1).any(dim=1)
    return Answers(
        (2 * torch.cat(coarse) - 1) * HINT_LOGIT,
        torch.ones(len(masks), device=frame.device),
        torch.where(there, HINT_LOGIT, -HINT_LOGIT),
        network.trace(frame, square),
        square,
    )


def leaves_doubt(prompt: Prompt) -> bool:
    """Whether a prompt is at most one point, a box being two (SAM 2, `_use_multimask`)."""
    points = len(prompt.points) if prompt.points is not None else 0
    return points + 2 * (prompt.box is not None) <= 1


def best_of_doubt(scores: Float[Tensor, "n m"], sure: int | None) -> Int[Tensor, " n"]:
    """Return the candidate of the highest score that is not the `sure` one."""
    if sure is None:
        return scores.argmax(dim=1)
    taken = torch.arange(scores.shape[1], device=scores.device) == sure
    return scores.masked_fill(taken, -torch.inf).argmax(dim=1)


def hide_absent(
    logits: Float[Tensor, "n h w"], presence: Float[Tensor, " n"]
) -> Float[Tensor, "n h w"]:
    """Make the masks of objects that are not in sight empty, beyond doubt."""
    return logits.masked_fill((presence <= 0)[:, None, None], ABSENT)


def enlarged(logits: Float[Tensor, "n h w"], side: int) -> Float[Tensor, "n {side} {side}"]:
    """Bring logits to the side of the network's square."""
    return functional.interpolate(
        logits[:, None], size=(side, side), mode="bilinear", align_corners=False
    )[:, 0]
