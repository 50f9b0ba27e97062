"""The image half of the built-in network: everything that does not depend on a prompt."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from promptseg.nn.parts.layers import enlarge
from promptseg.nn.tiny.config import TinyConfig
from promptseg.nn.tiny.geodesic import geodesic_distance
from promptseg.nn.tiny.layers import ConvNorm, GlobalContext, ResidualBlock

COST_FLOOR = 0.02


class TinyFeatures(NamedTuple):
    """What the decoder reads of an image; grids are named by their stride.

    `appearance` holds vectors that are alike on one object, `costs` what it takes to cross a cell
    (learned outline, raw colour gradient), `border` the geodesic distance to the image border under
    each cost, `blend` the share that each of the nine cells round a cell has in each of its four
    pixels at stride 2.
    """

    grid4: Float[Tensor, "b c4 h w"]
    grid8: Float[Tensor, "b c8 h/2 w/2"]
    grid16: Float[Tensor, "b c16 h/4 w/4"]
    grid32: Float[Tensor, "b c32 h/8 w/8"]
    appearance: Float[Tensor, "b e h w"]
    costs: Float[Tensor, "b 2 h w"]
    border: Float[Tensor, "b 2 h w"]
    blend: Float[Tensor, "b 36 h w"]


class TinyEncoder(nn.Module):
    """A residual trunk at strides 4 to 32 and a top-down path back to stride 4."""

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        stem, *widths = config.widths
        tops = config.decoder_widths
        self.heads = config.heads
        self.sweeps = config.sweeps
        self.stem = ConvNorm(3, stem, stride=2)
        self.stages = nn.ModuleList(
            nn.Sequential(
                ConvNorm(below, width, stride=2),
                nn.ReLU(inplace=True),
                *(ResidualBlock(width) for _ in range(depth)),
            )
            for below, width, depth in zip(config.widths, widths, config.depths, strict=False)
        )
        self.context = GlobalContext(widths[-1])
        self.lateral = nn.ModuleList(
            ConvNorm(width, top, kernel=1) for width, top in zip(widths, tops, strict=True)
        )
        self.descend = nn.ModuleList(
            nn.Conv2d(above, top, 1) for above, top in zip(tops[1:], tops, strict=False)
        )
        self.merge = nn.ModuleList(ConvNorm(top, top) for top in tops[:-1])
        self.appearance = nn.Conv2d(tops[0], config.embedding, 1)
        self.outline = nn.Conv2d(tops[0], 1, 3, padding=1)
        self.blend = nn.Conv2d(tops[0] + widths[0], 36, 1)

    def forward(self, pixels: Float[Tensor, "b 3 H W"]) -> TinyFeatures:
        """Look at normalised images; sides are multiples of 32."""
        levels = []
        grid = functional.relu(self.stem(pixels))
        for stage in self.stages:
            grid = stage(grid)
            levels.append(grid)
        finest = levels[0]
        levels[-1] = self.context(levels[-1])

        tops = [functional.relu(self.lateral[3](levels[3]))]
        for i in (2, 1, 0):
            above = enlarge(self.descend[i](tops[0]))
            tops.insert(0, functional.relu(self.merge[i](self.lateral[i](levels[i]) + above)))

        outline = self.outline(tops[0]).float()
        costs = COST_FLOOR + torch.cat([outline.sigmoid(), colour_gradient(pixels)], dim=1)
        return TinyFeatures(
            grid4=tops[0],
            grid8=tops[1],
            grid16=tops[2],
            grid32=tops[3],
            appearance=self._unit_heads(self.appearance(tops[0]).float()),
            costs=costs,
            border=self._border_distance(costs.detach()),
            blend=self._mixes(torch.cat([tops[0], finest], dim=1)),
        )

    def _unit_heads(self, vectors: Float[Tensor, "b e h w"]) -> Float[Tensor, "b e h w"]:
        """Give each head's part of every vector length one, so that a product is a cosine."""
        b, _, h, w = vectors.shape
        parts = vectors.view(b, self.heads, -1, h, w)
        return functional.normalize(parts, dim=2).flatten(1, 2)

    def _mixes(self, grid: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 36 h w"]:
        """Make the weights of nine cells, for each of four pixels, sum to one."""
        shares: Tensor = self.blend(grid).float()
        b, _, h, w = shares.shape
        return shares.view(b, 9, 4, h, w).softmax(dim=1).flatten(1, 2)

    def _border_distance(self, costs: Float[Tensor, "b 2 h w"]) -> Float[Tensor, "b 2 h w"]:
        seeds = torch.ones_like(costs, dtype=torch.bool)
        seeds[..., 1:-1, 1:-1] = False
        distance = geodesic_distance(costs.flatten(0, 1), seeds.flatten(0, 1), sweeps=self.sweeps)
        return distance.view_as(costs)


def colour_gradient(pixels: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b 1 H/4 W/4"]:
    """How much colour changes in each 4x4 cell: 0..1, a third at the image's own mean."""
    smooth = functional.avg_pool2d(pixels.float(), 2)
    padded = functional.pad(smooth, (1, 1, 1, 1), mode="replicate")
    horizontal = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
    vertical = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
    strength = (horizontal.square() + vertical.square()).sum(dim=1, keepdim=True).sqrt()
    strength = functional.max_pool2d(strength, 2)
    return strength / (strength + 2 * strength.mean(dim=(2, 3), keepdim=True) + 1e-3)
