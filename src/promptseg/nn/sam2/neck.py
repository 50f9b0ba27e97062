"""The neck of SAM 2: the trunk's maps at one width, the coarsest told to the one before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

from promptseg.nn.parts.products import linear


class Pyramid(NamedTuple):
    """Three maps of an image, channels last and named by their stride.

    The finer two are as narrow as the decoder wants them.
    """

    stride4: Float[Tensor, "b 4*h 4*w _"]
    stride8: Float[Tensor, "b 2*h 2*w _"]
    stride16: Float[Tensor, "b h w c"]


class Neck(nn.Module):
    """A feature pyramid (Lin 2017) whose path from the top ends at stride 16.

    `laterals` begin with the coarsest map, as the path does.
    """

    def __init__(self, widths: Sequence[int], channels: int) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in reversed(widths))

    def forward(
        self, levels: Sequence[Float[Tensor, "b _ _ _"]], narrow4: nn.Conv2d, narrow8: nn.Conv2d
    ) -> Pyramid:
        """Bring four maps, finest first, to one width; the coarsest lives on in its neighbour.

        `narrow4` and `narrow8` are what becomes of the finer maps next.
        """
        coarsest, stride16, stride8, stride4 = self.laterals
        above = pointwise(levels[3], coarsest)
        merged = pointwise(levels[2], stride16)
        merged = merged + above.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
        return Pyramid(
            pointwise(levels[0], stride4, narrow4), pointwise(levels[1], stride8, narrow8), merged
        )


def pointwise(
    cells: Float[Tensor, "b h w below"], *layers: nn.Module
) -> Float[Tensor, "b h w above"]:
    """Apply convolutions of 1 x 1 that have nothing between them, as one."""
    weight, bias = _matrix(layers[0])
    for layer in layers[1:]:
        above, more = _matrix(layer)
        weight, bias = above @ weight, above @ bias + more
    return linear(cells, weight.to(cells.dtype), bias.to(cells.dtype))


def _matrix(layer: nn.Module) -> tuple[Tensor, Tensor]:
    assert isinstance(layer, nn.Conv2d)
    assert layer.bias is not None
    return layer.weight[:, :, 0, 0].float(), layer.bias.float()
