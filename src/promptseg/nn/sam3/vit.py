"""The trunk of SAM 3: a plain vision transformer, whose attention stays in windows in most blocks.

Maps are `b h w c` here, channels last. A map that is cut into windows is a larger batch of smaller
maps, so blocks need not know in which of both they are.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from promptseg.nn.parts import windows
from promptseg.nn.parts.attention import attend, join_heads
from promptseg.nn.parts.layers import Perceptron, at_a_time
from promptseg.nn.parts.products import Linear
from promptseg.nn.parts.rotary import Turns, axial_turns, turned_heads
from promptseg.nn.parts.windows import Window
from promptseg.nn.sam3.config import TrunkConfig

# Meta's release; transformers has 1e-6.
EPSILON = 1e-5
# Cells, two windows, that a CPU works on at a time where the way widens: their 4736 channels take
# 22 MB rather than 98, and the perceptron up to a tenth less time (one Zen 5 core).
CELLS = 2 * 24 * 24


class Trunk(nn.Module):
    """Blocks on one map of `side` cells a side, the last of which is what it says of an image."""

    def __init__(self, config: TrunkConfig, *, side: int) -> None:
        super().__init__()
        self.config = config
        self.side = side
        width, patch = config.width, config.patch
        self.patches = nn.Conv2d(3, width, kernel_size=patch, stride=patch, bias=False)
        self.background = nn.Parameter(torch.zeros(1, config.background, config.background, width))
        self.norm = nn.LayerNorm(width, eps=EPSILON)
        self.blocks = nn.ModuleList(
            Block(width, heads=config.heads, hidden=config.hidden) for _ in range(config.depth)
        )

    def forward(self, pixels: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b h w c"]:
        """Look at normalised images.

        A map is cut and put together only where windows and their absence meet.
        """
        cells = self.patches(pixels).permute(0, 2, 3, 1)
        tiles = self.side // self.config.background
        cells = self.norm(cells + self.background.repeat(1, tiles, tiles, 1))
        turns = {side: self._turns(side) for side in (self.config.window, self.side)}
        for i, block in enumerate(self.blocks):
            side = self.side if i in self.config.global_blocks else self.config.window
            cells = block(self._laid(cells, side), turns[side])
        return self._laid(cells, self.side)

    def _laid(
        self, cells: Float[Tensor, "n s s c"], side: int
    ) -> Float[Tensor, "_ {side} {side} c"]:
        """Cut a map into windows of a side, or put it together, or leave it as it is."""
        if cells.shape[1] == side:
            return cells
        if side == self.side:
            return windows.join(cells, height=side, width=side)
        return windows.split(cells, Window(side, side))

    def _turns(self, side: int) -> Turns:
        """Say where the cells of a map are, which is as wide as a window wherever it is larger."""
        return axial_turns(
            self.config.width // self.config.heads,
            side,
            side,
            self.background.device,
            scale=self.config.window / side,
        )


class Block(nn.Module):
    """Attention between all cells of a map, and a perceptron."""

    def __init__(self, width: int, *, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=EPSILON)
        self.attention = GridAttention(width, heads=heads)
        self.norm2 = nn.LayerNorm(width, eps=EPSILON)
        self.mlp = Perceptron((width, hidden, width), nn.GELU, rows=CELLS)

    def forward(self, cells: Float[Tensor, "n s t c"], turns: Turns) -> Float[Tensor, "n s t c"]:
        """Refine maps, each by itself."""
        cells = cells + self.attention(self.norm1(cells), turns)
        thought: Tensor = self.mlp(self.norm2(cells))
        return cells + thought


class GridAttention(nn.Module):
    """Attention in which cells are turned by where they are."""

    def __init__(self, width: int, *, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = Linear(width, 3 * width)
        self.out = Linear(width, width)

    def forward(self, cells: Float[Tensor, "n s t c"], turns: Turns) -> Float[Tensor, "n s t c"]:
        """Let the cells of each map look at each other, in groups of maps."""
        tokens = cells.flatten(1, 2)
        most = max(at_a_time(cells, CELLS) // tokens.shape[1], 1)
        mixed = torch.cat([self._attend(some, turns) for some in torch.split(tokens, most)])
        gathered: Tensor = self.out(mixed)
        return gathered.reshape(cells.shape)

    def _attend(self, tokens: Float[Tensor, "n l c"], turns: Turns) -> Float[Tensor, "n l c"]:
        heads = torch.unflatten(self.qkv(tokens), 2, (3, self.heads, -1)).transpose(1, 3)
        queries, keys, values = heads.unbind(dim=2)  # n k l d
        return join_heads(attend(turned_heads(queries, turns), turned_heads(keys, turns), values))
