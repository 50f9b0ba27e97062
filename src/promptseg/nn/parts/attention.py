"""Attention of some tokens to others."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional


class Attention(nn.Module):
    """Attention with several heads, in which tokens may be made narrower than they are outside."""

    def __init__(self, channels: int, *, heads: int, inner: int) -> None:
        super().__init__()
        self.heads = heads
        self.queries = nn.Linear(channels, inner)
        self.keys = nn.Linear(channels, inner)
        self.values = nn.Linear(channels, inner)
        self.out = nn.Linear(inner, channels)

    def forward(
        self,
        queries: Float[Tensor, "n l c"],
        keys: Float[Tensor, "n s c"],
        values: Float[Tensor, "n s c"],
        attended: Bool[Tensor, "n s"] | None = None,
    ) -> Float[Tensor, "n l c"]:
        """Let every query gather values by its likeness to keys; only from `attended` ones."""
        mixed = functional.scaled_dot_product_attention(
            split_heads(self.queries(queries), self.heads),
            split_heads(self.keys(keys), self.heads),
            split_heads(self.values(values), self.heads),
            attn_mask=None if attended is None else attended[:, None, None],
        )
        gathered: Tensor = self.out(join_heads(mixed))
        return gathered


def split_heads(tokens: Float[Tensor, "n l c"], heads: int) -> Float[Tensor, "n {heads} l d"]:
    """Give every head its share of the channels."""
    return torch.unflatten(tokens, 2, (heads, -1)).transpose(1, 2)


def join_heads(tokens: Float[Tensor, "n k l d"]) -> Float[Tensor, "n l c"]:
    """Put the shares of all heads side by side."""
    return tokens.transpose(1, 2).flatten(2)
