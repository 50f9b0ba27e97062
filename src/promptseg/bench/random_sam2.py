"""SAM 2 with random weights, and one whose masks stay near their point as trained weights' do.

Random weights mark half of every image. A cone round the point, wider for each candidate, is taken
from their logits, bounded, which leaves blobs with ragged outlines, of all sizes and more or less
stable.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from promptseg.geometry import Size
from promptseg.nn.outputs import ImageFeatures, Judgement, MaskLogits, PromptTensors
from promptseg.nn.sam2.config import Sam2Config
from promptseg.nn.sam2.model import Sam2Network
from promptseg.nn.sam2.video import sam2_of

# As many prompts as transformers gets at a time, and as segment-anything takes of a grid.
BATCH = 64
LARGE_PHOTO = Size(1500, 2250)
# Logits are bounded, raised at the point, and lowered as much by a distance of the square's side.
BOUND, HEIGHT, STEEPNESS = 4.0, 3.0, 96.0


def random_network(config: Sam2Config, *, seed: int = 5) -> Sam2Network:
    """Make a network with seeded weights that keep answers in scale."""
    generator = torch.Generator().manual_seed(seed)
    network = sam2_of(config, digest=f"random {seed}")
    for name, weight in network.state_dict().items():
        noise = torch.randn(weight.shape, generator=generator)
        if weight.ndim > 1 and name.endswith("weight"):
            fan_in = len(weight) if "upscale" in name else math.prod(weight.shape[1:])
            weight.copy_(noise / math.sqrt(fan_in))
        elif name.endswith(("weight", "bias")):
            weight.copy_(0.1 * noise + ("norm" in name and name.endswith("weight")))
        else:
            weight.copy_(noise)
    return network.eval().requires_grad_(requires_grad=False)


class LocalJudgement(NamedTuple):
    """What the network judged, and the points it was asked about."""

    judgement: Judgement
    points: Float[Tensor, "n p 2"]

    @property
    def scores(self) -> Float[Tensor, "n m"]:
        """Predicted IoU."""
        return self.judgement.scores

    @property
    def presence(self) -> Float[Tensor, " n"]:
        """The logit of there being an object."""
        return self.judgement.presence

    def of(self, rows: Sequence[int]) -> LocalJudgement:
        """Return what is known of some of the prompts."""
        return LocalJudgement(self.judgement.of(rows), self.points[list(rows)])


class LocalSam2:
    """Judges as its network does, and draws less."""

    def __init__(self, network: Sam2Network) -> None:
        self.network = network
        self.spec = network.spec

    def encode(self, pixels: Float[Tensor, "b 3 H W"]) -> ImageFeatures:
        """Look at normalised images once."""
        return self.network.encode(pixels)

    def decode(self, features: ImageFeatures, prompts: PromptTensors) -> MaskLogits:
        """Answer `n` prompts on the features of one image."""
        judged = self.judge(features, prompts)
        logits = self.draw(features, judged, range(judged.scores.shape[1]))
        return MaskLogits(logits, judged.scores, judged.presence)

    def judge(self, features: ImageFeatures, prompts: PromptTensors) -> LocalJudgement:
        """Score the candidates of `n` prompts."""
        return LocalJudgement(self.network.judge(features, prompts), prompts.points)

    def draw(
        self, features: ImageFeatures, judged: LocalJudgement, candidates: Sequence[int]
    ) -> Float[Tensor, "n _ h w"]:
        """Make the logits of some candidates of every judged prompt."""
        logits = self.network.draw(features, judged.judgement, candidates)
        return local(logits, judged.points, self.spec.image_side, candidates)


def local(
    logits: Float[Tensor, "n m h w"],
    points: Float[Tensor, "n p 2"],
    side: int,
    candidates: Sequence[int],
) -> Float[Tensor, "n m h w"]:
    """Take a cone round each prompt's first point from its candidates."""
    cells = (torch.arange(logits.shape[-1]) + 0.5) / logits.shape[-1]
    x, y = (points[:, 0] / side).unbind(dim=1)
    right, down = cells - x[:, None], cells - y[:, None]  # n w, n h
    away = torch.hypot(right[:, None], down[:, :, None])
    reach = torch.tensor([1.0 + 2 * each for each in candidates])[None, :, None, None]
    return logits.clamp(-BOUND, BOUND) + HEIGHT - STEEPNESS * away[:, None] / reach
