"""A frame looks at what is remembered of an object (SAM 2, Ravi 2024, section 4)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from promptseg.nn.parts.attention import as_shares
from promptseg.nn.parts.layers import Perceptron
from promptseg.nn.parts.positions import sine_positions
from promptseg.nn.parts.products import linear
from promptseg.nn.parts.rotary import Turns, axial_turns, turned

# The share of an image's positions that is added to it (SAM 2, `MemoryAttention.forward`).
PLACED = 0.1
# Queries that a CPU takes at a time, and cells that think together. So attention needs 0.65 to 0.75
# of the time of torch's fused one, at 4096 and at 28736 keys of 256 channels, and what lies between
# stays below 32 MB, from which on glibc gives memory back and takes it anew each time (one Zen 5
# core: three objects took 5.1 s with these, and 7.1 s with 256 and 16384).
AT_A_TIME, ROWS = 192, 2048


class Remembered(NamedTuple):
    """What is remembered of one object, as tokens, with what is added where they are compared.

    The cells of whole grids come first, each grid as large as the image's; `loose` tokens after
    them have no place in the image.
    """

    tokens: Float[Tensor, "s d"]
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
        self, image: Float[Tensor, "#n c h w"], remembered: Sequence[Remembered]
    ) -> Float[Tensor, "n c h w"]:
        """Tell one image, or as many, what is remembered of `n` objects, be it much or little.

        Until they look at memories for the first time the cells of one image are the same for all.
        """
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
        self.mixing = Mixing(channels, outside=channels)
        self.recall_norm = nn.LayerNorm(channels)
        self.recall = Recall(channels, outside=narrow)
        self.mlp_norm = nn.LayerNorm(channels)
        self.mlp = Perceptron((channels, hidden, channels), rows=ROWS)

    def forward(
        self, cells: Float[Tensor, "#n l c"], remembered: Sequence[Remembered], turns: Turns
    ) -> Float[Tensor, "n l c"]:
        """Look once."""
        normed = self.mixing_norm(cells)
        cells = cells + self.mixing(normed, turns)
        cells = cells + self.recall(self.recall_norm(cells), remembered, turns)
        thought: Tensor = self.mlp(self.mlp_norm(cells))
        return cells + thought


class TurnedAttention(nn.Module):
    """Weights of attention with one head, whose keys and values come in the width `outside`.

    Cells that are near each other are turned alike before they are compared.
    """

    def __init__(self, channels: int, *, outside: int) -> None:
        super().__init__()
        self.queries = nn.Linear(channels, channels)
        self.keys = nn.Linear(outside, channels)
        self.values = nn.Linear(outside, channels)
        self.out = nn.Linear(channels, channels)


class Mixing(TurnedAttention):
    """The cells of an image look at each other."""

    def forward(self, cells: Float[Tensor, "n l c"], turns: Turns) -> Float[Tensor, "n l c"]:
        """Let every cell gather from all cells by their likeness."""
        asking, known = turned(self.queries(cells), turns), turned(self.keys(cells), turns)
        rows = zip(asking, known, self.values(cells), strict=True)
        gathered: Tensor = self.out(torch.stack([gather_values(*row) for row in rows]))
        return gathered


class Recall(TurnedAttention):
    """The cells of an image look at memories, those of each object at its own."""

    def forward(
        self, cells: Float[Tensor, "#n l c"], remembered: Sequence[Remembered], turns: Turns
    ) -> Float[Tensor, "n l c"]:
        """Let every cell gather memories by its likeness to them in their places.

        Memories are gathered as narrow as they are, and become values afterwards: shares sum to 1,
        so the bias of values comes out the same.
        """
        asking = turned(self.queries(cells), turns)
        rows = asking.expand(len(remembered), -1, -1)
        mixed = [
            gather_values(row, self._known(each, turns), each.tokens)
            for row, each in zip(rows, remembered, strict=True)
        ]
        gathered: Tensor = self.out(self.values(torch.stack(mixed)))
        return gathered

    def _known(self, remembered: Remembered, turns: Turns) -> Float[Tensor, "s c"]:
        """Make the keys of memories; loose ones are not turned."""
        keys = self.keys(remembered.tokens + remembered.places)
        placed, unplaced = keys.split([len(keys) - remembered.loose, remembered.loose])
        return torch.cat([turned(placed[None], turns)[0], unplaced])


def gather_values(
    queries: Float[Tensor, "l c"], keys: Float[Tensor, "s c"], values: Float[Tensor, "s d"]
) -> Float[Tensor, "l d"]:
    """Let every query gather values by its likeness to their keys, which may be wider."""
    if queries.device.type != "cpu":
        return functional.scaled_dot_product_attention(
            queries[None, None], keys[None, None], values[None, None]
        )[0, 0]
    scaled, columns = keys / math.sqrt(keys.shape[1]), values.T.contiguous()
    parts = [
        linear(as_shares(linear(some, scaled)), columns) for some in torch.split(queries, AT_A_TIME)
    ]
    return torch.cat(parts)
