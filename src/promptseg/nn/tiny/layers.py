"""Convolution blocks of the built-in network."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


class ConvNorm(nn.Module):
    """A convolution and its batch norm, which folds into it when training is over."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, grid: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d i j"]:
        """Filter a grid and bring it to the scale seen in training."""
        filtered: Tensor = self.norm(self.conv(grid))
        return filtered


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut; starts as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvNorm(channels, channels)
        self.second = ConvNorm(channels, channels)
        self.second.norm.weight.data.zero_()

    def forward(self, grid: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Refine a grid."""
        change = self.second(functional.relu(self.first(grid)))
        return functional.relu(grid + change)


class GlobalContext(nn.Module):
    """Add to every cell what the whole grid holds on average and at most."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.project = nn.Linear(2 * channels, channels)

    def forward(self, grid: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Tell every cell of the rest."""
        summary = torch.cat([grid.mean(dim=(2, 3)), grid.amax(dim=(2, 3))], dim=1)
        told: Tensor = self.project(summary)
        return grid + told[:, :, None, None]
