"""Shapes of arrays, and the one legend of letters that every signature uses.

`b` images, `n` prompts or objects, `p` points of a prompt, `m` candidate masks, `c` channels,
`k` heads, `d` width of a head, `l` tokens, `t` frames, `q` corners of a polygon, `h w` the grid,
`H W` pixels.

Pixels are `H W 3` uint8 RGB; points `(x, y)`; boxes `(x0, y0, x1, y1)`; sizes `(height, width)`.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np

# jaxtyping doubles the time of importing this package, and only a type checker, or an import hook,
# which has loaded it by then, reads these shapes.
if TYPE_CHECKING or "jaxtyping" in sys.modules:
    from jaxtyping import Bool, Float, Float32, Float64, Int64, Num, Shaped, UInt8

    ImageArray = UInt8[np.ndarray, "H W 3"]
    MaskArray = Bool[np.ndarray, "H W"]
    MaskStack = Bool[np.ndarray, "n H W"]
    PointArray = Float64[np.ndarray, "p 2"]
    PointRow = Float64[np.ndarray, "2"]
    LabelArray = Int64[np.ndarray, " p"]
    BoxArray = Float64[np.ndarray, "n 4"]
    BoxRow = Float64[np.ndarray, "4"]
    ScoreArray = Float32[np.ndarray, " n"]
    IndexArray = Int64[np.ndarray, " n"]
    FlagArray = Bool[np.ndarray, " n"]
    LabelColumn = Shaped[np.ndarray, " n"]
    OverlapArray = Float64[np.ndarray, "n m"]
    LogitArray = Float[np.ndarray, "h w"]
    LogitStack = Float32[np.ndarray, "n h w"]
    CoverArray = Float32[np.ndarray, "h w"]
    RunArray = Int64[np.ndarray, " _"]
    RingArray = Int64[np.ndarray, "q 2"]
    HintArray = Num[np.ndarray, "h w"] | Bool[np.ndarray, "h w"]
else:
    ImageArray = MaskArray = MaskStack = PointArray = LabelArray = BoxArray = BoxRow = np.ndarray
    ScoreArray = IndexArray = FlagArray = OverlapArray = LogitArray = LogitStack = np.ndarray
    LabelColumn = PointRow = CoverArray = RunArray = RingArray = HintArray = np.ndarray
