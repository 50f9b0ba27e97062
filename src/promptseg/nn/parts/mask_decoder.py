"""From an image and embedded prompts to candidate masks, as in SAM 2 (Ravi 2024)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from promptseg.nn.outputs import MaskLogits
from promptseg.nn.parts.layers import GridNorm, Perceptron
from promptseg.nn.parts.prompt_encoder import EmbeddedPrompts
from promptseg.nn.parts.two_way import Exchange, Places, TwoWayTransformer

# One mask for a prompt that leaves no doubt, and three for one that may mean a whole or its parts.
CANDIDATES = 4
# Layers of the exchange (SAM 2, `SAM2Base._build_sam_heads`).
DEPTH = 2


class DecoderFeatures(NamedTuple):
    """What the decoder reads of an image: `stride4` and `stride8` are narrowed by `narrow`."""

    stride4: Float[Tensor, "b c/8 4*h 4*w"]
    stride8: Float[Tensor, "b c/4 2*h 2*w"]
    stride16: Float[Tensor, "b c h w"]


class MaskDecoder(nn.Module):
    """Candidate masks for `n` prompts, with predicted IoU and presence.

    Candidate 0 is the one mask of a prompt that leaves no doubt, 1 to 3 are what else it may mean;
    `settle.single_mask` chooses as SAM 2 does.
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
        self.norm8 = GridNorm(channels // 4)
        self.upscale4 = nn.ConvTranspose2d(channels // 4, channels // 8, kernel_size=2, stride=2)

        self.mask_heads = nn.ModuleList(
            Perceptron((channels, channels, channels, channels // 8)) for _ in range(CANDIDATES)
        )
        self.score_head = Perceptron((channels, channels, channels, CANDIDATES))
        self.presence_head = Perceptron((channels, channels, channels, 1))

    def narrow(
        self,
        stride4: Float[Tensor, "b c h w"],
        stride8: Float[Tensor, "b c h/2 w/2"],
        stride16: Float[Tensor, "b c h/4 w/4"],
    ) -> DecoderFeatures:
        """Keep of an image's fine grids what masks need; once per image."""
        return DecoderFeatures(self.narrow4(stride4), self.narrow8(stride8), stride16)

    def forward(
        self,
        features: DecoderFeatures,
        prompts: EmbeddedPrompts,
        image_places: Float[Tensor, "c h w"],
    ) -> MaskLogits:
        """Answer `n` prompts on one image, or on as many."""
        own = torch.cat([self.presence_token, self.score_token, self.mask_tokens])
        count, side = len(prompts.tokens), features.stride16.shape[-1]
        tokens = torch.cat([own.expand(count, -1, -1), prompts.tokens], dim=1)
        attended = functional.pad(prompts.attended, (len(own), 0), value=True)
        image = (features.stride16 + prompts.grid).flatten(2).transpose(1, 2)  # n h*w c
        places = Places(tokens, image_places.flatten(1).T, attended)

        tokens, image = self.transformer(Exchange(tokens, image), places)
        presence, score, masks = tokens[:, : len(own)].split([1, 1, CANDIDATES], dim=1)

        grid = self._upscale(torch.unflatten(image.transpose(1, 2), 2, (-1, side)), features)
        shapes = [head(masks[:, i]) for i, head in enumerate(self.mask_heads)]
        logits = torch.einsum("nmc,nchw->nmhw", torch.stack(shapes, dim=1), grid)
        return MaskLogits(
            logits=logits.float(),
            scores=self.score_head(score[:, 0]).float().sigmoid(),
            presence=self.presence_head(presence[:, 0])[:, 0].float(),
        )

    def _upscale(
        self, grid: Float[Tensor, "n c h w"], features: DecoderFeatures
    ) -> Float[Tensor, "n c/8 4*h 4*w"]:
        """Enlarge the marked image fourfold, with the fine grids' help."""
        grid = functional.gelu(self.norm8(self.upscale8(grid) + features.stride8))
        return functional.gelu(self.upscale4(grid) + features.stride4)
