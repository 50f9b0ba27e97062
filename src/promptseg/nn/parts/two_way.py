"""A few tokens that read an image and write to it (Kirillov 2023, appendix A)."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor, nn

from promptseg.nn.parts.attention import Attention, ImageToTokens, TokensToImage
from promptseg.nn.parts.layers import Perceptron


class Exchange(NamedTuple):
    """Tokens of `n` prompts, and the image as each of them has marked it.

    Before the first layer one image may stand for all prompts.
    """

    tokens: Float[Tensor, "n l c"]
    image: Float[Tensor, "_ s c"]


class Places(NamedTuple):
    """What says who is who: added to tokens and image cells wherever they are compared.

    `attended` leaves out tokens that only fill up a batch; None where there are none.
    """

    tokens: Float[Tensor, "n l c"]
    image: Float[Tensor, "b s c"]
    attended: Bool[Tensor, "n l"] | None


class FirstSight(NamedTuple):
    """What the first layer makes of an image that no prompt has marked, once for all prompts.

    `keys` and `values` are for tokens that look at the image, `queries` for its cells.
    """

    keys: Float[Tensor, "b i h w"]
    values: Float[Tensor, "b i h w"]
    queries: Float[Tensor, "b i h w"]


class TwoWayTransformer(nn.Module):
    """Layers of exchange between tokens and image, and a last look of the tokens at the image."""

    def __init__(self, channels: int, *, heads: int, depth: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            TwoWayLayer(channels, heads=heads, hidden=hidden, first=i == 0) for i in range(depth)
        )
        self.tokens_to_image = TokensToImage(channels, heads=heads, inner=channels // 2)
        self.norm = nn.LayerNorm(channels)

    def forward(self, start: Exchange, places: Places, sight: FirstSight | None = None) -> Exchange:
        """Work out what the tokens ask of the image; `sight` is what `look` made of it."""
        state: Exchange = self.layers[0](start, places, sight)
        for layer in self.layers[1:]:
            state = layer(state, places)
        tokens, image = state
        tokens = tokens + self.tokens_to_image(tokens + places.tokens, image + places.image, image)
        return Exchange(self.norm(tokens), image)

    def look(self, image: Float[Tensor, "b h w c"], places: Float[Tensor, "h w c"]) -> FirstSight:
        """Work out what the first layer makes of an image before any prompt has marked it."""
        first = self.layers[0]
        assert isinstance(first, TwoWayLayer)
        return first.look(image, places)


class TwoWayLayer(nn.Module):
    """Tokens look at each other and at the image, think, and are looked at by the image."""

    def __init__(self, channels: int, *, heads: int, hidden: int, first: bool) -> None:
        super().__init__()
        inner = channels // 2
        mixing = FirstTokenMixing if first else TokenMixing
        self.mixing = mixing(channels, heads=heads)
        self.tokens_to_image = TokensToImage(channels, heads=heads, inner=inner)
        self.read_norm = nn.LayerNorm(channels)
        self.mlp = Perceptron((channels, hidden, channels))
        self.mlp_norm = nn.LayerNorm(channels)
        self.image_to_tokens = ImageToTokens(channels, heads=heads, inner=inner)
        self.write_norm = nn.LayerNorm(channels)

    def forward(
        self, before: Exchange, places: Places, sight: FirstSight | None = None
    ) -> Exchange:
        """Exchange once; `sight` is what `look` made of the image, where that is known."""
        tokens, image = before
        tokens = self.mixing(tokens, places)
        if sight:
            read = self.tokens_to_image.known(tokens + places.tokens, sight.keys, sight.values)
            tokens = self._think(tokens, read)
            written = self.image_to_tokens.known(
                sight.queries, tokens + places.tokens, tokens, places.attended
            )
        else:
            placed = image + places.image
            read = self.tokens_to_image(tokens + places.tokens, placed, image)
            tokens = self._think(tokens, read)
            written = self.image_to_tokens(placed, tokens + places.tokens, tokens, places.attended)
        return Exchange(tokens, self.write_norm(written.add_(image)))

    def look(self, image: Float[Tensor, "b h w c"], places: Float[Tensor, "h w c"]) -> FirstSight:
        """Make the first sight of an image."""
        placed = image + places
        made = (
            self.tokens_to_image.keys(placed),
            self.tokens_to_image.values(image),
            self.image_to_tokens.queries(placed),
        )
        return FirstSight(*(cells.permute(0, 3, 1, 2).contiguous() for cells in made))

    def _think(
        self, tokens: Float[Tensor, "n l c"], read: Float[Tensor, "n l c"]
    ) -> Float[Tensor, "n l c"]:
        tokens = self.read_norm(tokens + read)
        thought: Tensor = self.mlp_norm(tokens + self.mlp(tokens))
        return thought


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
