"""The prompt half of the built-in network: a small U-shaped network on prompt maps."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from promptseg.nn.outputs import MaskLogits, PromptTensors
from promptseg.nn.parts.layers import enlarge
from promptseg.nn.tiny import prompt_maps
from promptseg.nn.tiny.config import TinyConfig
from promptseg.nn.tiny.encoder import TinyFeatures
from promptseg.nn.tiny.layers import ConvNorm, GlobalContext, ResidualBlock
from promptseg.nn.tiny.scoring import ScoreHead


class TinyDecoder(nn.Module):
    """Candidate masks for `n` objects from their images' features and their prompt maps.

    The U works at strides 8 to 32, where a step is cheap; at stride 4 its answer meets the prompt
    maps again, pixel by pixel, and a straight path from maps to masks lets the classical ones speak
    at once.
    """

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        finest, *widths = config.decoder_widths
        maps = prompt_maps.map_count(config.heads)
        self.heads = config.heads
        self.sweeps = config.sweeps
        self.down = nn.ModuleList(
            ConvNorm(finer, width, stride=2)
            for finer, width in zip([maps, *widths], widths, strict=False)
        )
        self.before = nn.ModuleList(ResidualBlock(width) for width in widths)
        self.context = GlobalContext(widths[-1])
        self.bottom = ResidualBlock(widths[-1])
        self.up = nn.ModuleList(
            nn.Conv2d(coarser, finer, 1)
            for coarser, finer in zip(widths, [finest, *widths], strict=False)
        )
        self.after = nn.ModuleList(ResidualBlock(width) for width in widths[:-1])
        self.prompt = nn.Conv2d(maps, finest, 1)
        self.refine = ConvNorm(finest, finest)
        self.masks = nn.Conv2d(finest, config.candidates, 1)
        self.straight = nn.Conv2d(maps, config.candidates, 1, bias=False)
        self.score = ScoreHead(config)

    def forward(self, features: TinyFeatures, prompts: PromptTensors) -> MaskLogits:
        """Answer `n` prompts on `n` images' features."""
        coarse = self.coarse(features, prompts)
        return coarse._replace(logits=blended(coarse.logits, features.blend))

    def coarse(self, features: TinyFeatures, prompts: PromptTensors) -> MaskLogits:
        """Answer at stride 4, which is where training compares candidates."""
        maps = prompt_maps.draw(features, prompts, heads=self.heads, sweeps=self.sweeps)
        maps = maps.to(features.grid4.dtype, memory_format=torch.channels_last)

        grids = [maps]
        image_grids = (features.grid8, features.grid16, features.grid32)
        for image_grid, down, block in zip(image_grids, self.down, self.before, strict=True):
            grids.append(block(functional.relu(image_grid + down(grids[-1]))))
        bottom = self.bottom(self.context(grids[3]))
        above = functional.relu(grids[2] + enlarge(self.up[2](bottom)))
        above = functional.relu(grids[1] + enlarge(self.up[1](self.after[1](above))))
        middle = self.after[0](above)
        fine = functional.relu(features.grid4 + self.prompt(maps) + enlarge(self.up[0](middle)))
        fine = fine + functional.relu(self.refine(fine))

        logits = self.masks(fine).float() + self.straight(maps).float()
        summary = bottom.mean(dim=(2, 3))
        scores, presence = self.score(logits.detach(), middle, summary, features, prompts)
        return MaskLogits(logits, scores, presence)


def blended(
    logits: Float[Tensor, "n m h w"], blend: Float[Tensor, "n 36 h w"]
) -> Float[Tensor, "n m 2*h 2*w"]:
    """Double the masks: each new pixel mixes the nine cells round it as the image decides.

    The learned upsampling of RAFT (Teed and Deng 2020, section 3.3), here from stride 4 to stride
    2.
    """
    n, m, h, w = logits.shape
    padded = functional.pad(logits, (1, 1, 1, 1), mode="replicate")
    cells = functional.unfold(padded.flatten(0, 1)[:, None], 3).view(n, m, 9, 1, h, w)
    mixed = (cells * blend.view(n, 1, 9, 4, h, w)).sum(dim=2)  # n m 4 h w
    return functional.pixel_shuffle(mixed.flatten(1, 2), 2)
