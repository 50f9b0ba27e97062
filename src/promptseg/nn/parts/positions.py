"""Where something is, as channels: random Fourier features and sines of several wavelengths."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

# The longest wavelength of sines, in units of the shortest (Vaswani 2017, section 3.5).
TEMPERATURE = 10000.0


class FourierPositions(nn.Module):
    """Sines and cosines of places at frequencies drawn once at random (Tancik 2020).

    SAM keeps the frequencies with its weights. They stay float32 when the network is brought to
    another dtype: rounded frequencies would move every point.
    """

    frequencies: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.randn(2, channels // 2))

    def forward(self, places: Float[Tensor, "*axes 2"]) -> Float[Tensor, "*axes c"]:
        """Encode places (x, y), 0..1 across the image, in float32."""
        phases = 2 * math.pi * ((2 * places.float() - 1) @ self.frequencies)
        return torch.cat([phases.sin(), phases.cos()], dim=-1)

    def grid(self, side: int) -> Float[Tensor, "{side} {side} c"]:
        """Encode the middles of the cells of a square grid, channels last."""
        middles = (torch.arange(side, device=self.frequencies.device) + 0.5) / side
        y, x = torch.meshgrid(middles, middles, indexing="ij")
        encoded: Tensor = self(torch.stack([x, y], dim=-1))
        return encoded

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> FourierPositions:
        before = self.frequencies
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.frequencies.dtype != before.dtype:
            self.frequencies = before.to(self.frequencies.device)
        return self


def sine_positions(channels: int, height: int, width: int) -> Float[Tensor, "c h w"]:
    """Sines and cosines of row (the first half of the channels) and column, in turns.

    Rows and columns count from 1 and are brought to 0..2 pi as in DETR (Carion 2020), its small
    term in the divisor included.
    """

    def encode(length: int) -> Float[Tensor, "length half"]:
        return sines(torch.arange(1, length + 1) / (length + 1e-6), channels // 2)

    rows = encode(height).T[:, :, None].expand(-1, -1, width)
    columns = encode(width).T[:, None, :].expand(-1, height, -1)
    return torch.cat([rows, columns])


def sines(shares: Float[Tensor, "*axes"], channels: int) -> Float[Tensor, "*axes {channels}"]:
    """Sines and cosines, in turns, of shares of the way across, in float32; 1 is 2 pi."""
    steps = torch.arange(channels, device=shares.device) // 2 * 2 / channels
    phases = shares.float()[..., None] * 2 * math.pi / TEMPERATURE**steps
    return torch.stack([phases[..., 0::2].sin(), phases[..., 1::2].cos()], dim=-1).flatten(-2)
