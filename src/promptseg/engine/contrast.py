"""How much an image changes across the outline of a mask."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32
from PIL import Image

from promptseg.shapes import ImageArray, LogitArray

Cells = Float32[np.ndarray, "h w"]


class Contrast:
    """The differences between neighbouring cells of an image, on the grid of its masks."""

    def __init__(self, image: ImageArray, side: int) -> None:
        small = Image.fromarray(image).resize((side, side), Image.Resampling.BOX)
        cells = np.asarray(small, dtype=np.float32)
        self._across: Cells = np.abs(np.diff(cells, axis=1)).max(axis=2)
        self._down: Cells = np.abs(np.diff(cells, axis=0)).max(axis=2)

    def of(self, logits: LogitArray) -> float:
        """Return the mean difference across the outline, in levels of 255; 0 without an outline."""
        inside = logits > 0
        across, down = inside[:, 1:] != inside[:, :-1], inside[1:] != inside[:-1]
        count = np.count_nonzero(across) + np.count_nonzero(down)
        if not count:
            return 0.0
        return float((self._across[across].sum() + self._down[down].sum()) / count)
