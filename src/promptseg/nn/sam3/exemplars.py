"""What example boxes show, as tokens of a question (SAM 3, Carion 2025)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from promptseg.nn.parts.attention import Attention, TokensToImage
from promptseg.nn.parts.layers import Perceptron
from promptseg.nn.parts.positions import sines
from promptseg.nn.parts.products import Linear
from promptseg.nn.sam3.roi import pool_boxes


class Question(NamedTuple):
    """What `n` questions are made of, token by token; only `attended` ones count."""

    tokens: Float[Tensor, "n l c"]
    attended: Bool[Tensor, "n l"]


class ExemplarEncoder(nn.Module):
    """Tokens of example boxes, and one of the whole image, which a question has without any box."""

    def __init__(self, channels: int, *, heads: int, hidden: int, layers: int, roi: int) -> None:
        super().__init__()
        self.labels = nn.Parameter(torch.randn(2, channels))
        self.summary = nn.Parameter(torch.randn(1, channels))
        self.span = Linear(4, channels)
        self.place = Linear(channels + 2, channels)
        self.image_norm = nn.LayerNorm(channels)
        self.content = nn.Conv2d(channels, channels, roi)
        self.project = Linear(channels, channels)
        self.norm = nn.LayerNorm(channels)
        self.layers = nn.ModuleList(
            ExemplarLayer(channels, heads=heads, hidden=hidden) for _ in range(layers)
        )
        self.out_norm = nn.LayerNorm(channels)

    def forward(
        self,
        image: Float[Tensor, "_ h w c"],
        places: Float[Tensor, "h w c"],
        boxes: Float[Tensor, "n p 4"],
        labels: Int[Tensor, "n p"],
    ) -> Question:
        """Encode the boxes of `n` questions, x0 y0 x1 y1 as shares, on one image or on as many."""
        attended = labels >= 0
        boxes = torch.where(attended[..., None], boxes, 0)
        embedded = self._embed(image, boxes) + self.labels[labels.clamp(min=0)]
        summary = self.summary.expand(len(boxes), -1, -1)
        tokens = self.norm(self.project(torch.cat([embedded, summary], dim=1)))
        attended = functional.pad(attended, (0, 1), value=True)
        cells = image.flatten(1, 2)
        placed = cells + places.flatten(0, 1)
        for layer in self.layers:
            tokens = layer(tokens, attended, placed, cells)
        return Question(self.out_norm(tokens), attended)

    def _embed(
        self, image: Float[Tensor, "_ h w c"], boxes: Float[Tensor, "n p 4"]
    ) -> Float[Tensor, "n p c"]:
        """Say where boxes are and what lies in them."""
        height, width, channels = image.shape[1:]
        middles, sides = (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]
        waves = sines(middles.flip(2), channels // 2).flatten(2)  # y, then x
        placed = torch.cat([waves, sides.flip(2)], dim=2)
        cells = boxes * boxes.new_tensor([width, height, width, height])
        inside = pool_boxes(self.image_norm(image), cells, self.content.kernel_size[0])
        content = self.content(inside.flatten(0, 1).permute(0, 3, 1, 2)).flatten(1)
        span = self.span(torch.cat([middles, sides], dim=2).to(image))
        embedded: Tensor = span + self.place(placed.to(image)) + content.reshape(span.shape)
        return embedded


class ExemplarLayer(nn.Module):
    """Tokens look at each other and at the image, and think."""

    def __init__(self, channels: int, *, heads: int, hidden: int) -> None:
        super().__init__()
        self.mixing_norm = nn.LayerNorm(channels)
        self.mixing = Attention(channels, heads=heads, inner=channels)
        self.looking_norm = nn.LayerNorm(channels)
        self.looking = TokensToImage(channels, heads=heads, inner=channels)
        self.mlp_norm = nn.LayerNorm(channels)
        self.mlp = Perceptron((channels, hidden, channels))

    def forward(
        self,
        tokens: Float[Tensor, "n l c"],
        attended: Bool[Tensor, "n l"],
        placed: Float[Tensor, "_ s c"],
        image: Float[Tensor, "_ s c"],
    ) -> Float[Tensor, "n l c"]:
        """Return the tokens, knowing more."""
        normed = self.mixing_norm(tokens)
        tokens = tokens + self.mixing(normed, normed, normed, attended)
        # Tokens do not see each other here, so those of all questions on an image are alike to it.
        normed = self.looking_norm(tokens).reshape(len(image), -1, tokens.shape[2])
        tokens = tokens + self.looking(normed, placed, image).reshape(tokens.shape)
        thought: Tensor = tokens + self.mlp(self.mlp_norm(tokens))
        return thought
