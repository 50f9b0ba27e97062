"""Where the cells of a grid are, told by turning pairs of channels (Su 2021), along both axes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

# The longest wavelength, in units of the shortest (SAM 2, `rope_theta`).
TEMPERATURE = 10000.0


class Turns(NamedTuple):
    """Cosine and sine of the angles by which each cell's pairs of channels are turned."""

    cosines: Float[Tensor, "l c/2"]
    sines: Float[Tensor, "l c/2"]


def axial_turns(
    channels: int, height: int, width: int, device: torch.device, *, scale: float = 1.0
) -> Turns:
    """Turn the first half of the pairs by the column of a cell, the second by its row.

    Cells are `scale` apart. Their order is that of reading; all is float32. As in SAM 2,
    `compute_axial_cis`.
    """
    wavelengths = TEMPERATURE ** (torch.arange(0, channels, 4, device=device) / channels)  # c/4
    rows, columns = torch.meshgrid(
        torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij"
    )
    places = torch.stack([columns, rows], dim=-1) * scale  # h w 2
    angles = (places[..., None] / wavelengths).flatten(2).flatten(0, 1)  # h*w c/2
    return Turns(angles.cos(), angles.sin())


def turned(tokens: Float[Tensor, "n l c"], turns: Turns) -> Float[Tensor, "n l c"]:
    """Turn the cells of one grid, or of several one after the other, in float32."""
    grids = torch.unflatten(tokens, 1, (-1, len(turns.cosines)))
    return turned_heads(grids, turns).flatten(1, 2)


def turned_heads(tokens: Float[Tensor, "n k l d"], turns: Turns) -> Float[Tensor, "n k l d"]:
    """Turn the cells of a grid in every head, in float32."""
    pairs = torch.view_as_complex(torch.unflatten(tokens.float(), -1, (-1, 2)))
    return torch.view_as_real(pairs * torch.complex(*turns)).flatten(3).to(tokens.dtype)
