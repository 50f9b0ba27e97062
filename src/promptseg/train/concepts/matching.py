"""Which slot answers for which thing: the cheapest pairing (Carion 2020, DETR, section 3.1)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

# Of score, corners and overlap; as Deformable DETR weighs them (Zhu 2021, A.4).
SCORE_COST, CORNER_COST, OVERLAP_COST = 2.0, 5.0, 2.0


class Pairs(NamedTuple):
    """Slots that answer for things: number of the question, of the slot, of the thing."""

    question: Int[Tensor, " p"]
    slot: Int[Tensor, " p"]
    thing: Int[Tensor, " p"]


@torch.no_grad()
def matched(
    logits: Float[Tensor, "n q"],
    boxes: Float[Tensor, "n q 4"],
    things: Float[Tensor, "n t 4"],
    there: Bool[Tensor, "n t"],
) -> Pairs:
    """Pair every thing that is `there` with a slot of its question, each with one at most.

    Boxes are x0 y0 x1 y1 as shares of the image. A slot costs less the surer it is and the closer
    its box. Where there are too few slots, the cheapest pairs of all are made.
    """
    cost = (
        SCORE_COST * score_cost(logits)[..., None]
        + CORNER_COST * (boxes[:, :, None] - things[:, None]).abs().sum(dim=-1)
        - OVERLAP_COST * generalised_iou(boxes[:, :, None], things[:, None])
    )  # n q t
    pairs: list[tuple[int, int, int]] = []
    for question, (costs, real) in enumerate(zip(cost.cpu(), there.cpu(), strict=True)):
        numbers = real.nonzero()[:, 0]
        slots, columns = linear_sum_assignment(costs[:, numbers].numpy())
        pairs += [
            (question, int(slot), int(numbers[column]))
            for slot, column in zip(slots, columns, strict=True)
        ]
    table = torch.tensor(pairs, dtype=torch.int64, device=logits.device).reshape(-1, 3)
    return Pairs(*table.T)


def score_cost(
    logits: Float[Tensor, "n q"], *, positive: float = 0.25, gamma: float = 2.0
) -> Float[Tensor, "n q"]:
    """How much dearer it is to call a slot a thing than to call it none (Zhu 2021, focal)."""
    chance = logits.float().sigmoid().clamp(1e-6, 1 - 1e-6)
    thing = -positive * (1 - chance) ** gamma * chance.log()
    nothing = -(1 - positive) * chance**gamma * (1 - chance).log()
    return thing - nothing


def generalised_iou(
    boxes: Float[Tensor, "*#s 4"], others: Float[Tensor, "*#s 4"]
) -> Float[Tensor, ...]:
    """IoU less the share of the box round both that neither fills (Rezatofighi 2019), -1 to 1.

    A box whose corners are crossed has no area.
    """
    shared = _area(
        torch.cat(
            [
                torch.maximum(boxes[..., :2], others[..., :2]),
                torch.minimum(boxes[..., 2:], others[..., 2:]),
            ],
            dim=-1,
        )
    )
    union = _area(boxes) + _area(others) - shared
    round_both = _area(
        torch.cat(
            [
                torch.minimum(boxes[..., :2], others[..., :2]),
                torch.maximum(boxes[..., 2:], others[..., 2:]),
            ],
            dim=-1,
        )
    )
    return shared / union.clamp_min(1e-7) - 1 + union / round_both.clamp_min(1e-7)


def _area(boxes: Float[Tensor, "*s 4"]) -> Float[Tensor, "*s"]:
    sides = (boxes[..., 2:] - boxes[..., :2]).clamp_min(0)
    return sides[..., 0] * sides[..., 1]
