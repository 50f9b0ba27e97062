"""One frame of a video, wherever it comes from."""

from __future__ import annotations

from dataclasses import dataclass

from promptseg.shapes import ImageArray


@dataclass(frozen=True, eq=False)
class Frame:
    """Pixels, H W 3 RGB uint8, with the place of the frame in its source.

    `index` counts all frames of the source from 0, also those that were left out; `time` is when it
    is shown, in seconds from the first frame of the source.
    """

    index: int
    time: float
    pixels: ImageArray
