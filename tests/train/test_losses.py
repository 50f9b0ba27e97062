"""Losses on masks whose worth is known."""

from __future__ import annotations

import pytest
import torch

from promptseg.nn.outputs import MaskLogits
from promptseg.train import losses

# Each pixel is the cell that it lies in.
BLEND = torch.zeros(1, 36, 12, 12)
BLEND[:, 16:20] = 1
ALONE = losses.Emphasis(others=0.0, focal=1.0)


def square() -> torch.Tensor:
    """A square thing at stride 2."""
    truth = torch.zeros(1, 24, 24)
    truth[0, 4:16, 4:16] = 1
    return truth


def answer(*masks: torch.Tensor, scores: list[float]) -> MaskLogits:
    """Sure candidates at stride 4."""
    logits = torch.stack([20 * mask[0, ::2, ::2] - 10 for mask in masks])[None]
    return MaskLogits(logits, torch.tensor([scores]), torch.zeros(1))


def test_iou_of_half_a_mask() -> None:
    """Half of a square and nothing else has an IoU of one half."""
    half = square()
    half[0, 4:10] = 0
    iou = losses.hard_iou(half[:, None] > 0, square()[:, None] > 0)
    assert iou.item() == pytest.approx(0.5)


def test_emphasis_weighs_the_focal_term() -> None:
    """Without it Dice alone is left, and each share of it adds as much."""
    half = square()
    half[0, 4:10] = 0

    def loss(focal: float) -> float:
        emphasis = losses.Emphasis(others=0.0, focal=focal)
        drawn = answer(half, scores=[0.5])
        return losses.mask_losses(drawn, BLEND, square(), emphasis=emphasis).mask.item()

    assert loss(0.0) == pytest.approx(1 / 3, abs=0.01)  # 1 - 2 * 72 / (72 + 144)
    assert loss(1.0) - loss(0.5) == pytest.approx(loss(0.5) - loss(0.0))
    assert loss(1.0) > loss(0.0) + 1


def test_only_the_best_candidate_is_needed() -> None:
    """One right candidate among wrong ones leaves a mask loss near zero."""
    nothing = torch.zeros(1, 24, 24)
    taught = losses.mask_losses(
        answer(nothing, square(), 1 - square(), scores=[0.0, 1.0, 0.0]),
        BLEND,
        square(),
        emphasis=ALONE,
    )
    assert taught.mask.item() < 0.02
    assert taught.chosen_iou.item() == 1


def test_a_wrong_choice_is_reported() -> None:
    """The chosen IoU is that of the mask with the higher score, be it the wrong one."""
    taught = losses.mask_losses(
        answer(1 - square(), square(), scores=[1.0, 0.0]), BLEND, square(), emphasis=ALONE
    )
    assert taught.chosen_iou.item() == 0
    assert taught.best_iou.item() == 1


def test_an_empty_truth_teaches_presence_only() -> None:
    """Where there is no object, masks and scores cost nothing."""
    taught = losses.mask_losses(
        answer(square(), scores=[0.3]), BLEND, torch.zeros(1, 24, 24), emphasis=ALONE
    )
    assert taught.mask.item() == 0
    assert taught.score.item() == 0
    assert taught.presence.item() == pytest.approx(0.6931, abs=1e-3)


def test_small_things_count_like_large_ones() -> None:
    """The normalised focal loss of a flat answer does not depend on the size of the image."""
    small = losses.normalised_focal(torch.zeros(1, 1, 8, 8), torch.ones(1, 1, 8, 8))
    large = losses.normalised_focal(torch.zeros(1, 1, 64, 64), torch.ones(1, 1, 64, 64))
    assert small.item() == pytest.approx(large.item(), rel=0.1)


def test_scores_are_best_where_they_are_the_iou() -> None:
    """Neither a higher nor a lower score, nor a wrong order, costs less than the truth."""
    iou = torch.tensor([[0.2, 0.7, 0.6]])
    right = losses.score_loss(iou, iou).item()
    for wrong in ([0.3, 0.8, 0.7], [0.1, 0.6, 0.5], [0.2, 0.6, 0.7]):
        assert losses.score_loss(torch.tensor([wrong]), iou).item() > right
