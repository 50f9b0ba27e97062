"""Matching and losses of finding: what is worked out by hand, and what must hold whatever comes."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from promptseg.nn.outputs import Detections
from promptseg.train.concepts.losses import Truth, binary_focal, find_losses, mask_loss
from promptseg.train.concepts.matching import (
    CORNER_COST,
    OVERLAP_COST,
    SCORE_COST,
    generalised_iou,
    matched,
    score_cost,
)


def test_generalised_iou_by_hand() -> None:
    """One where equal, a third less nothing for halves that share, and below nought when apart."""
    box = torch.tensor([0.0, 0.0, 2.0, 1.0])
    same, beside, apart = box, torch.tensor([1.0, 0, 3, 1]), torch.tensor([4.0, 0, 6, 1])

    assert generalised_iou(box, same).item() == pytest.approx(1)
    assert generalised_iou(box, beside).item() == pytest.approx(1 / 3)
    assert generalised_iou(box, apart).item() == pytest.approx(-1 + 4 / 6)


def test_a_sure_slot_is_cheaper() -> None:
    """The cost of a slot falls as its score rises."""
    costs = score_cost(torch.tensor([[-9.0, -1.0, 0.0, 2.0, 9.0]]))[0]
    assert (costs.diff() < 0).all()


@given(st.integers(0, 2**32), st.integers(1, 3))
def test_pairs_are_the_cheapest_there_are(seed: int, count: int) -> None:
    """No other way to give each thing a slot of its own costs less."""
    torch.manual_seed(seed)
    logits, boxes = torch.randn(1, 5), _boxes(1, 5)
    things = _boxes(1, 3)
    there = torch.tensor([[i < count for i in range(3)]])
    pairs = matched(logits, boxes, things, there)

    cost = (
        SCORE_COST * score_cost(logits)[0, :, None]
        + CORNER_COST * torch.cdist(boxes, things, p=1)[0]
        - OVERLAP_COST * generalised_iou(boxes[0, :, None], things[0, None])
    )
    least = min(
        sum(float(cost[slot, thing]) for thing, slot in enumerate(slots))
        for slots in permutations(range(5), count)
    )
    assert sorted(pairs.thing.tolist()) == list(range(count))
    assert len(set(pairs.slot.tolist())) == count
    assert cost[pairs.slot, pairs.thing].sum().item() == pytest.approx(least, abs=1e-4)


def test_things_beyond_the_slots_are_left_out() -> None:
    """Two slots answer for two of three things; a question without things has no pairs."""
    there = torch.tensor([[False, False, False], [True, True, True]])
    pairs = matched(torch.zeros(2, 2), _boxes(2, 2), _boxes(2, 3), there)

    assert pairs.question.tolist() == [1, 1]
    assert sorted(pairs.slot.tolist()) == [0, 1]


def test_focal_loss_by_hand() -> None:
    """At a chance of a half it is a quarter of the cross-entropy."""
    loss = binary_focal(torch.zeros(1), torch.ones(1))
    assert loss.item() == pytest.approx(0.25 * 0.693147, abs=1e-5)


def test_a_perfect_answer_costs_next_to_nothing() -> None:
    """Sure slots in the right boxes, and a presence that is sure, leave no loss."""
    truth = _truth()
    logits = torch.full((2, 5), -12.0)
    logits[0, :2] = 12.0
    boxes = _boxes(2, 5)
    boxes[0, :2] = truth.boxes[0, :2]
    losses, pairs = find_losses([_found(logits, boxes, torch.tensor([12.0, -12.0]))], truth)

    assert sorted(pairs.slot.tolist()) == [0, 1]
    assert max(float(loss) for loss in losses) < 1e-4


def test_slots_learn_nothing_from_what_is_absent() -> None:
    """Only presence does: a question without an answer gives no gradient to its slots."""
    logits = torch.zeros(2, 5, requires_grad=True)
    presence = torch.zeros(2, requires_grad=True)
    losses, _ = find_losses([_found(logits, _boxes(2, 5), presence)], _truth())
    torch.autograd.backward(losses.score + losses.presence)

    assert logits.grad is not None
    assert presence.grad is not None
    assert logits.grad[0].abs().min() > 0
    assert not logits.grad[1].any()
    assert presence.grad[0] < 0 < presence.grad[1]


def test_every_layer_counts() -> None:
    """The losses are means over layers, each matched by itself."""
    truth = _truth()
    one = _found(torch.randn(2, 5), _boxes(2, 5), torch.randn(2))
    other = _found(torch.randn(2, 5), _boxes(2, 5), torch.randn(2))
    together, _ = find_losses([one, other], truth)
    alone = [find_losses([found], truth)[0] for found in (one, other)]

    for mean, first, second in zip(together, *alone, strict=True):
        torch.testing.assert_close(mean, (first + second) / 2)


def test_masks_of_nothing_cost_nothing() -> None:
    """Where no question has an answer there is no mask to teach."""
    assert mask_loss(torch.zeros(0, 3, 5), torch.zeros(0, 3, 5)).item() == 0


def test_a_mask_that_fits_costs_less() -> None:
    """Loss falls from the opposite, over nothing, to the truth."""
    truth = (torch.arange(35).reshape(1, 5, 7) % 3 == 0).float()
    losses = [mask_loss(scale * (2 * truth - 1), truth).item() for scale in (-9.0, 0.0, 9.0)]

    assert losses[0] > losses[1] > losses[2]
    assert losses[2] < 0.01


def _boxes(questions: int, count: int) -> torch.Tensor:
    start = torch.rand(questions, count, 2) * 0.5
    return torch.cat([start, start + 0.1 + 0.4 * torch.rand(questions, count, 2)], dim=2)


def _truth() -> Truth:
    there = torch.tensor([[True, True, False], [False, False, False]])
    return Truth(_boxes(2, 3), torch.zeros(2, 3, 4, 4), there)


def _found(logits: torch.Tensor, boxes: torch.Tensor, presence: torch.Tensor) -> Detections:
    count, slots = logits.shape
    return Detections(
        logits,
        boxes,
        presence,
        torch.zeros(count, slots, 4),
        torch.zeros(count, 6, 4),
        torch.zeros(count, 2, 4),
        torch.ones(count, 2, dtype=torch.bool),
    )
