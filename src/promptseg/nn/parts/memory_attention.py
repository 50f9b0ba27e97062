"""A frame looks at what is remembered of an object (SAM 2, Ravi 2024, section 4)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from promptseg.nn.parts.layers import Perceptron
from promptseg.nn.parts.positions import sine_positions
from promptseg.nn.parts.rotary import Turns, axial_turns, turned

# The share of an image's positions that is added to it (SAM 2, `MemoryAttention.forward`).
PLACED = 0.1


class Remembered(NamedTuple):
    """What is remembered of `n` objects, as tokens, with what is added where they are compared.

    The cells of whole grids come first, each grid as large as the image's; `loose` tokens after
    them have no place in the image.
    """

    tokens: Float[Tensor, "n s d"]
    places: Float[Tensor, "s d"]
    loose: int


class MemoryAttention(nn.Module):
    """Layers in which the cells of an image of `channels` look at memories, which are `narrow`."""

    def __init__(self, channels: int, *, narrow: int, layers: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            MemoryLayer(channels, narrow=narrow, hidden=hidden) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(channels)

    def forward(
        self, image: Float[Tensor, "#n c h w"], remembered: Remembered
    ) -> Float[Tensor, "n c h w"]:
        """Tell one image, or as many, what is remembered of `n` objects."""
        channels, height, width = image.shape[1:]
        placed = image + PLACED * sine_positions(channels, height, width).to(image)
        turns = axial_turns(channels, height, width, image.device)
        cells = placed.flatten(2).transpose(1, 2)  # n h*w c
        for layer in self.layers:
            cells = layer(cells, remembered, turns)
        return torch.unflatten(self.norm(cells).transpose(1, 2), 2, (height, width))


class MemoryLayer(nn.Module):
    """Cells look at each other and at memories, and think."""

    def __init__(self, channels: int, *, narrow: int, hidden: int) -> None:
        super().__init__()
        self.mixing_norm = nn.LayerNorm(channels)
        self.mixing = TurnedAttention(channels, outside=channels)
        self.recall_norm = nn.LayerNorm(channels)
        self.recall = TurnedAttention(channels, outside=narrow)
        self.mlp_norm = nn.LayerNorm(channels)
        self.mlp = Perceptron((channels, hidden, channels))

    def forward(
        self, cells: Float[Tensor, "#n l c"], remembered: Remembered, turns: Turns
    ) -> Float[Tensor, "n l c"]:
        """Look once."""
        normed = self.mixing_norm(cells)
        cells = cells + self.mixing(normed, normed, normed, turns)
        cells = cells + self.recall(
            self.recall_norm(cells),
            remembered.tokens + remembered.places,
            remembered.tokens,
            turns,
            loose=remembered.loose,
        )
        thought: Tensor = self.mlp(self.mlp_norm(cells))
        return cells + thought


class TurnedAttention(nn.Module):
    """Attention with one head, in which cells that are near each other are turned alike.

    Keys and values come in the width `outside`.
    """

    def __init__(self, channels: int, *, outside: int) -> None:
        super().__init__()
        self.queries = nn.Linear(channels, channels)
        self.keys = nn.Linear(outside, channels)
        self.values = nn.Linear(outside, channels)
        self.out = nn.Linear(channels, channels)

    def forward(
        self,
        queries: Float[Tensor, "#n l c"],
        keys: Float[Tensor, "n s d"],
        values: Float[Tensor, "n s d"],
        turns: Turns,
        loose: int = 0,
    ) -> Float[Tensor, "n l c"]:
        """Let every cell gather values by its likeness to keys; the last `loose` are not turned."""
        asking = turned(self.queries(queries), turns)
        placed, unplaced = self.keys(keys).split([keys.shape[1] - loose, loose], dim=1)
        known = torch.cat([turned(placed, turns), unplaced], dim=1)
        mixed = functional.scaled_dot_product_attention(
            asking[:, None].expand(len(keys), -1, -1, -1),
            known[:, None],
            self.values(values)[:, None],
        )
        gathered: Tensor = self.out(mixed[:, 0])
        return gathered
