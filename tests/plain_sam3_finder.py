"""What finds in SAM 3 as the papers draw it: the slow, obvious twins of the quick ones.

They read the weights of a `Finder`'s parts.
"""

from __future__ import annotations

import math
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional

from promptseg.nn.parts.attention import Attention
from promptseg.nn.sam3.exemplars import Question
from promptseg.nn.sam3.fusion import Fusion
from promptseg.nn.sam3.segmentation import MaskHead


def plain_attention(attention: Attention, queries, keys, values, attended=None, bias=0.0) -> Tensor:
    """Every query meets every key, and all that is added to their likeness is laid out."""

    def split(tokens: Tensor) -> Tensor:
        return tokens.unflatten(2, (attention.heads, -1)).transpose(1, 2)

    queries, keys, values = (
        split(layer(tokens))
        for layer, tokens in (
            (attention.queries, queries),
            (attention.keys, keys),
            (attention.values, values),
        )
    )
    likeness = queries @ keys.transpose(2, 3) / math.sqrt(queries.shape[3]) + bias
    if attended is not None:
        likeness = likeness.masked_fill(~attended[:, None, None], -torch.inf)
    return attention.out((likeness.softmax(dim=3) @ values).transpose(1, 2).flatten(2))


def plain_fusion(fusion: Fusion, image: Tensor, places: Tensor, question: Question) -> Tensor:
    """Every layer in full for every question; `image` and `places` are tokens."""
    tokens, attended = question
    cells = image.expand(len(tokens), -1, -1)
    for layer in fusion.layers:
        normed = layer.mixing_norm(cells)
        placed = normed + places
        cells = cells + plain_attention(layer.mixing, placed, placed, normed)
        normed = layer.asking_norm(cells)
        cells = cells + plain_attention(layer.asking, normed, tokens, tokens, attended)
        cells = cells + layer.mlp(layer.mlp_norm(cells))
    return cells


def plain_pixels(masks: MaskHead, image: Tensor, question: Question, finer: list[Tensor]) -> Tensor:
    """The enlarged map of every question, `n c h w`; `finer` are the neck's, channels last."""
    tokens, attended = question
    cells = image.flatten(1, 2)
    normed = masks.asking_norm(cells)
    cells = cells + plain_attention(masks.asking, normed, tokens, tokens, attended)
    grid = cells.reshape(image.shape).permute(0, 3, 1, 2)
    for doubling, level in zip((masks.middle, masks.fine), finer, strict=True):
        grid = functional.interpolate(grid, scale_factor=2.0, mode="nearest")
        grid = doubling.conv(grid + level.permute(0, 3, 1, 2))
        grid = doubling.norm(grid).relu()
    return grid


def plain_masks(masks: MaskHead, pixels: Tensor, slots: Tensor) -> Tensor:
    """Masks of all slots, `n q h w`."""
    return torch.einsum("nqc,nchw->nqhw", masks.slots(slots), masks.cells(pixels))


def plain_roi_align(grid: Tensor, boxes: list[Tensor], side: int) -> Tensor:
    """Sample by sample: what torchvision's `roi_align` gives for these three arguments.

    A map `c h w` of each image, and its boxes in cells; the answer is `p c side side`, p of all.
    """
    return torch.stack(
        [
            torch.stack(
                [_bin(image, box, side, row, column) for row, column in _cells(side)], dim=1
            ).unflatten(1, (side, side))
            for image, rows in zip(grid, boxes, strict=True)
            for box in rows
        ]
    )


def _cells(side: int) -> product:
    return product(range(side), range(side))


def _bin(image: Tensor, box: Tensor, side: int, row: int, column: int) -> Tensor:
    x0, y0, x1, y1 = box.tolist()
    width, height = max(x1 - x0, 1.0) / side, max(y1 - y0, 1.0) / side
    across, down = math.ceil(width), math.ceil(height)
    samples = [
        _sample(
            image,
            y0 + height * (row + (i + 0.5) / down),
            x0 + width * (column + (j + 0.5) / across),
        )
        for i, j in product(range(down), range(across))
    ]
    return torch.stack(samples).mean(dim=0)


def _sample(image: Tensor, y: float, x: float) -> Tensor:
    rows, columns = image.shape[1:]
    if not (-1 <= y <= rows and -1 <= x <= columns):
        return torch.zeros(len(image))
    y, x = min(max(y, 0.0), rows - 1.0), min(max(x, 0.0), columns - 1.0)
    top, left = int(y), int(x)
    below, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
    upper = image[:, top, left] * (left + 1 - x) + image[:, top, right] * (x - left)
    lower = image[:, below, left] * (left + 1 - x) + image[:, below, right] * (x - left)
    return upper * (top + 1 - y) + lower * (y - top)
