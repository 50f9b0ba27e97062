"""What lies in boxes of a map, on grids of one size (RoI align: He 2017, section 3)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def pool_boxes(
    grid: Float[Tensor, "_ h w c"], boxes: Float[Tensor, "n p 4"], side: int
) -> Float[Tensor, "n p {side} {side} c"]:
    """Average a map within each cell of a `side x side` grid over each box.

    Boxes are x0 y0 x1 y1 in cells of the map, of which there is one, or one for each row of boxes.
    Every cell of the grid is the mean of as many samples along a side as map cells lie in it. The
    conventions are those of torchvision's `roi_align` as it is by default: the middle of the map's
    first cell is at 0, a box is one map cell wide at least, samples beyond the map by more than
    one cell are 0.

    A sample is interpolated along both axes apart, so the mean is a product of two matrices with
    the map. It is made in float32.
    """
    height, width, channels = grid.shape[1:]
    spans = torch.unflatten(boxes.float(), 2, (2, 2)).transpose(2, 3)  # n p xy 2
    columns = _shares(spans[:, :, 0], side, width)
    rows = _shares(spans[:, :, 1], side, height)
    maps = grid.float().flatten(2)  # _ h w*c
    flat = rows.flatten(1, 2)  # n p*side h
    bands = flat @ (maps[0] if len(maps) == 1 else maps)
    bands = bands.reshape(*boxes.shape[:2], side, width, channels)
    return (columns[:, :, None] @ bands).to(grid.dtype)


def _shares(
    spans: Float[Tensor, "n p 2"], bins: int, cells: int
) -> Float[Tensor, "n p {bins} {cells}"]:
    """What each cell of a line gives to each bin of a span: the mean over the bin's samples."""
    start, end = spans.unbind(2)
    length = (end - start).clamp(min=1)
    count = (length / bins).ceil()
    sample = torch.arange(int(count.max()), device=spans.device)
    bin_ = torch.arange(bins, device=spans.device)[:, None]
    start, length, count = (each[..., None, None] for each in (start, length, count))
    place = start + length / bins * (bin_ + (sample + 0.5) / count)  # n p bins samples
    counts = (sample < count) & (place >= -1) & (place <= cells)
    nearness = place.clamp(0, cells - 1)[..., None] - torch.arange(cells, device=spans.device)
    weights = (1 - nearness.abs()).clamp(min=0) * counts[..., None]
    return weights.sum(dim=3) / count
