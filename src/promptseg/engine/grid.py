"""Where `everything` looks: crops of an image, and points laid evenly over each.

The rules are those of segment-anything's automatic masks (its `utils/amg.py`), which SAM 2 kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import numpy as np
from jaxtyping import Float64

from promptseg.geometry import PixelBox, Size
from promptseg.options import EverythingOptions
from promptseg.shapes import PointArray


def crops(size: Size, *, layers: int, overlap: float) -> list[list[PixelBox]]:
    """Cut an image into itself, 4 crops, 16 and so on, as many times as `layers` says.

    Those of a layer overlap by `overlap` times the image's shorter side, doubled in the first layer
    and halved from each to the next. Crops without a pixel, or of the whole image again, are left
    out.
    """
    whole = PixelBox(0, 0, size.width, size.height)
    return [[whole]] + [_layer(whole, 2**layer, overlap) for layer in range(1, layers + 1)]


def grids(options: EverythingOptions) -> list[PointArray]:
    """Lay points evenly for each layer of crops, row by row, as shares of a crop's sides."""
    sides = [
        max(int(options.points_along_side / options.crop_points_downscale**layer), 1)
        for layer in range(options.layers + 1)
    ]
    return [_grid(side) for side in sides]


def in_pixels(grid: PointArray, crop: PixelBox) -> Float64[np.ndarray, "_ 2"]:
    """Place a grid in a crop, in pixels of the crop; of several points in a pixel one is kept."""
    scale = np.array([crop.size.width, crop.size.height])
    points: PointArray = grid * scale
    _, first = np.unique(np.floor(points), axis=0, return_index=True)
    return points[np.sort(first)]


def _grid(side: int) -> PointArray:
    middles = (np.arange(side) + 0.5) / side
    x, y = np.meshgrid(middles, middles)
    return np.stack([x.ravel(), y.ravel()], axis=1)


def _layer(whole: PixelBox, count: int, share: float) -> list[PixelBox]:
    height, width = whole.size
    overlap = int(share * min(height, width) * (2 / count))
    boxes = [
        PixelBox(x0, y0, min(x1, width), min(y1, height))
        for (x0, x1), (y0, y1) in product(_cut(width, count, overlap), _cut(height, count, overlap))
    ]
    return [box for box in dict.fromkeys(boxes) if min(box.size) > 0 and box != whole]


def _cut(length: int, count: int, overlap: int) -> Sequence[tuple[int, int]]:
    """Cut a side into `count` stretches of one length that overlap."""
    each = math.ceil((overlap * (count - 1) + length) / count)
    return [((each - overlap) * i, (each - overlap) * i + each) for i in range(count)]
