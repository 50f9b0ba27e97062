"""Sizes of the SAM 3 networks.

Numbers are those of the published model as transformers' `Sam3Config` and its parts give them
(Apache-2.0, `configuration_sam3.py`), checked against the shapes of the tensors.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from promptseg.errors import ConfigError
from promptseg.nn.parts.memory import MemoryConfig
from promptseg.nn.parts.sizes import require_sizes

# Cells of the decoder's masks to a cell of the trunk, along a side.
MASK_SCALE = 4


@dataclass(frozen=True, kw_only=True)
class TrunkConfig:
    """Sizes of a plain vision transformer (Li 2022) with rotary positions.

    `window` is the side of attention windows in cells; `global_blocks`, counted from 0, have none.
    `background` is the side of the map of learned positions, which is laid out like tiles.

    Raises:
        ConfigError: the sizes do not fit each other, or are no whole numbers within bounds.
    """

    patch: int = 14
    width: int = 1024
    depth: int = 32
    heads: int = 16
    hidden: int = 4736
    window: int = 24
    global_blocks: tuple[int, ...] = (7, 15, 23, 31)
    background: int = 24

    def __post_init__(self) -> None:
        require_sizes(
            patch=self.patch,
            width=self.width,
            depth=self.depth,
            heads=self.heads,
            hidden=self.hidden,
            window=self.window,
            background=self.background,
        )
        if not isinstance(self.global_blocks, tuple) or not all(
            type(block) is int and 0 <= block < self.depth for block in self.global_blocks
        ):
            raise ConfigError(
                f"global blocks are numbers from 0 to {self.depth - 1}, got {self.global_blocks}"
            )
        if self.width % (4 * self.heads):
            raise ConfigError(
                f"width {self.width} is not a multiple of four times heads {self.heads}"
            )


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """Sizes of the text encoder, CLIP's (Radford 2021): `context` tokens of a phrase are read.

    Raises:
        ConfigError: the sizes do not fit each other, or are no whole numbers within bounds.
    """

    vocabulary: int = 49408
    context: int = 32
    width: int = 1024
    depth: int = 24
    heads: int = 16
    hidden: int = 4096

    def __post_init__(self) -> None:
        # The one size that is larger than all others.
        require_sizes(most=1 << 20, vocabulary=self.vocabulary)
        require_sizes(
            context=self.context,
            width=self.width,
            depth=self.depth,
            heads=self.heads,
            hidden=self.hidden,
        )
        if self.width % self.heads:
            raise ConfigError(f"width {self.width} is not a multiple of heads {self.heads}")
        if self.context < 2:
            raise ConfigError(f"a phrase needs two tokens, got a context of {self.context}")


@dataclass(frozen=True, kw_only=True)
class FinderConfig:
    """Sizes of the half that finds: layers of its parts, `queries` it can answer with.

    `roi` is the side of the grid on which an example box is looked at, in cells; `groups` those of
    the mask head's norms.

    Raises:
        ConfigError: the sizes are no whole numbers within bounds.
    """

    text: TextConfig = field(default_factory=TextConfig)
    exemplar_layers: int = 3
    fusion_layers: int = 6
    detector_layers: int = 6
    queries: int = 200
    roi: int = 7
    groups: int = 8

    def __post_init__(self) -> None:
        require_sizes(
            exemplar_layers=self.exemplar_layers,
            fusion_layers=self.fusion_layers,
            detector_layers=self.detector_layers,
            queries=self.queries,
            roi=self.roi,
            groups=self.groups,
        )


@dataclass(frozen=True, kw_only=True)
class ClickerConfig:
    """Sizes of the half that answers points, boxes and hints, as SAM 2 does.

    `memory` is None for a network of images only.
    """

    memory: MemoryConfig | None = field(default_factory=MemoryConfig)


@dataclass(frozen=True, kw_only=True)
class Sam3Config:
    """Sizes of a SAM 3 network.

    `image_side` is the square that images are squashed into. `channels` is the width of both necks
    and of all that follows, with `heads` heads and perceptrons of width `hidden`. `finder` and
    `clicker` are None where the weights do not have that half; one at least is there.

    Raises:
        ConfigError: the sizes do not fit each other, or are no whole numbers within bounds.
    """

    trunk: TrunkConfig = field(default_factory=TrunkConfig)
    image_side: int = 1008
    channels: int = 256
    heads: int = 8
    hidden: int = 2048
    finder: FinderConfig | None = field(default_factory=FinderConfig)
    clicker: ClickerConfig | None = field(default_factory=ClickerConfig)

    def __post_init__(self) -> None:
        require_sizes(
            image_side=self.image_side,
            channels=self.channels,
            heads=self.heads,
            hidden=self.hidden,
        )
        tile = self.trunk.patch * self.trunk.window
        if self.image_side % tile:
            raise ConfigError(
                f"the image side must be a multiple of {tile}, which is a window of patches, "
                f"got {self.image_side}"
            )
        if self.grid_side % self.trunk.background:
            raise ConfigError(
                f"{self.grid_side} cells a side are no whole number of tiles of "
                f"{self.trunk.background} learned positions"
            )
        if self.channels % 8 or self.channels // 2 % self.heads:
            raise ConfigError(
                f"channels {self.channels} must be a multiple of 8 and of twice heads {self.heads}"
            )
        memory = self.clicker.memory if self.clicker else None
        if memory and self.channels % memory.channels:
            raise ConfigError(
                f"channels {self.channels} must be a multiple of those of memory, {memory.channels}"
            )
        if self.finder is None and self.clicker is None:
            raise ConfigError("a SAM 3 network needs one of its halves, got neither")
        if self.finder and self.channels % self.finder.groups:
            raise ConfigError(
                f"channels {self.channels} are no multiple of groups {self.finder.groups}"
            )

    @property
    def grid_side(self) -> int:
        """The side of the trunk's map, in cells."""
        return self.image_side // self.trunk.patch

    @property
    def mask_side(self) -> int:
        """The side of logits and hints, in cells."""
        return MASK_SCALE * self.grid_side


PUBLISHED = Sam3Config()
