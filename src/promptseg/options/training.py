"""How the built-in network is trained, and on which scenes."""

from __future__ import annotations

from dataclasses import dataclass, field

from promptseg.errors import ConfigError
from promptseg.options.checks import (
    require_least,
)


@dataclass(frozen=True, kw_only=True)
class StreamOptions:
    """How scenes are drawn: each is shown `repeats` times on average, `things` of it asked."""

    side: int = field(default=256, metadata={"help": "Side of a scene, a multiple of 32."})
    batch: int = field(default=4, metadata={"help": "Scenes in a step."})
    things: int = 4
    repeats: float = 2.0
    buffer: int = 256
    workers: int = field(default=1, metadata={"help": "Processes that make scenes."})
    seed: int = field(default=0, metadata={"help": "Seed of scenes and prompts."})

    def __post_init__(self) -> None:
        require_least(self, batch=1, things=1, repeats=1, buffer=1, workers=0, seed=0)
        if self.side < 64 or self.side % 32:
            raise ConfigError(
                f"the side of a scene is a multiple of 32 from 64 on, got {self.side}"
            )


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """How the built-in network is trained.

    The rate warms up over `warmup` steps, stays, and falls to nothing over the last `cooldown`
    share of `steps`. `rounds` is the most corrections that are simulated before the ones that
    teach.
    """

    steps: int = field(default=20_000, metadata={"help": "How many steps in all."})
    rate: float = field(default=1.5e-3, metadata={"help": "Learning rate at its height."})
    warmup: int = 200
    cooldown: float = 0.2
    weight_decay: float = 0.02
    rounds: int = 5
    average: float = 0.999
    save_every: int = 100
    absent_share: float = 0.03
    stream: StreamOptions = field(default_factory=StreamOptions)

    def __post_init__(self) -> None:
        require_least(self, steps=1, warmup=0, rounds=1, save_every=1)
        if not 0 < self.rate <= 1:
            raise ConfigError(f"a learning rate is above 0 and at most 1, got {self.rate}")
