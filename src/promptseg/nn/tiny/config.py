"""Sizes of the built-in network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from promptseg.errors import ConfigError

# Far above what is of use, and low enough that sizes in a damaged file cannot fill the memory.
LIMIT = 4096


@dataclass(frozen=True, kw_only=True)
class TinyConfig:
    """Sizes of the built-in network, a small convolutional encoder and a prompt-map decoder.

    `image_side` is the square that images are squashed into; the network itself works at any
    multiple of 32. `widths` are the encoder's channels at strides 2, 4, 8, 16 and 32, `depths` its
    residual blocks at strides 4 to 32. `decoder_widths` are the decoder's channels at strides 4, 8,
    16 and 32. `embedding` is the length of a pixel's appearance vector, split into `heads` parts
    that are compared one by one. `sweeps` is how often the geodesic distance is relaxed in each
    direction.
    """

    image_side: int = 384
    widths: tuple[int, int, int, int, int] = (16, 32, 64, 112, 160)
    depths: tuple[int, int, int, int] = (1, 2, 2, 2)
    decoder_widths: tuple[int, int, int, int] = (24, 32, 64, 96)
    embedding: int = 24
    heads: int = 4
    candidates: int = 3
    sweeps: int = 4

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not all(1 <= number <= LIMIT for number in np.atleast_1d(value)):
                raise ConfigError(f"`{name}` has numbers from 1 to {LIMIT}, got {value}")
        if self.image_side % 32:
            raise ConfigError(f"the image side must be a multiple of 32, got {self.image_side}")
        if self.embedding % self.heads:
            raise ConfigError(f"embedding {self.embedding} is not a multiple of heads {self.heads}")
