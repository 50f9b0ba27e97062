"""Cells of a decoder enlarged fourfold, one by one, with what becomes of each kept together.

Transposed convolutions of 2 x 2 with stride 2 turn each cell into four, whatever lies beside it.
So they are matrix products here, and what a cell becomes stays together: its four parts, and the
four parts of each, in reading order, are side by side in its channels. Only finished logits, which
are few, are put in rows.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


def tile(grid: Float[Tensor, "b H W c"], side: int) -> Float[Tensor, "b H/{side} W/{side} _"]:
    """Put each `side x side` cells, a power of two, side by side in the channels of one."""
    while side > 1:
        rows = torch.unflatten(torch.unflatten(grid, 2, (-1, 2)), 1, (-1, 2))
        grid = rows.transpose(2, 3).flatten(3)  # b H/2 W/2 4*c
        side //= 2
    return grid


def untile(tiles: Float[Tensor, "n m s"], height: int) -> Float[Tensor, "n m 4*{height} W"]:
    """Put the 16 parts of each cell, in the order of `tile`, in rows of a map."""
    parts = torch.unflatten(tiles, 2, (height, -1, 2, 2, 2, 2))  # n m h w y x y x
    planes = parts.permute(0, 1, 4, 6, 5, 7, 2, 3).flatten(1, 5)  # n m*y*y*x*x h w
    return functional.pixel_shuffle(planes, 4)


def as_product(layer: nn.ConvTranspose2d) -> Float[Tensor, "_ c"]:
    """Return the weights of a transposed convolution as those of a linear layer on cells."""
    return layer.weight.permute(2, 3, 1, 0).flatten(0, 2)
