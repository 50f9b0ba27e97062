"""Attention of some tokens to others."""

from __future__ import annotations

import math
from itertools import product

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from promptseg.nn.parts.products import Linear, compare, for_onednn, gather, linear, spread

# Keys from which a CPU computes attention by large products, and queries that it takes at a time.
# Beside torch's fused attention that takes 0.4 times as long in bfloat16, and 0.65 in float32 where
# products are oneDNN's and heads no wider than this; at 96 channels it takes longer. Measured on
# one Zen 5 core, at 576 keys and at 5184.
MANY, AT_A_TIME, WIDE = 512, 648, 72
# Tokens up to which folding takes less work than keys and values of every cell: by count of
# products 4 x tokens x heads x cells x channels, beside 4 x cells x channels x inner, at SAM 2's
# 8 heads and 128 inner channels.
FEW = 16


class Attention(nn.Module):
    """Attention with several heads, in which tokens may be made narrower than they are outside."""

    def __init__(self, channels: int, *, heads: int, inner: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = 1 / math.sqrt(inner // heads)
        self.queries = Linear(channels, inner)
        self.keys = Linear(channels, inner)
        self.values = Linear(channels, inner)
        self.out = Linear(inner, channels)

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

    def by_head(self, layer: nn.Linear) -> Float[Tensor, "{self.heads} d c"]:
        """Give every head its share of the weights of queries, keys or values."""
        return torch.unflatten(layer.weight, 0, (self.heads, -1))


class TokensToImage(Attention):
    """Attention of a few tokens to the many cells of an image.

    The weights of keys are folded into the queries, and those of values into what was gathered, so
    that no cell gets a key or a value. The bias of keys adds the same to a query's likeness to
    every cell, which changes no share.
    """

    def forward(  # type: ignore[override]
        self,
        tokens: Float[Tensor, "n l c"],
        placed: Float[Tensor, "_ s c"],
        image: Float[Tensor, "_ s c"],
    ) -> Float[Tensor, "n l c"]:
        """Let every token gather from the image by its likeness to the cells in their places."""
        if tokens.shape[1] > FEW:
            count = len(tokens)
            return super().forward(
                tokens, placed.expand(count, -1, -1), image.expand(count, -1, -1)
            )
        queries = split_heads(self.queries(tokens) * self.scale, self.heads)
        folded = (queries @ self.by_head(self.keys)).flatten(1, 2)  # n k*l c
        shares = compare(folded, placed).softmax(dim=2)
        gathered = torch.unflatten(gather(shares, image), 1, (self.heads, -1))  # n k l c
        mixed = gathered @ self.by_head(self.values).transpose(1, 2)
        looked: Tensor = self.out(join_heads(mixed) + self.values.bias)
        return looked

    def known(
        self,
        tokens: Float[Tensor, "n l c"],
        keys: Float[Tensor, "_ i h w"],
        values: Float[Tensor, "_ i h w"],
    ) -> Float[Tensor, "n l c"]:
        """Do the same where the cells' keys and values are made already."""
        queries = split_heads(self.queries(tokens) * self.scale, self.heads)
        shares = (queries @ cells_by_head(keys, self.heads)).softmax(dim=3)
        mixed = shares @ cells_by_head(values, self.heads).transpose(2, 3)
        looked: Tensor = self.out(join_heads(mixed))
        return looked


class ImageToTokens(Attention):
    """Attention of the many cells of an image to a few tokens.

    The weights of queries are folded into the keys, and those of the way out into the values, so
    that no cell gets a query.
    """

    def forward(
        self,
        image: Float[Tensor, "_ s c"],
        placed: Float[Tensor, "n l c"],
        tokens: Float[Tensor, "n l c"],
        attended: Bool[Tensor, "n l"] | None = None,
    ) -> Float[Tensor, "n s c"]:
        """Let every placed cell gather from `attended` tokens by its likeness to placed ones."""
        if tokens.shape[1] > FEW:
            return super().forward(image.expand(len(tokens), -1, -1), placed, tokens, attended)
        keys = split_heads(self.keys(placed) * self.scale, self.heads)
        folded = (keys @ self.by_head(self.queries)).flatten(1, 2)  # n k*l c
        bias = keys @ torch.unflatten(self.queries.bias, 0, (self.heads, -1))[..., None]
        likeness = torch.unflatten(compare(folded, image), 1, (self.heads, -1))
        return self._gather(likeness + bias, tokens, attended)

    def known(
        self,
        queries: Float[Tensor, "_ i h w"],
        placed: Float[Tensor, "n l c"],
        tokens: Float[Tensor, "n l c"],
        attended: Bool[Tensor, "n l"] | None = None,
    ) -> Float[Tensor, "n s c"]:
        """Do the same where the cells' queries are made already."""
        keys = split_heads(self.keys(placed) * self.scale, self.heads)
        return self._gather(keys @ cells_by_head(queries, self.heads), tokens, attended)

    def _gather(
        self,
        likeness: Float[Tensor, "n k l s"],
        tokens: Float[Tensor, "n l c"],
        attended: Bool[Tensor, "n l"] | None,
    ) -> Float[Tensor, "n s c"]:
        if attended is not None:
            likeness = likeness.masked_fill(~attended[:, None, :, None], -torch.inf)
        shares = likeness.softmax(dim=2).flatten(1, 2)  # n k*l s
        out = torch.unflatten(self.out.weight.T, 0, (self.heads, -1))  # k d c
        rows = (split_heads(self.values(tokens), self.heads) @ out).flatten(1, 2)  # n k*l c
        return spread(shares, rows, self.out.bias)


def attend(
    queries: Float[Tensor, "n k l d"],
    keys: Float[Tensor, "n k s d"],
    values: Float[Tensor, "n k s d"],
) -> Float[Tensor, "n k l d"]:
    """Let every query gather values by its likeness to keys, in each head by itself."""
    if not _by_products(queries, keys):
        return functional.scaled_dot_product_attention(queries, keys, values)
    gathered = torch.empty_like(queries)
    for row, head in product(range(queries.shape[0]), range(queries.shape[1])):
        scaled = keys[row, head] / math.sqrt(keys.shape[3])
        columns = values[row, head].T.contiguous()
        lined = queries[row, head].contiguous()
        for start in range(0, queries.shape[2], AT_A_TIME):
            some = slice(start, start + AT_A_TIME)
            gathered[row, head, some] = linear(as_shares(linear(lined[some], scaled)), columns)
    return gathered


def as_shares(likeness: Float[Tensor, "l s"]) -> Float[Tensor, "l s"]:
    """Turn rows into shares, in their place where nothing is learned."""
    if torch.is_grad_enabled():
        return likeness.softmax(dim=1)
    return torch.softmax(likeness, dim=1, out=likeness)


def _by_products(queries: Float[Tensor, "n k l d"], keys: Float[Tensor, "n k s d"]) -> bool:
    if queries.device.type != "cpu" or keys.shape[2] < MANY:
        return False
    if queries.dtype == torch.bfloat16:
        return True
    return queries.shape[3] <= WIDE and for_onednn(queries[0, 0, :AT_A_TIME])


def split_heads(tokens: Float[Tensor, "n l c"], heads: int) -> Float[Tensor, "n {heads} l d"]:
    """Give every head its share of the channels."""
    return torch.unflatten(tokens, 2, (heads, -1)).transpose(1, 2)


def join_heads(tokens: Float[Tensor, "n k l d"]) -> Float[Tensor, "n l c"]:
    """Put the shares of all heads side by side."""
    return tokens.transpose(1, 2).flatten(2)


def cells_by_head(grid: Float[Tensor, "b i h w"], heads: int) -> Float[Tensor, "b {heads} d s"]:
    """Give every head its share of a grid's channels."""
    return torch.unflatten(grid.flatten(2), 1, (heads, -1))
