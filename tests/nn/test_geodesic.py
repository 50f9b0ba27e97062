"""Geodesic distance on hand-worked grids and against Dijkstra."""

from __future__ import annotations

import heapq

import numpy as np
import pytest
import torch

from promptseg.nn.tiny.geodesic import FAR, geodesic_distance


def dijkstra(costs: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """The slow, obvious twin: cheapest 4-connected path, a step costs the mean of its cells."""
    distance = np.where(seeds, 0.0, np.inf)
    queue = [(0.0, cell) for cell in zip(*np.nonzero(seeds), strict=True)]
    while queue:
        so_far, (y, x) = heapq.heappop(queue)
        for v, u in ((y, x + 1), (y, x - 1), (y + 1, x), (y - 1, x)):
            if 0 <= v < costs.shape[0] and 0 <= u < costs.shape[1]:
                cost = so_far + (costs[y, x] + costs[v, u]) / 2
                if cost < distance[v, u]:
                    distance[v, u] = cost
                    heapq.heappush(queue, (cost, (v, u)))
    return distance


def test_distance_on_a_flat_grid_is_the_number_of_steps() -> None:
    """With unit costs the distance is the city-block distance."""
    seeds = torch.zeros(1, 3, 5, dtype=torch.bool)
    seeds[0, 0, 0] = True

    distance = geodesic_distance(torch.ones(1, 3, 5), seeds, sweeps=1)

    assert distance[0, 2, 4] == pytest.approx(6)


def test_a_wall_is_walked_round() -> None:
    """A costly column with a gap is passed through the gap."""
    costs = torch.ones(1, 3, 3)
    costs[0, :2, 1] = 100
    seeds = torch.zeros(1, 3, 3, dtype=torch.bool)
    seeds[0, 0, 0] = True

    distance = geodesic_distance(costs, seeds, sweeps=3)

    assert distance[0, 0, 2] == pytest.approx(6)


def test_nothing_is_near_without_a_seed() -> None:
    """Every cell is far when there is nowhere to start."""
    seeds = torch.zeros(2, 3, 5, dtype=torch.bool)
    assert (geodesic_distance(torch.rand(2, 3, 5), seeds, sweeps=2) == FAR).all()


def test_enough_sweeps_agree_with_dijkstra() -> None:
    """The sweeps end at the cheapest path on random costs."""
    rng = np.random.default_rng(0)
    costs = rng.uniform(0.02, 1.0, (11, 13))
    seeds = rng.random((11, 13)) < 0.03
    seeds[5, 7] = True

    swept = geodesic_distance(
        torch.from_numpy(costs)[None].float(), torch.from_numpy(seeds)[None], sweeps=20
    )

    np.testing.assert_allclose(swept[0].numpy(), dijkstra(costs, seeds), atol=1e-4)


def test_few_sweeps_bound_the_distance_from_above() -> None:
    """Fewer sweeps never say that something is nearer than it is."""
    rng = np.random.default_rng(1)
    costs = torch.from_numpy(rng.uniform(0.02, 1.0, (1, 17, 19))).float()
    seeds = torch.zeros(1, 17, 19, dtype=torch.bool)
    seeds[0, 3, 3] = True

    few = geodesic_distance(costs, seeds, sweeps=1)
    many = geodesic_distance(costs, seeds, sweeps=20)

    assert (few >= many - 1e-4).all()
