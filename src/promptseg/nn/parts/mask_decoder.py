"""From an image and embedded prompts to candidate masks, as in SAM 2 (Ravi 2024).

It answers in two steps: `judge` says how good each candidate will be, and `draw` makes the masks
of those that are wanted, which is the greater part of what is left to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from promptseg.nn.outputs import Judgement, MaskLogits
from promptseg.nn.parts.layers import Perceptron, at_a_time
from promptseg.nn.parts.products import compare, linear
from promptseg.nn.parts.prompt_encoder import EmbeddedPrompts
from promptseg.nn.parts.two_way import Exchange, FirstSight, Places, TwoWayTransformer
from promptseg.nn.parts.upscale import as_product, tile, untile

# One mask for a prompt that leaves no doubt, and three for one that may mean a whole or its parts.
CANDIDATES = 4
# Layers of the exchange (SAM 2, `SAM2Base._build_sam_heads`).
DEPTH = 2
# Cells of the image that a CPU enlarges at a time: a quarter of the memory for as much time (two
# Zen 5 cores).
CELLS = 1024
# As in SAM 2's `LayerNorm2d`.
EPSILON = 1e-6


class DecoderFeatures(NamedTuple):
    """What the decoder reads of an image.

    `image` is its map at stride 16, channels last. `tiles4` and `tiles8` are the finer ones,
    narrowed, with what lies within a cell of `image` in its channels (`upscale.tile`), and with the
    bias of the layer they are added to. `places` say where its cells are. `keys`, `values` and
    `queries` are the first sight of an image without a hint (`two_way.FirstSight`).
    """

    tiles4: Float[Tensor, "b h w 2*c"]
    tiles8: Float[Tensor, "b h w c"]
    image: Float[Tensor, "b h w c"]
    places: Float[Tensor, "b h w c"]
    keys: Float[Tensor, "b c/2 h w"]
    values: Float[Tensor, "b c/2 h w"]
    queries: Float[Tensor, "b c/2 h w"]


class MaskDecoder(nn.Module):
    """Candidate masks for `n` prompts, with predicted IoU and presence.

    Candidate 0 is the one mask of a prompt that leaves no doubt, 1 to 3 are what else it may mean.
    """

    def __init__(self, channels: int, *, heads: int, hidden: int) -> None:
        super().__init__()
        self.presence_token = nn.Parameter(torch.randn(1, channels))
        self.score_token = nn.Parameter(torch.randn(1, channels))
        self.mask_tokens = nn.Parameter(torch.randn(CANDIDATES, channels))
        self.transformer = TwoWayTransformer(channels, heads=heads, depth=DEPTH, hidden=hidden)

        self.narrow4 = nn.Conv2d(channels, channels // 8, 1)
        self.narrow8 = nn.Conv2d(channels, channels // 4, 1)
        self.upscale8 = nn.ConvTranspose2d(channels, channels // 4, kernel_size=2, stride=2)
        self.norm8 = nn.LayerNorm(channels // 4, eps=EPSILON)
        self.upscale4 = nn.ConvTranspose2d(channels // 4, channels // 8, kernel_size=2, stride=2)

        self.mask_heads = nn.ModuleList(
            Perceptron((channels, channels, channels, channels // 8)) for _ in range(CANDIDATES)
        )
        self.score_head = Perceptron((channels, channels, channels, CANDIDATES))
        self.presence_head = Perceptron((channels, channels, channels, 1))

    def prepare(
        self,
        image: Float[Tensor, "b h w c"],
        narrow4: Float[Tensor, "#b 4*h 4*w _"],
        narrow8: Float[Tensor, "#b 2*h 2*w _"],
        no_hint: Float[Tensor, " c"],
        image_places: Float[Tensor, "h w c"],
    ) -> DecoderFeatures:
        """Work out what no prompt changes; once per image.

        The finer maps are narrowed already, and all are channels last. They may be those of one
        image for several maps at stride 16, each of which knows of something else.
        """
        assert self.upscale4.bias is not None
        assert self.upscale8.bias is not None
        sight = self.transformer.look(image + no_hint, image_places)
        return DecoderFeatures(
            tile(narrow4 + self.upscale4.bias, 4),
            tile(narrow8 + self.upscale8.bias, 2),
            image,
            image_places.expand_as(image),
            *sight,
        )

    def forward(self, features: DecoderFeatures, prompts: EmbeddedPrompts) -> MaskLogits:
        """Answer `n` prompts on one image, or on as many."""
        judgement = self.judge(features, prompts)
        return MaskLogits(self.draw(features, judgement), judgement.scores, judgement.presence)

    def judge(self, features: DecoderFeatures, prompts: EmbeddedPrompts) -> Judgement:
        """Score the candidates of `n` prompts on one image, or on as many, without drawing them."""
        own = torch.cat([self.presence_token, self.score_token, self.mask_tokens])
        tokens = torch.cat([own.expand(len(prompts.tokens), -1, -1), prompts.tokens], dim=1)
        attended = prompts.attended
        if attended is not None:
            attended = functional.pad(attended, (len(own), 0), value=True)
        places = Places(tokens, features.places.flatten(1, 2), attended)
        image = (features.image + prompts.added).flatten(1, 2)  # n s c
        sight = None if prompts.hinted else FirstSight(*features[4:])

        tokens, image = self.transformer(Exchange(tokens, image), places, sight)
        presence, score, masks = tokens[:, : len(own)].split([1, 1, CANDIDATES], dim=1)
        return Judgement(
            scores=self.score_head(score[:, 0]).float().sigmoid(),
            presence=self.presence_head(presence[:, 0])[:, 0].float(),
            masks=masks,
            image=image,
        )

    def draw(
        self,
        features: DecoderFeatures,
        judgement: Judgement,
        candidates: Sequence[int] = range(CANDIDATES),
    ) -> Float[Tensor, "n _ H W"]:
        """Make the logits of some candidates of every judged prompt, in the order asked for."""
        shapes = torch.stack([self.mask_heads[i](judgement.masks[:, i]) for i in candidates], dim=1)
        return self._drawn(features, judgement, shapes)

    def draw_chosen(
        self, features: DecoderFeatures, judgement: Judgement, chosen: Int[Tensor, " n"]
    ) -> Float[Tensor, "n H W"]:
        """Make the logits of one candidate of every judged prompt, each of its own."""
        tokens = judgement.masks.unbind(dim=1)
        shapes = torch.stack(
            [head(token) for head, token in zip(self.mask_heads, tokens, strict=True)]
        )
        mine = shapes[chosen, torch.arange(len(chosen), device=chosen.device)]
        return self._drawn(features, judgement, mine[:, None])[:, 0]

    def _drawn(
        self, features: DecoderFeatures, judgement: Judgement, shapes: Float[Tensor, "n m c"]
    ) -> Float[Tensor, "n m H W"]:
        """Compare what candidates look like with every part of every cell."""
        grids = judgement.image, features.tiles8.flatten(1, 2), features.tiles4.flatten(1, 2)
        most = at_a_time(judgement.image, CELLS)
        parts = zip(*(torch.split(grid, most, dim=1) for grid in grids), strict=True)
        drawn = [compare(shapes, self._enlarged(*part)) for part in parts]
        return untile(torch.cat(drawn, dim=2), features.image.shape[1]).float()

    def _enlarged(
        self,
        image: Float[Tensor, "n s c"],
        tiles8: Float[Tensor, "_ s c"],
        tiles4: Float[Tensor, "_ s 2*c"],
    ) -> Float[Tensor, "n 16*s c/8"]:
        """Make of each cell its 16 parts, to be compared with what masks look like."""
        weight8, weight4 = as_product(self.upscale8), as_product(self.upscale4)
        parts = linear(image, weight8).add_(tiles8)
        parts = functional.gelu(self.norm8(torch.unflatten(parts, 2, (4, -1))))  # n s 4 c/4
        parts = linear(parts, weight4).add_(torch.unflatten(tiles4, 2, (4, -1)))
        return functional.gelu(torch.unflatten(parts, 3, (4, -1)).flatten(1, 3))
