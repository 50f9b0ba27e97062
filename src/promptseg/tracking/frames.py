"""Frames of a video as a network wants them.

The one resize of every video, whatever it comes from: bicubic, on bytes, and rounded to bytes, as
SAM 2 resizes the frames of a video that lies in a folder (Pillow's `Image.resize`). Images are
resized otherwise (`engine.preprocess`), as SAM 2 does too: so the first frame of a video and the
same picture asked about alone have masks that differ a little.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32
from PIL import Image
from torch import Tensor

from promptseg.engine.runtime import Runtime
from promptseg.geometry import Size
from promptseg.nn.outputs import ImageFeatures
from promptseg.nn.protocol import NetworkSpec
from promptseg.shapes import ImageArray


class WatchedFrame(NamedTuple):
    """A frame that a network has looked at (`Trackable.watch`)."""

    size: Size
    features: ImageFeatures


def frame_pixels(
    frame: ImageArray, spec: NetworkSpec, runtime: Runtime
) -> Float32[Tensor, "1 3 side side"]:
    """Squash a frame into the network's square, normalised."""
    square = (spec.image_side, spec.image_side)
    squashed = np.array(Image.fromarray(frame).resize(square, Image.Resampling.BICUBIC))
    grid = torch.from_numpy(squashed).to(runtime.device).permute(2, 0, 1)[None].float()
    mean = torch.tensor(spec.mean, device=runtime.device)[:, None, None]
    std = torch.tensor(spec.std, device=runtime.device)[:, None, None]
    return ((grid / 255 - mean) / std).contiguous(memory_format=torch.channels_last)
