"""A frame and the mask of an object in it, as one narrow grid (SAM 2, Ravi 2024, appendix D)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from promptseg.nn.parts.layers import GridNorm, Perceptron

# How often the mask is halved until it is as coarse as the image's grid (SAM 2, `total_stride`).
HALVINGS = 4
# How much wider the perceptron of a fusing block is inside, and its convolution (SAM 2, `CXBlock`).
EXPANSION, KERNEL = 4, 7


class MemoryEncoder(nn.Module):
    """Lays a mask over an image's grid of `channels`, and keeps `narrow` of them."""

    def __init__(self, channels: int, *, narrow: int, blocks: int) -> None:
        super().__init__()
        self.mask = nn.Sequential(
            *(Halving(4**i) for i in range(HALVINGS)), nn.Conv2d(4**HALVINGS, channels, 1)
        )
        self.image = nn.Conv2d(channels, channels, 1)
        self.fuser = nn.Sequential(*(FusingBlock(channels) for _ in range(blocks)))
        self.out = nn.Conv2d(channels, narrow, 1)

    def forward(
        self, image: Float[Tensor, "#n c h w"], masks: Float[Tensor, "n 16*h 16*w"]
    ) -> Float[Tensor, "n d h w"]:
        """Lay `n` masks, as logits, over one image or over as many."""
        memories: Tensor = self.out(self.fuser(self.image(image) + self.mask(masks[:, None])))
        return memories


class Halving(nn.Module):
    """Halves the side of a grid and keeps what was in it, in four times the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shrink = nn.Conv2d(channels, 4 * channels, kernel_size=3, stride=2, padding=1)
        self.norm = GridNorm(4 * channels)

    def forward(self, grid: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 4*c h/2 w/2"]:
        """Look at nine cells for each of a quarter as many."""
        return functional.gelu(self.norm(self.shrink(grid)))


class FusingBlock(nn.Module):
    """A block of ConvNeXt (Liu 2022): a wide convolution in each channel, and a perceptron."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.spread = nn.Conv2d(
            channels, channels, kernel_size=KERNEL, padding=KERNEL // 2, groups=channels
        )
        self.norm = GridNorm(channels)
        self.mlp = Perceptron((channels, EXPANSION * channels, channels), nn.GELU)
        self.scale = nn.Parameter(torch.full((channels,), 1e-6))

    def forward(self, grid: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Refine a grid."""
        cells: Tensor = self.mlp(self.norm(self.spread(grid)).permute(0, 2, 3, 1))
        return grid + (self.scale * cells).permute(0, 3, 1, 2)
