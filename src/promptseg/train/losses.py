"""What training minimises: good masks, honest scores, true outlines."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from promptseg.nn.outputs import MaskLogits
from promptseg.nn.tiny.decoder import blended


class MaskLosses(NamedTuple):
    """Losses of a batch of prompts, and the IoU of the masks that the network would choose."""

    mask: Float[Tensor, ""]
    score: Float[Tensor, ""]
    presence: Float[Tensor, ""]
    chosen_iou: Float[Tensor, ""]
    best_iou: Float[Tensor, ""]


class Emphasis(NamedTuple):
    """The weight of the candidates that are not the best, and of the focal term beside Dice."""

    others: float
    focal: float


# A first prompt may mean several things, so its candidates are left to differ. Weights were chosen
# by training on: `dev/LOG.md`, third stretch.
FIRST = Emphasis(others=0.05, focal=0.2)
LATER = Emphasis(others=0.3, focal=1.0)


def mask_losses(
    answer: MaskLogits,
    blend: Float[Tensor, "n 36 h w"],
    truth: Float[Tensor, "n 2*h 2*w"],
    *,
    emphasis: Emphasis = LATER,
) -> MaskLosses:
    """Reward the best candidate of each prompt, and the rest by `emphasis.others` of it.

    Candidates are compared at stride 4 and the best of them is taught at stride 2 as well. The mask
    term is `emphasis.focal` times the normalised focal loss of RITM (Sofiiuk et al. 2021, section
    3.3) plus a soft Dice loss; scores learn the IoU that each candidate has. A prompt with an empty
    truth, where there is no object, teaches presence only.

    The focal term asks for the chance of each pixel, and of an object of unclear extent leaves out
    what is less likely than not; Dice asks for the mask of highest expected overlap, whose pixels
    need only half that overlap as their chance (Lipton et al. 2014). A little of the first keeps
    outlines sharp.
    """
    others, focal = emphasis
    rows = torch.arange(len(truth), device=truth.device)
    target = functional.avg_pool2d(truth[:, None], 2).expand_as(answer.logits)
    each = focal * normalised_focal(answer.logits, target) + soft_dice(answer.logits, target)  # n m
    best = each.argmin(dim=1)
    fine = blended(answer.logits[rows, best][:, None], blend)
    wide = truth[:, None]
    taught = (focal * normalised_focal(fine, wide) + soft_dice(fine, wide))[:, 0]
    each_prompt = (each[rows, best] + taught) / 2 + others * each.mean(dim=1)

    with torch.no_grad():
        iou = hard_iou(blended(answer.logits, blend) > 0, truth[:, None] >= 0.5)
    present = (truth.amax(dim=(1, 2)) > 0).float()
    count = present.sum().clamp_min(1)
    score = score_loss(answer.scores.float(), iou)
    presence = functional.binary_cross_entropy_with_logits(answer.presence.float(), present)
    chosen = iou[rows, answer.scores.argmax(dim=1)]
    return MaskLosses(
        (each_prompt * present).sum() / count / (1 + others),
        (score * present).sum() / count,
        presence,
        (chosen * present).sum() / count,
        (iou.amax(dim=1) * present).sum() / count,
    )


def score_loss(scores: Float[Tensor, "n m"], iou: Float[Tensor, "n m"]) -> Float[Tensor, " n"]:
    """How wrong predicted IoUs are, and how wrong their order is.

    Cross-entropy, whose gradient does not fade where a score is far off, and a softmax over the
    candidates that rewards putting the better one first; a tenth of IoU counts as clearly better.
    """
    level = functional.binary_cross_entropy(scores, iou, reduction="none").mean(dim=1)
    order = functional.cross_entropy(10 * scores, (10 * iou).softmax(dim=1), reduction="none")
    return level + order


def normalised_focal(
    logits: Float[Tensor, "n m h w"], target: Float[Tensor, "n m h w"], *, gamma: float = 2.0
) -> Float[Tensor, "n m"]:
    """Focal loss whose pixel weights sum to one, so that small things count like large ones."""
    entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    miss = (logits.sigmoid() - target).abs().detach().pow(gamma)
    return (entropy * miss).sum(dim=(2, 3)) / (miss.sum(dim=(2, 3)) + 1.0)


def soft_dice(
    logits: Float[Tensor, "n m h w"], target: Float[Tensor, "n m h w"]
) -> Float[Tensor, "n m"]:
    """One minus the Dice overlap of soft masks."""
    chance = logits.sigmoid()
    shared = (chance * target).sum(dim=(2, 3))
    return 1 - (2 * shared + 1) / (chance.sum(dim=(2, 3)) + target.sum(dim=(2, 3)) + 1)


def hard_iou(
    masks: Bool[Tensor, "n m h w"], target: Bool[Tensor, "n _ h w"]
) -> Float[Tensor, "n m"]:
    """IoU of thresholded masks; one for two empty ones."""
    shared = (masks & target).sum(dim=(2, 3)).float()
    union = (masks | target).sum(dim=(2, 3)).float()
    return torch.where(union > 0, shared / union.clamp_min(1), 1.0)


def outline_loss(
    chance: Float[Tensor, "b h w"], edges: Bool[Tensor, "b h w"], known: Bool[Tensor, "b h w"]
) -> Float[Tensor, ""]:
    """Cross-entropy of the learned outline; edges weigh more, the unknown background little."""
    weight = torch.where(edges, 2.0, 1.0) * torch.where(known, 1.0, 0.1)
    entropy = functional.binary_cross_entropy(chance.clamp(0, 1), edges.float(), reduction="none")
    return (entropy * weight).sum() / weight.sum()
