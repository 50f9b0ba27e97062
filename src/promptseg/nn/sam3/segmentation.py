"""From slots to masks, over an image enlarged fourfold (MaskFormer, Cheng 2021; SAM 3, 2025).

The map of a question is doubled twice, each time with the neck's map of that side added to it,
convolved, normed and rectified. Nothing of the neck's share in this depends on the question:

    conv(enlarged(map) + finer) = conv(finer) + conv(enlarged(map))

The first term is worked out once per image. In the second every cell has been repeated, so that
each of the four places within a cell has a kernel of 2 x 2 cells of its own: 16 products for four
places instead of 36.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from promptseg.nn.parts.attention import ImageToTokens
from promptseg.nn.parts.layers import Perceptron, at_a_time
from promptseg.nn.parts.products import compare
from promptseg.nn.sam3.exemplars import Question

# Cells that a CPU norms and compares with slots at a time, so that what lies between stays in its
# caches.
CELLS = 2048
# Which weights of three in a row meet a cell and the next, where the cell is the first of the two
# that a place in the enlarged map touches: for the first place of two, and for the second.
MEETING = (((1.0, 0.0, 0.0), (0.0, 1.0, 1.0)), ((1.0, 1.0, 0.0), (0.0, 0.0, 1.0)))


class MaskHead(nn.Module):
    """Masks of slots, as likeness to the cells of the enlarged map."""

    def __init__(self, channels: int, *, heads: int, groups: int) -> None:
        super().__init__()
        self.asking_norm = nn.LayerNorm(channels)
        self.asking = ImageToTokens(channels, heads=heads, inner=channels)
        self.middle = Doubling(channels, groups=groups)
        self.fine = Doubling(channels, groups=groups)
        self.cells = nn.Conv2d(channels, channels, 1)
        self.slots = Perceptron((channels, channels, channels, channels))

    def forward(
        self,
        image: Float[Tensor, "n h w c"],
        question: Question,
        middle: Float[Tensor, "_ 2*h 2*w c"],
        fine: Float[Tensor, "_ 4*h 4*w c"],
        slots: Sequence[Float[Tensor, "_ c"]],
    ) -> list[Float[Tensor, "_ 4*h 4*w"]]:
        """Draw some slots of each of `n` questions; float32 logits, positive inside.

        `middle` and `fine` are prepared by the parts of these names.
        """
        height, width = fine.shape[1:3]
        cells = image.flatten(1, 2)
        tokens, attended = question
        cells = cells + self.asking(self.asking_norm(cells), tokens, tokens, attended)
        doubled = self.middle.rectified(self.middle(cells.reshape(image.shape), middle))
        enlarged = self.fine(doubled, fine).flatten(1, 2)  # n s c
        scales, shifts = scale_and_shift(self.fine.norm, enlarged)
        return [
            torch.unflatten(self._draw(*each), 1, (height, width))
            for each in zip(slots, enlarged, scales, shifts, strict=True)
        ]

    def _draw(
        self,
        slots: Float[Tensor, "m c"],
        cells: Float[Tensor, "s c"],
        scale: Float[Tensor, " c"],
        shift: Float[Tensor, " c"],
    ) -> Float[Tensor, "m s"]:
        """Compare slots with the cells of a question, once these are normed and rectified.

        What makes the cells comparable is linear, so it is done to the slots, which are fewer.
        """
        assert self.cells.bias is not None
        embedded = self.slots(slots)
        rows = embedded @ self.cells.weight[:, :, 0, 0]
        level = (embedded @ self.cells.bias)[:, None]
        portions = torch.split(cells, at_a_time(cells, CELLS))
        rectified = ((some * scale + shift).relu().to(cells.dtype) for some in portions)
        logits = [compare(rows[None], some[None])[0] + level for some in rectified]
        return torch.cat(logits, dim=1).float()


class Doubling(nn.Module):
    """A map enlarged twofold and joined with a finer one."""

    def __init__(self, channels: int, *, groups: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        self.norm = nn.GroupNorm(groups, channels)

    def prepare(self, finer: Float[Tensor, "b h w c"]) -> Float[Tensor, "b h w c"]:
        """Work out the finer map's share in the sum; once per image."""
        return channels_last(self.conv(channels_first(finer)))

    def forward(
        self, cells: Float[Tensor, "n h w c"], prepared: Float[Tensor, "_ 2*h 2*w c"]
    ) -> Float[Tensor, "n 2*h 2*w c"]:
        """Add the share of the map that is enlarged; neither normed nor rectified."""
        height, width = cells.shape[1:3]
        grid = channels_first(cells)
        total = prepared.new_empty(len(cells), *prepared.shape[1:])
        meeting = torch.tensor(MEETING, device=cells.device)  # place of cell, weight
        weight = self.conv.weight.float()
        for y in range(2):
            for x in range(2):
                kernel = meeting[y] @ weight @ meeting[x].T  # above below 2 2
                share = channels_last(functional.conv2d(grid, kernel.to(cells.dtype), padding=1))
                inside = share[:, y : y + height, x : x + width]
                total[:, y::2, x::2] = prepared[:, y::2, x::2] + inside
        return total

    def rectified(self, total: Float[Tensor, "n h w c"]) -> Float[Tensor, "n h w c"]:
        """Norm and rectify a sum."""
        return channels_last(self.norm(channels_first(total)).relu())


def scale_and_shift(
    norm: nn.GroupNorm, cells: Float[Tensor, "n s c"]
) -> tuple[Float[Tensor, "n c"], Float[Tensor, "n c"]]:
    """Return what a group norm multiplies each channel with, and what it adds, in float32.

    The variance of all is that within parts of the cells, and within channels, and that of their
    means. Torch reads cells that lie apart one channel at a time, and takes ten times as long.
    """
    groups = (norm.num_groups, -1)
    parts = torch.split(cells, at_a_time(cells, CELLS), dim=1)
    columns = zip(*(_mean_and_variance(part) for part in parts), strict=True)
    means, variances = (
        torch.unflatten(torch.stack(column, dim=1), 2, groups) for column in columns
    )
    shares = means.new_tensor([part.shape[1] / cells.shape[1] for part in parts])[:, None, None]
    shares = shares / means.shape[3]  # parts 1 1, beside n parts groups _
    mean = (means * shares).sum(dim=(1, 3))[..., None]
    apart = (means - mean[:, None]).square()
    variance = ((variances + apart) * shares).sum(dim=(1, 3))[..., None]
    weight, bias = (torch.unflatten(each.float(), 0, groups) for each in (norm.weight, norm.bias))
    scale = (variance + norm.eps).rsqrt() * weight
    shift = bias - mean * scale
    return scale.flatten(1), shift.flatten(1)


def _mean_and_variance(
    cells: Float[Tensor, "n s c"],
) -> tuple[Float[Tensor, "n c"], Float[Tensor, "n c"]]:
    mean = cells.float().mean(dim=1)
    return mean, (cells.float() - mean[:, None]).square().mean(dim=1)


def channels_first(grid: Float[Tensor, "n h w c"]) -> Float[Tensor, "n c h w"]:
    """Look at a grid as convolutions do; its memory stays as it is."""
    return grid.permute(0, 3, 1, 2)


def channels_last(grid: Float[Tensor, "n c h w"]) -> Float[Tensor, "n h w c"]:
    """Look at a grid as products do; its memory stays as it is."""
    return grid.permute(0, 2, 3, 1)
