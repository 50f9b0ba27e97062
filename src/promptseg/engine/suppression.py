"""Of things whose boxes overlap too much, the best one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64

from promptseg.shapes import BoxArray


def suppress_boxes(
    boxes: BoxArray, worth: Sequence[float], *, max_iou: float
) -> Int64[np.ndarray, " _"]:
    """Return which boxes (x0, y0, x1, y1) to keep, the most worthy first, of equals the earlier.

    A box goes where its intersection over union with a better one that stays is above `max_iou`.
    Boxes without an inside, such as those of masks one pixel wide, meet only their likes.
    """
    left = np.argsort(-np.asarray(worth, dtype=np.float64), kind="stable")
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept: list[int] = []
    while left.size:
        best, left = left[0], left[1:]
        kept.append(int(best))
        low = np.maximum(boxes[best, :2], boxes[left, :2])
        high = np.minimum(boxes[best, 2:], boxes[left, 2:])
        common = np.maximum(high - low, 0).prod(axis=1)
        either = areas[best] + areas[left] - common
        alike = (boxes[left] == boxes[best]).all(axis=1)
        iou = np.where(either > 0, common / np.maximum(either, 1), alike)
        left = left[iou <= max_iou]
    return np.array(kept, dtype=np.int64)
