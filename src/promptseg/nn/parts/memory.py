"""The memory of SAM 2, and of SAM 3: what a frame leaves behind, and how later frames read it.

Nothing is kept here. Which frames are remembered, and for how long, is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from promptseg.errors import ConfigError
from promptseg.nn.outputs import Past
from promptseg.nn.parts.layers import Perceptron
from promptseg.nn.parts.memory_attention import MemoryAttention, Remembered
from promptseg.nn.parts.memory_encoder import MemoryEncoder
from promptseg.nn.parts.positions import TEMPERATURE, sine_positions
from promptseg.nn.parts.sizes import require_sizes

# A mask of 0..1 as logits (SAM 2's configs, `sigmoid_scale_for_mem_enc`, `..._bias_...`).
MASK_SCALE, MASK_BIAS = 20.0, -10.0
# Pixels of a mask to a cell of the hint made of it, along a side.
HINT_STRIDE = 4

VERSIONS = ("2", "2.1")


@dataclass(frozen=True, kw_only=True)
class MemoryConfig:
    """Sizes of the half of a network that remembers frames.

    `channels` is the width of what is remembered, `slots` the number of frames whose age is told:
    those that were prompted have the last one. Attention has `layers` with perceptrons of width
    `hidden`; `blocks` fuse an image with a mask. SAM 2.1 marks frames without the object and says
    how old its pointers are; SAM 2 does neither.

    Raises:
        ConfigError: the sizes do not fit each other, or are no whole numbers from 1 to `LIMIT`.
    """

    version: str = "2.1"
    channels: int = 64
    slots: int = 7
    layers: int = 4
    hidden: int = 2048
    blocks: int = 2

    def __post_init__(self) -> None:
        if self.version not in VERSIONS:
            raise ConfigError(f"the version must be `2` or `2.1`, got `{self.version}`")
        require_sizes(
            channels=self.channels,
            slots=self.slots,
            layers=self.layers,
            hidden=self.hidden,
            blocks=self.blocks,
        )
        if self.channels % 4:
            raise ConfigError(f"channels of memory must be a multiple of 4, got {self.channels}")


class Memory(nn.Module):
    """The memory of SAM 2."""

    def __init__(self, channels: int, config: MemoryConfig) -> None:
        super().__init__()
        self.encoder = MemoryEncoder(channels, narrow=config.channels, blocks=config.blocks)
        self.attention = MemoryAttention(
            channels, narrow=config.channels, layers=config.layers, hidden=config.hidden
        )
        self.ages = nn.Parameter(torch.zeros(config.slots, 1, 1, config.channels))
        self.pointer_head = Perceptron((channels, channels, channels, channels))
        self.no_pointer = nn.Parameter(torch.zeros(1, channels))
        self.mask_to_hint = nn.Conv2d(1, 1, kernel_size=HINT_STRIDE, stride=HINT_STRIDE)
        # In every published file; no published network reads it (`directly_add_no_mem_embed`).
        self.no_memory_place = nn.Parameter(torch.zeros(1, 1, channels))

    def remember(
        self,
        image: Float[Tensor, "#n c h w"],
        masks: Float[Tensor, "n H W"],
        presence: Float[Tensor, " n"],
    ) -> Float[Tensor, "n d h w"]:
        """Make memories of `n` objects in one frame, or in as many.

        `image` is the grid at stride 16, without a word about memory; `masks` are 0..1 at the side
        of the image; `presence` is a logit. Memories are bfloat16, as SAM 2 keeps them even where
        all else is float32: the rounding is part of its answers.
        """
        logits = (MASK_SCALE * masks + MASK_BIAS).to(image.dtype)
        return self._marked(self.encoder(image, logits), presence).bfloat16()

    def point(
        self, tokens: Float[Tensor, "n c"], presence: Float[Tensor, " n"]
    ) -> Float[Tensor, "n c"]:
        """Make pointers to `n` objects of the tokens of their masks, as the decoder leaves them."""
        return torch.where(presence[:, None] > 0, self.pointer_head(tokens), self.no_pointer)

    def hint(self, masks: Float[Tensor, "n H W"]) -> Float[Tensor, "n h w"]:
        """Make hints of masks of 0..1 that were given, so that the decoder can find pointers."""
        hints: Tensor = self.mask_to_hint(masks[:, None].to(self.mask_to_hint.weight.dtype))
        return hints[:, 0]

    def recall(
        self, image: Float[Tensor, "#n c h w"], pasts: Sequence[Past]
    ) -> Float[Tensor, "n c h w"]:
        """Tell the stride 16 grid of a frame what is known of each object from other frames.

        One image is enough for all of them.
        """
        told: Tensor = self.attention(image, [self._remembered(past, image) for past in pasts])
        return told

    def _remembered(self, past: Past, image: Float[Tensor, "#n c h w"]) -> Remembered:
        """Lay out grids, cell by cell, and pointers, cut into pieces as narrow as cells."""
        cells = past.grids.flatten(2).transpose(1, 2).flatten(0, 1).to(image.dtype)  # t*h*w d
        pieces = torch.unflatten(past.pointers, 1, (-1, cells.shape[1]))  # s c/d d
        count = pieces.shape[1]
        places = [self._cell_places(past), self._pointer_places(past).repeat_interleave(count, 0)]
        return Remembered(
            torch.cat([cells, pieces.flatten(0, 1).to(image.dtype)]),
            torch.cat(places).to(image.dtype),
            loose=len(pieces) * count,
        )

    def _cell_places(self, past: Past) -> Float[Tensor, "l d"]:
        """Say where a cell is and how long ago it was; the last age is that of prompted frames."""
        where = sine_positions(*past.grids.shape[1:]).flatten(1).T.to(self.ages)  # h*w d
        return (where + self.ages[past.ages - 1, 0]).flatten(0, 1)

    def _pointer_places(self, past: Past) -> Float[Tensor, "s d"]:
        return self.ages.new_zeros(len(past.distances), self.ages.shape[-1])

    def _marked(
        self, memories: Float[Tensor, "n d h w"], presence: Float[Tensor, " n"]
    ) -> Float[Tensor, "n d h w"]:
        return memories


class Memory21(Memory):
    """The memory of SAM 2.1: it marks frames without the object, and says how old pointers are."""

    def __init__(self, channels: int, config: MemoryConfig) -> None:
        super().__init__(channels, config)
        self.absence = nn.Parameter(torch.zeros(1, config.channels))
        self.pointer_ages = nn.Linear(channels, config.channels)

    def _pointer_places(self, past: Past) -> Float[Tensor, "s d"]:
        waves = sine_distances(past.distances, self.pointer_ages.in_features)
        places: Tensor = self.pointer_ages(waves.to(self.ages.dtype))
        return places

    def _marked(
        self, memories: Float[Tensor, "n d h w"], presence: Float[Tensor, " n"]
    ) -> Float[Tensor, "n d h w"]:
        absent = (presence <= 0)[:, None, None, None]
        return memories + absent * self.absence[:, :, None, None]


def memory_of(channels: int, config: MemoryConfig | None) -> Memory | None:
    """Make the memory of a version, or none for a network of images only."""
    if config is None:
        return None
    kinds = {"2": Memory, "2.1": Memory21}
    return kinds[config.version](channels, config)


def sine_distances(distances: Float[Tensor, " s"], channels: int) -> Float[Tensor, "s c"]:
    """Sines of distances at ever longer wavelengths, then cosines (SAM 2, `get_1d_sine_pe`)."""
    half = channels // 2
    steps = torch.arange(half, device=distances.device) // 2 * 2 / half
    phases = distances[:, None] / TEMPERATURE**steps
    return torch.cat([phases.sin(), phases.cos()], dim=1)
