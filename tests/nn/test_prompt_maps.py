"""Prompt maps against what a person would draw by hand on a tiny grid."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from promptseg.nn.outputs import PromptTensors
from promptseg.nn.tiny import prompt_maps
from promptseg.nn.tiny.encoder import TinyFeatures

HEADS = 2
H, W = 4, 6  # a grid of 24 x 16 pixels


def features() -> TinyFeatures:
    """An image of two halves: appearance and costs change between columns 2 and 3."""
    appearance = torch.zeros(1, 4, H, W)
    appearance[:, 0::2, :, :3] = 1.0
    appearance[:, 1::2, :, 3:] = 1.0
    costs = torch.full((1, 2, H, W), 0.1)
    costs[..., 3] = 5.0
    grids = [torch.zeros(1, 1, H >> i, W >> i) for i in range(4)]
    return TinyFeatures(*grids, appearance, costs, torch.ones(1, 2, H, W), torch.zeros(1, 36, H, W))


def asked(*, points=(), labels=(), box=None, hint=None) -> PromptTensors:
    """One object; points as (x, y) in pixels."""
    return PromptTensors(
        torch.tensor([points or [(0.0, 0.0)]], dtype=torch.float32),
        torch.tensor([labels or [-1]]),
        torch.tensor([box or [0.0, 0, 0, 0]], dtype=torch.float32),
        torch.tensor([box is not None]),
        torch.zeros(1, 2 * H, 2 * W) if hint is None else hint,
        torch.tensor([hint is not None]),
    )


def drawn(prompts: PromptTensors) -> torch.Tensor:
    maps = prompt_maps.draw(features(), prompts, heads=HEADS, sweeps=2)[0]
    assert maps.shape == (prompt_maps.map_count(HEADS), H, W)
    return maps


def test_the_middle_of_a_cell_is_a_whole_number():
    """Continuous coordinates: the second cell of four pixels spans 4 to 8."""
    places = prompt_maps.cells(asked(points=[(6.0, 10.0), (4.0, 8.0)], labels=[1, 1]))[0]
    np.testing.assert_allclose(places, [[1.0, 2.0], [0.5, 1.5]])


def test_sampling_mixes_neighbours_and_repeats_the_edge():
    """Half-way between two cells is their mean; outside, the nearest cell."""
    grid = torch.arange(6.0).view(1, 1, 2, 3)
    places = torch.tensor([[[0.5, 0.0], [1.0, 0.5], [-3.0, 0.0], [9.0, 9.0]]])
    sampled = prompt_maps.sample(grid, places)[0, 0]
    assert sampled.tolist() == pytest.approx([0.5, 2.5, 0.0, 5.0], abs=1e-6)


def test_a_click_is_a_bump_of_its_own_label():
    """Maps 0 and 1 peak at the included point, 2 and 3 are empty, 4 says that there is one."""
    maps = drawn(asked(points=[(6.0, 10.0)], labels=[1]))
    for bump in maps[:2]:
        assert bump[2, 1] == pytest.approx(1.0)
        assert bump.argmax() == 2 * W + 1
    assert maps[0, 2, 2] == pytest.approx(np.exp(-0.5))
    assert maps[1, 2, 2] == pytest.approx(np.exp(-1 / 128))
    assert maps[2:4].max() == 0
    assert (maps[4] == 1).all()


def test_a_box_is_its_share_of_each_cell_and_a_bulge():
    """A box over a cell and a half; the bulge is one in the middle and -1 at most outside."""
    maps = drawn(asked(box=[4.0, 4, 10, 8]))
    np.testing.assert_allclose(maps[5, 1], [0, 1, 0.5, 0, 0, 0])
    assert maps[5].sum() == 1.5
    assert (maps[6] == 1).all()
    bulge = maps[-1]
    assert bulge[1, 1] == pytest.approx(1 - (0.25 / 0.75) ** 2)
    assert bulge.min() == -1


def test_a_hint_is_averaged_and_bounded():
    """Four logits to a cell, kept within limits, and their chance beside them."""
    hint = torch.zeros(1, 2 * H, 2 * W)
    hint[0, :2, :2] = torch.tensor([[4.0, 4.0], [100.0, 0.0]])
    maps = drawn(asked(hint=hint))
    assert maps[7, 0, 0] == pytest.approx((4 + 4 + 8 + 0) / 4 / 4)
    assert maps[8, 0, 0] == pytest.approx(1 / (1 + np.exp(-4.0)))
    assert maps[8, 3, 3] == 0.5
    assert (maps[9] == 1).all()


def test_distance_grows_across_the_costly_column():
    """A click left of the wall is near everything left of it and far from what lies behind."""
    maps = drawn(asked(points=[(2.0, 2.0)], labels=[1]))
    near = maps[10]
    assert near[0, 0] == 0
    assert near[0, 1] == pytest.approx(0.1 / 1.1)
    assert near[0, 4] > 0.8


def test_likeness_tells_the_halves_apart():
    """With a click on each half, included likeness is 1 on the left, excluded on the right."""
    maps = drawn(asked(points=[(2.0, 2.0), (23.0, 2.0)], labels=[1, 0]))
    included, excluded = maps[18 : 18 + HEADS], maps[18 + HEADS : 18 + 2 * HEADS]
    assert included[:, :, :3].min() == included[:, :, :3].max() == 1
    assert included[:, :, 3:].abs().max() == 0
    assert excluded[:, :, 3:].min() == 1


def test_nothing_said_is_nothing_drawn():
    """Maps of a prompt with padding only: no bump, no box, no hint, likeness at its floor."""
    maps = drawn(asked())
    assert maps[:10].abs().max() == 0
    assert (maps[18 : 18 + 2 * HEADS] == -1).all()
