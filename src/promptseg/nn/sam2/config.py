"""Sizes of the SAM 2 and SAM 2.1 networks, which tell each other apart in their memory only.

Numbers are those of `sam2/configs/{sam2,sam2.1}/*.yaml` and, where these are silent, of `Hiera` and
`SAM2Base`, in https://github.com/facebookresearch/sam2.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from promptseg.errors import ConfigError
from promptseg.nn.parts.memory import MemoryConfig
from promptseg.nn.parts.sizes import require_sizes

# Pixels to a cell of the trunk's first map, and of its last.
FIRST_STRIDE, LAST_STRIDE = 4, 32
# The cells of the decoder's masks and of hints are as fine as the trunk's first map.
MASK_STRIDE = FIRST_STRIDE
# The map that prompts meet, and that is remembered.
PROMPT_STRIDE = 16


@dataclass(frozen=True, kw_only=True)
class HieraConfig:
    """Sizes of a Hiera trunk (Ryali 2023). Each stage halves the map and doubles width and heads.

    `windows` are the sides of attention windows by stage, in cells; `global_blocks`, counted from 0
    over all stages, have none. `background` is the side of the coarse map of learned positions.

    Raises:
        ConfigError: the sizes do not fit each other, or are no whole numbers from 1 to `LIMIT`.
    """

    width: int = 96
    heads: int = 1
    depths: tuple[int, int, int, int] = (1, 2, 7, 2)
    windows: tuple[int, int, int, int] = (8, 4, 14, 7)
    global_blocks: tuple[int, ...] = (5, 7, 9)
    background: int = 7

    def __post_init__(self) -> None:
        require_sizes(
            width=self.width,
            heads=self.heads,
            background=self.background,
            depths=self.depths,
            windows=self.windows,
        )
        if not (len(self.depths) == len(self.windows) == 4):
            raise ConfigError(
                f"a trunk has four stages, got depths {self.depths} and windows {self.windows}"
            )
        blocks = sum(self.depths)
        if not isinstance(self.global_blocks, tuple) or not all(
            type(block) is int and 0 <= block < blocks for block in self.global_blocks
        ):
            raise ConfigError(
                f"global blocks are numbers from 0 to {blocks - 1}, got {self.global_blocks}"
            )
        if self.width % self.heads:
            raise ConfigError(f"width {self.width} is not a multiple of heads {self.heads}")
        if any(window % 2 for window in self.windows[:3]):
            raise ConfigError(
                f"windows {self.windows} cannot be halved, as all but the last must be"
            )

    @property
    def widths(self) -> tuple[int, int, int, int]:
        """Channels of the four maps, finest first."""
        return (self.width, 2 * self.width, 4 * self.width, 8 * self.width)


@dataclass(frozen=True, kw_only=True)
class Sam2Config:
    """Sizes of a SAM 2 network.

    `image_side` is the square that images are squashed into. `channels` is the width of the neck
    and the decoder, which has `heads` heads and perceptrons of width `hidden`. `memory` is None for
    a network of images only.

    Raises:
        ConfigError: the sizes do not fit each other, or are no whole numbers from 1 to `LIMIT`.
    """

    trunk: HieraConfig = field(default_factory=HieraConfig)
    image_side: int = 1024
    channels: int = 256
    heads: int = 8
    hidden: int = 2048
    memory: MemoryConfig | None = field(default_factory=MemoryConfig)

    def __post_init__(self) -> None:
        require_sizes(
            image_side=self.image_side,
            channels=self.channels,
            heads=self.heads,
            hidden=self.hidden,
        )
        tile = self.trunk.windows[0] * FIRST_STRIDE
        if self.image_side % LAST_STRIDE or self.image_side % tile:
            raise ConfigError(
                f"the image side must be a multiple of {LAST_STRIDE} and of {tile}, "
                f"got {self.image_side}"
            )
        if max(self.trunk.windows) > self.mask_side:
            raise ConfigError(
                f"windows {self.trunk.windows} are larger than the first map, "
                f"which has {self.mask_side} cells a side"
            )
        if self.channels % 8 or self.channels // 2 % self.heads:
            raise ConfigError(
                f"channels {self.channels} must be a multiple of 8 and of twice heads {self.heads}"
            )
        if self.memory and self.channels % self.memory.channels:
            raise ConfigError(
                f"channels {self.channels} must be a multiple of those of memory, "
                f"{self.memory.channels}"
            )

    @property
    def version(self) -> str | None:
        """Which SAM 2 this is; images alone do not tell."""
        return self.memory.version if self.memory else None

    @property
    def mask_side(self) -> int:
        """The side of logits and hints, in cells."""
        return self.image_side // MASK_STRIDE

    @property
    def prompt_side(self) -> int:
        """The side of the map that prompts meet, in cells."""
        return self.image_side // PROMPT_STRIDE


TINY = Sam2Config()
SMALL = replace(TINY, trunk=HieraConfig(depths=(1, 2, 11, 2), global_blocks=(7, 10, 13)))
BASE_PLUS = replace(
    TINY,
    trunk=HieraConfig(
        width=112, heads=2, depths=(2, 3, 16, 3), global_blocks=(12, 16, 20), background=14
    ),
)
LARGE = replace(
    TINY,
    trunk=HieraConfig(
        width=144,
        heads=2,
        depths=(2, 6, 36, 4),
        windows=(8, 4, 16, 8),
        global_blocks=(23, 33, 43),
    ),
)
