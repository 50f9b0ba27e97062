"""The neck of SAM 3: the trunk's map at one width, and at twice and four times its side.

Each half of the network has such a neck. One is published with a fourth map, of half the side,
that nothing reads: it is not here.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from promptseg.nn.parts.products import linear
from promptseg.nn.parts.upscale import as_product


class Levels(NamedTuple):
    """Three maps of `b` images, channels last; `coarse` has the cells of the trunk's."""

    fine: Float[Tensor, "b 4*h 4*w c"]
    middle: Float[Tensor, "b 2*h 2*w c"]
    coarse: Float[Tensor, "b h w c"]


class Neck(nn.Module):
    """A simple feature pyramid (Li 2022, section 3): every map is made of the trunk's last one."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.fine = Quadrupled(width, channels)
        self.middle = Doubled(width, channels)
        self.coarse = Level(width, channels)

    def forward(
        self,
        cells: Float[Tensor, "b h w width"],
        *,
        fine: nn.Conv2d | None = None,
        middle: nn.Conv2d | None = None,
    ) -> Levels:
        """Make three maps of one; `fine` and `middle`, of 1 x 1, follow on the maps they name."""
        return Levels(self.fine(cells, fine), self.middle(cells, middle), self.coarse(cells))


class Level(nn.Module):
    """A map brought to another width, and mixed with what lies beside."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(width, channels, kernel_size=1)
        self.mix = nn.Conv2d(channels, channels, kernel_size=3, padding=1)

    def forward(self, cells: Float[Tensor, "b h w width"]) -> Float[Tensor, "b h w c"]:
        """Make a map of the same side."""
        return self._mixed(linear(cells, self.narrow.weight[:, :, 0, 0], self.narrow.bias))

    def _mixed(
        self, cells: Float[Tensor, "b h w c"], then: nn.Conv2d | None = None
    ) -> Float[Tensor, "b h w _"]:
        """Mix, and narrow in the same step where that follows, as nothing is between the two."""
        weight, bias = folded(self.mix, then) if then else (self.mix.weight, self.mix.bias)
        mixed = functional.conv2d(cells.permute(0, 3, 1, 2), weight, bias, padding=1)
        return mixed.permute(0, 2, 3, 1)

    def _narrowed(
        self, cells: Float[Tensor, "b h w below"], enlarge: nn.ConvTranspose2d
    ) -> Float[Tensor, "b 2*h 2*w c"]:
        """Enlarge and narrow in one product, as nothing is between the two."""
        assert enlarge.bias is not None
        assert self.narrow.bias is not None
        narrow = self.narrow.weight[:, :, 0, 0].float()
        weight = torch.unflatten(as_product(enlarge).float(), 0, (4, -1))  # 4 middle below
        bias = narrow @ enlarge.bias.float() + self.narrow.bias.float()
        parts = linear(
            cells, (narrow @ weight).flatten(0, 1).to(cells.dtype), bias.repeat(4).to(cells.dtype)
        )
        return spread_out(parts)


class Doubled(Level):
    """A map of twice the side."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__(width // 2, channels)
        self.enlarge = nn.ConvTranspose2d(width, width // 2, kernel_size=2, stride=2)

    def forward(
        self, cells: Float[Tensor, "b h w width"], then: nn.Conv2d | None = None
    ) -> Float[Tensor, "b 2*h 2*w _"]:
        """Make a map of twice the side; `then`, of 1 x 1, follows."""
        return self._mixed(self._narrowed(cells, self.enlarge), then)


class Quadrupled(Level):
    """A map of four times the side, by two steps."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__(width // 4, channels)
        self.enlarge = nn.ConvTranspose2d(width, width // 2, kernel_size=2, stride=2)
        self.again = nn.ConvTranspose2d(width // 2, width // 4, kernel_size=2, stride=2)

    def forward(
        self, cells: Float[Tensor, "b h w width"], then: nn.Conv2d | None = None
    ) -> Float[Tensor, "b 4*h 4*w _"]:
        """Make a map of four times the side; `then`, of 1 x 1, follows."""
        assert self.enlarge.bias is not None
        parts = linear(cells, as_product(self.enlarge), self.enlarge.bias.repeat(4))
        doubled = spread_out(functional.gelu(parts))
        return self._mixed(self._narrowed(doubled, self.again), then)


def spread_out(cells: Float[Tensor, "b h w parts"]) -> Float[Tensor, "b 2*h 2*w parts/4"]:
    """Put the four parts of every cell, in reading order, in its place as cells."""
    parts = torch.unflatten(cells, 3, (2, 2, -1))  # b h w y x c
    return parts.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def folded(first: nn.Conv2d, second: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Return weight and bias of one convolution that does what two do, the second of 1 x 1."""
    assert first.bias is not None
    assert second.bias is not None
    matrix = second.weight[:, :, 0, 0].float()
    weight = torch.einsum("om,mikl->oikl", matrix, first.weight.float())
    bias = matrix @ first.bias.float() + second.bias.float()
    return weight.to(first.weight.dtype), bias.to(first.weight.dtype)
