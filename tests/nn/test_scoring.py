"""The evidence that scores are made of, by hand."""

from __future__ import annotations

import pytest
import torch

from promptseg.nn.outputs import PromptTensors
from promptseg.nn.tiny.encoder import TinyFeatures
from promptseg.nn.tiny.scoring import MEASURES, _agreement, _measures, _pooled

H, W = 4, 4
SURE = 20.0


def squares(*tops: int) -> torch.Tensor:
    """Candidates that are sure of two rows each, from the given one on."""
    logits = torch.full((1, len(tops), H, W), -SURE)
    for i, top in enumerate(tops):
        logits[0, i, top : top + 2] = SURE
    return logits


def test_agreement_is_the_iou_of_candidates():
    """The same mask has 1, half of it shared a third, nothing shared 0."""
    shared = _agreement(squares(0, 1, 2).sigmoid())[0]
    assert shared[0].tolist() == pytest.approx([1.0, 1 / 3, 0.0], abs=2e-3)
    assert torch.allclose(shared, shared.T)


def test_pooling_is_a_mean_over_the_mask():
    """What lies outside the weights does not count."""
    grid = torch.zeros(1, 1, H, W)
    grid[0, 0, :2], grid[0, 0, 2:] = 3.0, -5.0
    means = _pooled(grid, squares(0, 2).sigmoid())[0, :, 0]
    assert means.tolist() == pytest.approx([3.0, -5.0], rel=2e-3)


def test_measures_say_whether_prompts_are_kept():
    """A click in, a click out, and a box over the upper half, for the upper and the lower mask."""
    grids = [torch.zeros(1, 1, H, W)] * 4
    costs = torch.full((1, 2, H, W), 0.25)
    features = TinyFeatures(*grids, grids[0], costs, costs, torch.zeros(1, 36, H, W))
    prompts = PromptTensors(
        torch.tensor([[[6.0, 2.0], [6.0, 14.0]]]),
        torch.tensor([[1, 0]]),
        torch.tensor([[0.0, 0, 16, 8]]),
        torch.tensor([True]),
        torch.zeros(1, 2 * H, 2 * W),
        torch.tensor([False]),
    )
    logits = squares(0, 2)
    measures = _measures(logits, logits.sigmoid(), features, prompts)[0]
    assert measures.shape == (2, MEASURES)
    _, _, stable, _, _, kept, crossed, held, filled, like_hint, count = measures.unbind(dim=1)
    assert stable.tolist() == pytest.approx([8 / 9, 8 / 9])
    assert kept.tolist() == pytest.approx([1, 0], abs=1e-6)
    assert crossed.tolist() == pytest.approx([0, 1], abs=1e-6)
    assert held.tolist() == pytest.approx([8 / 9, 0], abs=1e-6)
    assert filled.tolist() == pytest.approx([8 / 9, 0], abs=1e-6)
    assert like_hint.tolist() == [0, 0]
    assert count.tolist() == [0.25, 0.25]
