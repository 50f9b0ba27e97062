"""The trunk of SAM 2: a Hiera (Ryali 2023), attention in windows on ever coarser maps.

Maps are `b h w c` here, channels last.
"""

from __future__ import annotations

from itertools import accumulate

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from promptseg.nn.parts import windows
from promptseg.nn.parts.attention import attend, join_heads, split_heads
from promptseg.nn.parts.layers import ROWS, Perceptron, at_a_time
from promptseg.nn.parts.products import Linear
from promptseg.nn.parts.windows import Window
from promptseg.nn.sam2.config import FIRST_STRIDE, HieraConfig

EPSILON = 1e-6
# How much wider the perceptron of a block is inside (SAM 2, `MultiScaleBlock`).
EXPANSION = 4


class Hiera(nn.Module):
    """Four stages of blocks at strides 4 to 32, and what each of them ends with."""

    def __init__(self, config: HieraConfig) -> None:
        super().__init__()
        width = config.width
        self.patches = nn.Conv2d(3, width, kernel_size=7, stride=FIRST_STRIDE, padding=3)
        self.background = nn.Parameter(torch.zeros(1, width, config.background, config.background))
        self.window = nn.Parameter(torch.zeros(1, width, config.windows[0], config.windows[0]))
        self.blocks = nn.ModuleList(_blocks(config))
        self.ends = tuple(end - 1 for end in accumulate(config.depths))

    def forward(self, pixels: Float[Tensor, "b 3 H W"]) -> tuple[Float[Tensor, "b _ _ _"], ...]:
        """Look at normalised images; return four maps, finest first."""
        cells = self.patches(pixels).permute(0, 2, 3, 1)
        cells = cells + self._positions(cells.shape[1]).to(cells.dtype)
        levels = []
        for i, block in enumerate(self.blocks):
            cells = block(cells)
            if i in self.ends:
                levels.append(cells)
        return tuple(levels)

    def _positions(self, side: int) -> Float[Tensor, "{side} {side} c"]:
        """Say where a cell is in the image, and, apart, in its window (Bolya 2023).

        The coarse map is enlarged along one axis after the other, as products.
        """
        coarse = self.background[0].float().permute(1, 2, 0)
        shares = _bicubic(len(coarse), side).to(coarse.device)
        smooth = shares @ torch.tensordot(shares, coarse, dims=1)  # side side c
        tiles = side // self.window.shape[-1]
        placed: Tensor = smooth + self.window[0].float().permute(1, 2, 0).tile(tiles, tiles, 1)
        return placed


class HieraBlock(nn.Module):
    """Attention of cells in a window of side `window`, or of all where it is 0; a perceptron."""

    def __init__(self, width: int, *, heads: int, window: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=EPSILON)
        self.attention = WindowAttention(width, width, heads=heads, window=window)
        self.norm2 = nn.LayerNorm(width, eps=EPSILON)
        self.mlp = Perceptron((width, EXPANSION * width, width), nn.GELU)

    def forward(self, cells: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h w c"]:
        """Refine a map."""
        cells = cells + self.attention(self.norm1(cells))
        thought: Tensor = self.mlp(self.norm2(cells))
        return cells + thought


class PoolingBlock(nn.Module):
    """The first block of a further stage, in windows of the stage before: halves and widens."""

    def __init__(self, width: int, *, heads: int, window: int) -> None:
        super().__init__()
        wide = 2 * width
        self.norm1 = nn.LayerNorm(width, eps=EPSILON)
        self.shortcut = Linear(width, wide)
        self.attention = PoolingAttention(width, wide, heads=heads, window=window)
        self.norm2 = nn.LayerNorm(wide, eps=EPSILON)
        self.mlp = Perceptron((wide, EXPANSION * wide, wide), nn.GELU)

    def forward(self, cells: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h/2 w/2 2*c"]:
        """Refine a map into one of half the side and twice the channels."""
        normed = self.norm1(cells)
        rows = max(at_a_time(cells, ROWS) // cells.shape[2] // 2 * 2, 2)
        bands = [halved(self.shortcut(band)) for band in torch.split(normed, rows, dim=1)]
        cells = torch.cat(bands, dim=1) + self.attention(normed)
        thought: Tensor = self.mlp(self.norm2(cells))
        return cells + thought


class WindowAttention(nn.Module):
    """Attention within each window of a map.

    Where windows reach over the edge of the map, their empty cells are attended to as well.
    """

    def __init__(self, width: int, wide: int, *, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.window = window
        self.qkv = Linear(width, 3 * wide)
        self.out = Linear(wide, wide)

    def forward(self, cells: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h w c"]:
        """Let the cells of each window look at each other."""
        height, width = cells.shape[1:3]
        mixed = windows.join(self._attend(self._split(cells)), height=height, width=width)
        gathered: Tensor = self.out(mixed)
        return gathered

    def _split(self, cells: Float[Tensor, "b h w c"]) -> Float[Tensor, "n s t c"]:
        height, width = cells.shape[1:3]
        window = Window(self.window, self.window) if self.window else Window(height, width)
        return windows.split(cells, window)

    def _attend(self, cells: Float[Tensor, "n s t c"]) -> Float[Tensor, "n i j d"]:
        """Attend within windows, in groups of them, as all queries and keys at once are large."""
        most = max(at_a_time(cells, ROWS) // (cells.shape[1] * cells.shape[2]), 1)
        if len(cells) <= most:
            return self._attend_at_once(cells)
        return torch.cat([self._attend_at_once(some) for some in torch.split(cells, most)])

    def _attend_at_once(self, cells: Float[Tensor, "n s t c"]) -> Float[Tensor, "n i j d"]:
        queries, keys, values = self.qkv(cells).chunk(3, dim=-1)
        queries = self._queries(queries)
        mixed = attend(
            split_heads(queries.flatten(1, 2), self.heads),
            split_heads(keys.flatten(1, 2), self.heads),
            split_heads(values.flatten(1, 2), self.heads),
        )
        return torch.unflatten(join_heads(mixed), 1, queries.shape[1:3])

    def _queries(self, queries: Float[Tensor, "n s t c"]) -> Float[Tensor, "n i j c"]:
        return queries


class PoolingAttention(WindowAttention):
    """Attention within each window, of a quarter as many queries."""

    def forward(self, cells: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h/2 w/2 2*c"]:
        """Let each two by two cells of a window look at all of it together."""
        height, width = cells.shape[1:3]
        parts = self._attend(self._split(cells))
        gathered: Tensor = self.out(windows.join(parts, height=height // 2, width=width // 2))
        return gathered

    def _queries(self, queries: Float[Tensor, "n s t c"]) -> Float[Tensor, "n s/2 t/2 c"]:
        return halved(queries)


def halved(cells: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h/2 w/2 c"]:
    """Keep, channel by channel, the highest of each two by two cells."""
    return functional.max_pool2d(cells.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)


def _blocks(config: HieraConfig) -> list[nn.Module]:
    blocks: list[nn.Module] = []
    width, heads, window = config.width, config.heads, config.windows[0]
    for stage, depth in enumerate(config.depths):
        for place in range(depth):
            side = 0 if len(blocks) in config.global_blocks else window
            if stage and not place:
                width, heads = 2 * width, 2 * heads
                blocks.append(PoolingBlock(width // 2, heads=heads, window=side))
                window = config.windows[stage]
            else:
                blocks.append(HieraBlock(width, heads=heads, window=side))
    return blocks


def _bicubic(cells: int, side: int) -> Float[Tensor, "{side} {cells}"]:
    """Return the share of each of a row's cells in what it is enlarged to."""
    apart = torch.eye(cells)[None, :, :, None]  # 1 c cells 1: every channel is one cell
    enlarged = functional.interpolate(apart, size=(side, 1), mode="bicubic", align_corners=False)
    return enlarged[0, :, :, 0].T
