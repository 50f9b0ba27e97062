"""Images stored as a grid of blocks, each decoded by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from promptseg.geometry import Size
from promptseg.shapes import ImageArray

Decode: TypeAlias = "Callable[[int, int], ImageArray]"


@dataclass(frozen=True, eq=False)
class Blocks:
    """An image of `size` in blocks of one size, but for the last of a row and of a column.

    `decode` gives the block of a row and a column of the grid, at least as far as the image goes.
    """

    size: Size
    block: Size
    decode: Decode

    def keeping(self, decode: Decode) -> Blocks:
        """Return the same image with another way to come by a block."""
        return replace(self, decode=decode)

    def read(self, x0: int, y0: int, x1: int, y1: int) -> ImageArray:
        """Return the pixels of a window, put together from the blocks that it meets."""
        height, width = self.block
        window = np.empty((y1 - y0, x1 - x0, 3), dtype=np.uint8)
        for row in range(y0 // height, -(-y1 // height)):
            for column in range(x0 // width, -(-x1 // width)):
                top, left = row * height, column * width
                high, low = max(y0, top), min(y1, top + height)
                near, far = max(x0, left), min(x1, left + width)
                block = self.decode(row, column)
                window[high - y0 : low - y0, near - x0 : far - x0] = block[
                    high - top : low - top, near - left : far - left
                ]
        return window
