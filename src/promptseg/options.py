"""How to answer and how to train, as frozen records that the command line is made from."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from numbers import Real

from promptseg.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class SegmentOptions:
    """How `segment` chooses among the candidates of an object; metadata explains each field.

    Raises:
        ConfigError: a value is of the wrong kind or out of range.
    """

    threshold: float = field(
        default=0.0,
        metadata={
            "help": "Least predicted IoU, 0 to 1, that a mask must reach; where none does, "
            "the best comes back marked as not confident."
        },
    )
    all_candidates: bool = field(
        default=False,
        metadata={"help": "Return every candidate mask of each object, not only the best one."},
    )
    logits: bool = field(
        default=False,
        metadata={"help": "Keep the low-resolution logits of each mask, to feed back as a hint."},
    )

    def __post_init__(self) -> None:
        threshold = self.threshold
        if isinstance(threshold, bool) or not isinstance(threshold, Real):
            raise ConfigError(f"`threshold` must be a number, got {threshold!r}")
        if not (math.isfinite(threshold) and 0 <= threshold <= 1):
            raise ConfigError(
                f"`threshold` must lie in 0..1, got {threshold:g}",
                hint="It is compared with the predicted IoU of a mask, which lies in 0..1",
            )
        for name in ("all_candidates", "logits"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"`{name}` must be true or false, got {getattr(self, name)!r}")


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
        _require_least(self, batch=1, things=1, repeats=1, buffer=1, workers=0, seed=0)
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
        _require_least(self, steps=1, warmup=0, rounds=1, save_every=1)
        if not 0 < self.rate <= 1:
            raise ConfigError(f"a learning rate is above 0 and at most 1, got {self.rate}")


def _require_least(record: object, **least: int) -> None:
    for name, bound in least.items():
        if not getattr(record, name) >= bound:
            raise ConfigError(f"`{name}` is at least {bound}, got {getattr(record, name)}")


def help_of(record: type, name: str) -> str:
    """Return the sentence that explains one field of an option record."""
    return next(str(entry.metadata["help"]) for entry in fields(record) if entry.name == name)
