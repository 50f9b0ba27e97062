"""How to answer, as frozen records: the command line and the docs are made from their fields."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields

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
        if isinstance(threshold, bool) or not isinstance(threshold, (int, float)):
            raise ConfigError(f"`threshold` must be a number, got {threshold!r}")
        if not (math.isfinite(threshold) and 0 <= threshold <= 1):
            raise ConfigError(
                f"`threshold` must lie in 0..1, got {threshold:g}",
                hint="It is compared with the predicted IoU of a mask, which lies in 0..1",
            )
        for name in ("all_candidates", "logits"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"`{name}` must be true or false, got {getattr(self, name)!r}")


def help_of(record: type, name: str) -> str:
    """Return the sentence that explains one field of an option record."""
    return next(str(entry.metadata["help"]) for entry in fields(record) if entry.name == name)
