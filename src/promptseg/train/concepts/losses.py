"""What training to find minimises, layer by layer of the detector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from promptseg.nn.outputs import Detections
from promptseg.train.concepts.matching import Pairs, generalised_iou, matched
from promptseg.train.losses import normalised_focal, soft_dice


class Truth(NamedTuple):
    """The right answers to `n` questions: up to `t` things each, where they are `there`.

    Boxes are x0 y0 x1 y1 as shares of the image; masks are the share of each cell that is covered.
    """

    boxes: Float[Tensor, "n t 4"]
    masks: Float[Tensor, "n t h w"]
    there: Bool[Tensor, "n t"]


class FindLosses(NamedTuple):
    """Losses of the detector's layers together, each already a mean over things or questions."""

    score: Float[Tensor, ""]
    presence: Float[Tensor, ""]
    corners: Float[Tensor, ""]
    overlap: Float[Tensor, ""]


def find_losses(layers: Sequence[Detections], truth: Truth) -> tuple[FindLosses, Pairs]:
    """Compare what every layer finds with the truth; return the last layer's pairs too.

    Every layer is matched and taught on its own (Carion 2020, DETR, section 3.2). Presence alone
    learns whether there is anything: slots learn only from questions whose answer is not empty
    (Carion 2025, SAM 3, section 3).
    """
    pairs = [matched(found.logits, found.boxes, truth.boxes, truth.there) for found in layers]
    each = [_layer_losses(*layer, truth) for layer in zip(layers, pairs, strict=True)]
    return FindLosses(*(torch.stack(terms).mean() for terms in zip(*each, strict=True))), pairs[-1]


def _layer_losses(found: Detections, pairs: Pairs, truth: Truth) -> FindLosses:
    present = truth.there.any(dim=1)
    count = max(1, len(pairs.slot))
    target = torch.zeros_like(found.logits)
    target[pairs.question, pairs.slot] = 1.0
    score = binary_focal(found.logits, target)[present].sum() / count
    presence = functional.binary_cross_entropy_with_logits(found.presence, present.float())
    boxes = found.boxes[pairs.question, pairs.slot]
    wanted = truth.boxes[pairs.question, pairs.thing]
    corners = (boxes - wanted).abs().sum() / count
    overlap = (1 - generalised_iou(boxes, wanted)).sum() / count
    return FindLosses(score, presence, corners, overlap)


def binary_focal(
    logits: Float[Tensor, "*s"], target: Float[Tensor, "*s"], *, gamma: float = 2.0
) -> Float[Tensor, "*s"]:
    """Cross-entropy of each, that of what is nearly right counting little (Lin 2017).

    Things and nothings weigh alike, so that 0.5 stays the middle.
    """
    entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (logits.sigmoid() - target).abs() ** gamma * entropy


def mask_loss(outlines: Float[Tensor, "p h w"], truth: Float[Tensor, "p h w"]) -> Float[Tensor, ""]:
    """Focal loss and Dice of the masks of slots that answer for things, nought where none does."""
    if not len(outlines):
        return outlines.sum()
    logits, target = outlines[:, None].float(), truth[:, None]
    return (normalised_focal(logits, target) + soft_dice(logits, target)).mean()
