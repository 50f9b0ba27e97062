"""An image is told what is asked of it (SAM 3, Carion 2025), by layers as in DETR (Carion 2020)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from promptseg.nn.parts.attention import Attention, ImageToTokens, attend, join_heads, split_heads
from promptseg.nn.parts.layers import Perceptron, at_a_time
from promptseg.nn.sam3.exemplars import Question

# Cells that a CPU thinks about at a time: between, they are eight times as wide.
CELLS = 1024


class Fusion(nn.Module):
    """Layers in which the cells of an image look at each other and at a question.

    They look at each other first, which no question changes: `mix` does that, once per image.
    """

    def __init__(self, channels: int, *, heads: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            FusionLayer(channels, heads=heads, hidden=hidden) for _ in range(layers)
        )

    def mix(
        self, image: Float[Tensor, "b h w c"], places: Float[Tensor, "h w c"]
    ) -> Float[Tensor, "b h w c"]:
        """Let the cells of each image look at each other for the first time."""
        first = self.layers[0]
        assert isinstance(first, FusionLayer)
        return first.mix(image.flatten(1, 2), places.flatten(0, 1)).reshape(image.shape)

    def forward(
        self, mixed: Float[Tensor, "_ s c"], places: Float[Tensor, "s c"], question: Question
    ) -> Float[Tensor, "n s c"]:
        """Ask `n` questions of one image that is mixed already, or of as many."""
        first = self.layers[0]
        assert isinstance(first, FusionLayer)
        cells = first.ask(mixed, question)
        for layer in self.layers[1:]:
            cells = layer(cells, places, question)
        return cells


class FusionLayer(nn.Module):
    """Cells look at each other and at a question, and think."""

    def __init__(self, channels: int, *, heads: int, hidden: int) -> None:
        super().__init__()
        self.mixing_norm = nn.LayerNorm(channels)
        self.mixing = Mixing(channels, heads=heads, inner=channels)
        self.asking_norm = nn.LayerNorm(channels)
        self.asking = ImageToTokens(channels, heads=heads, inner=channels)
        self.mlp_norm = nn.LayerNorm(channels)
        self.mlp = Perceptron((channels, hidden, channels))

    def forward(
        self, cells: Float[Tensor, "n s c"], places: Float[Tensor, "s c"], question: Question
    ) -> Float[Tensor, "n s c"]:
        """Return the cells, knowing more."""
        return self.ask(self.mix(cells, places), question)

    def mix(
        self, cells: Float[Tensor, "n s c"], places: Float[Tensor, "s c"]
    ) -> Float[Tensor, "n s c"]:
        """Let cells look at each other."""
        normed = self.mixing_norm(cells)
        mixed: Tensor = cells + self.mixing(normed + places, normed)
        return mixed

    def ask(self, cells: Float[Tensor, "_ s c"], question: Question) -> Float[Tensor, "n s c"]:
        """Let cells look at a question, and think."""
        tokens, attended = question
        cells = cells + self.asking(self.asking_norm(cells), tokens, tokens, attended)
        portions = torch.split(cells.flatten(0, 1), at_a_time(cells, CELLS))
        thoughts = [some + self.mlp(self.mlp_norm(some)) for some in portions]
        return torch.cat(thoughts).reshape(cells.shape)


class Mixing(Attention):
    """Attention of the many cells of an image to each other."""

    def forward(  # type: ignore[override]
        self, placed: Float[Tensor, "n s c"], cells: Float[Tensor, "n s c"]
    ) -> Float[Tensor, "n s c"]:
        """Let every cell gather from the others by the likeness of both in their places."""
        mixed = attend(
            split_heads(self.queries(placed), self.heads),
            split_heads(self.keys(placed), self.heads),
            split_heads(self.values(cells), self.heads),
        )
        gathered: Tensor = self.out(join_heads(mixed))
        return gathered
