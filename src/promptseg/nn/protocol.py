"""All that the engine knows of a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from promptseg.nn.outputs import ImageFeatures, MaskLogits, PromptTensors


@dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """What the engine must know to feed a network and to read its answers.

    `image_side` is the side of the input square in pixels, `mask_side` that of logits and hints;
    `mean` and `std` normalise pixels in 0..1; `digest` names the weights, so that cached features
    are never mixed up. `sure` is the candidate made for prompts that leave no doubt, None where all
    candidates are alike.
    """

    image_side: int
    mask_side: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    digest: str
    sure: int | None = None


@runtime_checkable
class Promptable(Protocol):
    """A network that answers points, boxes and mask hints."""

    @property
    def spec(self) -> NetworkSpec:
        """Sizes, normalisation and identity."""

    def encode(self, pixels: Float[Tensor, "b 3 H W"]) -> ImageFeatures:
        """Look at normalised images once."""

    def decode(self, features: ImageFeatures, prompts: PromptTensors) -> MaskLogits:
        """Answer any number of prompts on the features of one image."""
