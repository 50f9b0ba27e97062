"""The text encoder of SAM 3: CLIP's (Radford 2021), of which every token's answer is kept."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from promptseg.nn.outputs import Phrases
from promptseg.nn.parts.attention import join_heads
from promptseg.nn.parts.layers import Perceptron
from promptseg.nn.parts.products import Linear
from promptseg.nn.sam3.config import TextConfig
from promptseg.nn.sam3.tokenizer import TokenIds


class TextEncoder(nn.Module):
    """Blocks in which a token sees itself and what is before it.

    So what follows a phrase changes none of its tokens, and phrases need no more tokens than the
    longest of them has.
    """

    def __init__(self, config: TextConfig, channels: int) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.zeros(config.vocabulary, config.width))
        self.positions = nn.Parameter(torch.zeros(config.context, config.width))
        self.blocks = nn.ModuleList(
            TextBlock(config.width, heads=config.heads, hidden=config.hidden)
            for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.width)
        self.out = Linear(config.width, channels)

    def forward(self, tokens: TokenIds) -> Phrases:
        """Read phrases of at most as many tokens as there are positions."""
        device = self.tokens.device
        read = functional.embedding(tokens.ids.to(device), self.tokens)
        read = read + self.positions[: read.shape[1]]
        for block in self.blocks:
            read = block(read)
        return Phrases(self.out(self.norm(read)), tokens.attended.to(device))


class TextBlock(nn.Module):
    """Attention to the tokens before, and a perceptron."""

    def __init__(self, width: int, *, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = CausalAttention(width, heads=heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Perceptron((width, hidden, width), nn.GELU)

    def forward(self, read: Float[Tensor, "n l c"]) -> Float[Tensor, "n l c"]:
        """Refine what tokens mean."""
        read = read + self.attention(self.norm1(read))
        thought: Tensor = self.mlp(self.norm2(read))
        return read + thought


class CausalAttention(nn.Module):
    """Attention of every token to itself and to those before it."""

    def __init__(self, width: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = Linear(width, 3 * width)
        self.out = Linear(width, width)

    def forward(self, read: Float[Tensor, "n l c"]) -> Float[Tensor, "n l c"]:
        """Let tokens look back."""
        heads = torch.unflatten(self.qkv(read), 2, (3, self.heads, -1)).transpose(1, 3)
        queries, keys, values = heads.unbind(dim=2)  # n k l d
        mixed = functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        gathered: Tensor = self.out(join_heads(mixed))
        return gathered
