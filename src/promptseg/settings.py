"""What the environment says, as one frozen record that only the doors read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from promptseg.errors import ConfigError

# 512 MiB hold the features of some hundred images of the built-in model.
CACHE_BYTES = 512 * 2**20
# Twice the pixels that fit in 256 MiB of RGB, where Pillow too refuses an image.
MAX_PIXELS = 178_956_970


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Defaults of the command line. Each is read from `PROMPTSEG_` and its name in capitals."""

    model: str = field(default="builtin", metadata={"help": "name or path of the model"})
    device: str = field(default="auto", metadata={"help": "auto, cpu, cuda, cuda:1, mps"})
    dtype: str = field(default="auto", metadata={"help": "auto, float32, bfloat16, float16"})
    cache_bytes: int = field(
        default=CACHE_BYTES, metadata={"help": "bytes of image features kept; 0 keeps none"}
    )
    max_pixels: int = field(
        default=MAX_PIXELS, metadata={"help": "an image of more pixels is refused unread"}
    )

    def __post_init__(self) -> None:
        if self.cache_bytes < 0:
            raise ConfigError(f"cache_bytes is at least 0, got {self.cache_bytes}")
        if self.max_pixels < 1:
            raise ConfigError(f"max_pixels is at least 1, got {self.max_pixels}")


def load(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from `environment`, by default that of the process. Empty counts as unset.

    Raises:
        ConfigError: a number is not a whole number, or out of range.
    """
    given = os.environ if environment is None else environment
    return Settings(
        model=given.get(variable("model")) or Settings.model,
        device=given.get(variable("device")) or Settings.device,
        dtype=given.get(variable("dtype")) or Settings.dtype,
        cache_bytes=_whole_number(given, "cache_bytes", Settings.cache_bytes),
        max_pixels=_whole_number(given, "max_pixels", Settings.max_pixels),
    )


def variable(name: str) -> str:
    """Return the environment variable of a setting."""
    return f"PROMPTSEG_{name.upper()}"


def _whole_number(given: Mapping[str, str], name: str, default: int) -> int:
    text = given.get(variable(name)) or str(default)
    try:
        return int(text)
    except ValueError:
        raise ConfigError(
            f"`{variable(name)}` is a whole number, got `{text}`",
            hint="Write it in digits, such as 536870912 for 512 MiB",
        ) from None
