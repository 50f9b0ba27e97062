"""Cutting a map into windows and putting it together again."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Shaped
from torch import Tensor
from torch.nn import functional


class Window(NamedTuple):
    """The size of a window, in cells."""

    height: int
    width: int


def split(
    cells: Shaped[Tensor, "b h w c"], window: Window
) -> Shaped[Tensor, "n {window.height} {window.width} c"]:
    """Cut `b` maps, channels last, into windows in reading order, image by image.

    A map that windows do not fill is padded with zeros at its right and its lower edge.
    """
    height, width = cells.shape[1:3]
    padding = (0, 0, 0, -width % window.width, 0, -height % window.height)
    padded = functional.pad(cells, padding) if any(padding) else cells
    rows = torch.unflatten(padded, 1, (-1, window.height))
    rows = torch.unflatten(rows, 3, (-1, window.width))
    return rows.transpose(2, 3).flatten(0, 2)  # b rows columns, height, width, c


def join(
    windows: Shaped[Tensor, "n s t c"], *, height: int, width: int
) -> Shaped[Tensor, "b {height} {width} c"]:
    """Put maps of `height x width` cells together from their windows, without the padding."""
    window = Window(*windows.shape[1:3])
    down, across = -(-height // window.height), -(-width // window.width)
    rows = torch.unflatten(windows, 0, (-1, down, across)).transpose(2, 3)
    padded = rows.flatten(3, 4).flatten(1, 2)  # b down*s across*t c
    return padded[:, :height, :width]
