"""Distances along the cheapest path over a grid of costs: what a watershed knows, smooth."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

FAR = 1000.0


def geodesic_distance(
    costs: Float[Tensor, "n h w"], seeds: Bool[Tensor, "n h w"], *, sweeps: int
) -> Float[Tensor, "n h w"]:
    """Distance of every cell from the nearest seed, where a step costs the mean of its two cells.

    Each sweep relaxes whole rows and columns in both directions, so paths of up to `2 * sweeps`
    straight stretches are exact and longer ones are bounded from above. `FAR` where nothing was
    reached or there is no seed. Always in float32.
    """
    # The axis that is walked along comes first, so that every step of it is one block of memory.
    by_column = costs.float().permute(2, 1, 0).contiguous()  # w h n
    by_row = by_column.transpose(0, 1).contiguous()  # h w n
    across, down = _travel(by_column), _travel(by_row)
    distance = torch.full_like(by_column, FAR).masked_fill(seeds.permute(2, 1, 0), 0.0)
    for _ in range(sweeps):
        distance = _relax(distance, across).transpose(0, 1).contiguous()
        distance = _relax(distance, down).transpose(0, 1).contiguous()
    return distance.permute(2, 1, 0).contiguous()


def _travel(costs: Float[Tensor, "l _ n"]) -> Float[Tensor, "l _ n"]:
    """Cost of walking from the first cell of each line to every cell of it."""
    half = costs / 2
    return costs.cumsum(0) - half - half[:1]


def _relax(
    distance: Float[Tensor, "l _ n"], travel: Float[Tensor, "l _ n"]
) -> Float[Tensor, "l _ n"]:
    """Walk all lines both ways at once: the way back is the way there on flipped lines."""
    both = torch.stack([distance - travel, (distance + travel).flip(0)], dim=1)
    forward, backward = _least_so_far(both).unbind(dim=1)
    return torch.minimum(forward + travel, backward.flip(0) - travel).clamp_(0.0, FAR)


def _least_so_far(values: Float[Tensor, "l 2 _ n"]) -> Float[Tensor, "l 2 _ n"]:
    """Running minimum along the first axis, by doubling strides: far quicker than `cummin`."""
    spare = torch.empty_like(values)
    stride = 1
    while stride < len(values):
        spare[:stride] = values[:stride]
        torch.minimum(values[stride:], values[:-stride], out=spare[stride:])
        values, spare = spare, values
        stride *= 2
    return values
