"""The neck of SAM 2: the trunk's maps at one width, the coarsest told to the one before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from promptseg.nn.parts.layers import enlarge


class Pyramid(NamedTuple):
    """Three grids of an image, named by their stride."""

    stride4: Float[Tensor, "b c h w"]
    stride8: Float[Tensor, "b c h/2 w/2"]
    stride16: Float[Tensor, "b c h/4 w/4"]


class Neck(nn.Module):
    """A feature pyramid (Lin 2017) whose path from the top ends at stride 16.

    `laterals` begin with the coarsest map, as the path does.
    """

    def __init__(self, widths: Sequence[int], channels: int) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in reversed(widths))

    def forward(self, levels: Sequence[Float[Tensor, "b _ _ _"]]) -> Pyramid:
        """Bring four grids, finest first, to one width; the coarsest lives on in its neighbour."""
        coarsest, stride16, stride8, stride4 = (
            lateral(level) for lateral, level in zip(self.laterals, reversed(levels), strict=True)
        )
        return Pyramid(stride4, stride8, stride16 + enlarge(coarsest))
