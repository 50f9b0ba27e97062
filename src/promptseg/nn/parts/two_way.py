"""A few tokens that read an image and write to it (Kirillov 2023, appendix A)."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor, nn

from promptseg.nn.parts.attention import Attention
from promptseg.nn.parts.layers import Perceptron


class Exchange(NamedTuple):
    """Tokens of `n` prompts, and the image as each of them has marked it."""

    tokens: Float[Tensor, "n l c"]
    image: Float[Tensor, "n s c"]


class Places(NamedTuple):
    """What says who is who: added to tokens and image cells wherever they are compared.

    `attended` leaves out tokens that only fill up a batch.
    """

    tokens: Float[Tensor, "n l c"]
    image: Float[Tensor, "s c"]
    attended: Bool[Tensor, "n l"]


class TwoWayTransformer(nn.Module):
    """Layers of exchange between tokens and image, and a last look of the tokens at the image."""

    def __init__(self, channels: int, *, heads: int, depth: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            TwoWayLayer(channels, heads=heads, hidden=hidden, first=i == 0) for i in range(depth)
        )
        self.tokens_to_image = Attention(channels, heads=heads, inner=channels // 2)
        self.norm = nn.LayerNorm(channels)

    def forward(self, start: Exchange, places: Places) -> Exchange:
        """Work out what the tokens ask of the image."""
        tokens, image = start
        for layer in self.layers:
            tokens, image = layer(Exchange(tokens, image), places)
        tokens = tokens + self.tokens_to_image(tokens + places.tokens, image + places.image, image)
        return Exchange(self.norm(tokens), image)


class TwoWayLayer(nn.Module):
    """Tokens look at each other and at the image, think, and are looked at by the image."""

    def __init__(self, channels: int, *, heads: int, hidden: int, first: bool) -> None:
        super().__init__()
        inner = channels // 2
        mixing = FirstTokenMixing if first else TokenMixing
        self.mixing = mixing(channels, heads=heads)
        self.tokens_to_image = Attention(channels, heads=heads, inner=inner)
        self.read_norm = nn.LayerNorm(channels)
        self.mlp = Perceptron((channels, hidden, channels))
        self.mlp_norm = nn.LayerNorm(channels)
        self.image_to_tokens = Attention(channels, heads=heads, inner=inner)
        self.write_norm = nn.LayerNorm(channels)

    def forward(self, before: Exchange, places: Places) -> Exchange:
        """Exchange once."""
        tokens, image = before
        tokens = self.mixing(tokens, places)
        read = self.tokens_to_image(tokens + places.tokens, image + places.image, image)
        tokens = self.read_norm(tokens + read)
        tokens = self.mlp_norm(tokens + self.mlp(tokens))
        written = self.image_to_tokens(
            image + places.image, tokens + places.tokens, tokens, places.attended
        )
        return Exchange(tokens, self.write_norm(image + written))


class TokenMixing(nn.Module):
    """Tokens look at each other."""

    def __init__(self, channels: int, *, heads: int) -> None:
        super().__init__()
        self.attention = Attention(channels, heads=heads, inner=channels)
        self.norm = nn.LayerNorm(channels)

    def forward(self, tokens: Float[Tensor, "n l c"], places: Places) -> Float[Tensor, "n l c"]:
        """Add to each token what it finds in the others."""
        placed = tokens + places.tokens
        mixed: Tensor = self.norm(tokens + self.attention(placed, placed, tokens, places.attended))
        return mixed


class FirstTokenMixing(TokenMixing):
    """The first look of tokens at each other: they are their own places still, and are replaced."""

    def forward(self, tokens: Float[Tensor, "n l c"], places: Places) -> Float[Tensor, "n l c"]:
        """Replace each token by what it finds in all of them."""
        mixed: Tensor = self.norm(self.attention(tokens, tokens, tokens, places.attended))
        return mixed
