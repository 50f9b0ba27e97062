"""The sizes of a SAM 2 network as its tensors show them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from promptseg.nn.parts.memory import MemoryConfig
from promptseg.nn.sam2.config import HieraConfig, Sam2Config
from promptseg.weights.counting import count, numbers

# What only SAM 2.1 has of our tensors.
LATER = ("memory.absence", "memory.pointer_ages.")


@dataclass(frozen=True)
class Shown:
    """The sizes that shapes and names show."""

    width: int
    depths: tuple[int, ...]
    window: int
    background: int
    channels: int
    hidden: int
    memory: MemoryConfig | None

    def __str__(self) -> str:
        return f"a trunk of width {self.width} and {self.depths} blocks"

    def fitting(self, sizes: Iterable[Sam2Config]) -> Sam2Config | None:
        """Return those sizes that have this width and depth, or None."""
        for known in sizes:
            if (known.trunk.width, known.trunk.depths) == (self.width, self.depths):
                return known
        return None

    def whole(self, known: Sam2Config) -> Sam2Config | None:
        """Take what is shown, and the rest from sizes that are known; None if these do not fit.

        Raises:
            ConfigError: the sizes do not fit each other.
        """
        if len(self.depths) != len(known.trunk.depths):
            return None
        first, second, third, fourth = self.depths
        return Sam2Config(
            trunk=HieraConfig(
                width=self.width,
                heads=known.trunk.heads,
                depths=(first, second, third, fourth),
                windows=(self.window, *known.trunk.windows[1:]),
                global_blocks=known.trunk.global_blocks,
                background=self.background,
            ),
            image_side=known.image_side,
            channels=self.channels,
            heads=known.heads,
            hidden=self.hidden,
            memory=self.memory,
        )


def shown(tensors: Mapping[str, Tensor]) -> Shown:
    """Measure our tensors.

    Raises:
        LookupError: one is missing, or has too few axes.
        ValueError: a number in a name has too many digits.
    """
    pools = [place for place in numbers(tensors, "trunk.blocks.{}.shortcut.") if place]
    ends = [0, *pools, count(tensors, "trunk.blocks.{}.")]
    return Shown(
        width=tensors["trunk.patches.weight"].shape[0],
        depths=tuple(end - start for start, end in pairwise(ends)),
        window=tensors["trunk.window"].shape[3],
        background=tensors["trunk.background"].shape[3],
        channels=tensors["mask_decoder.mask_tokens"].shape[1],
        hidden=tensors["mask_decoder.transformer.layers.0.mlp.layers.0.weight"].shape[0],
        memory=shown_memory(tensors),
    )


def shown_memory(tensors: Mapping[str, Tensor], prefix: str = "") -> MemoryConfig | None:
    """Measure the memory of SAM 2, or of what has it behind a prefix; None where there is none.

    Raises:
        LookupError: a tensor is missing, or has too few axes.
        ValueError: a number in a name has too many digits.
        ConfigError: the sizes do not fit each other.
    """
    memory = f"{prefix}memory."
    if not any(name.startswith(memory) for name in tensors):
        return None
    ages = tensors[f"{memory}ages"]
    later = tuple(f"{prefix}{each}" for each in LATER)
    return MemoryConfig(
        version="2.1" if any(name.startswith(later) for name in tensors) else "2",
        channels=ages.shape[3],
        slots=ages.shape[0],
        layers=count(tensors, f"{memory}attention.layers.{{}}."),
        hidden=tensors[f"{memory}attention.layers.0.mlp.layers.0.weight"].shape[0],
        blocks=count(tensors, f"{memory}encoder.fuser.{{}}."),
    )
