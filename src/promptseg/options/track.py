"""What `track` keeps of frames that it has seen."""

from __future__ import annotations

from dataclasses import dataclass, field

from promptseg.errors import ConfigError
from promptseg.options.checks import require_flag

# The nearest before a frame and the nearest after it are always read (SAM 2,
# `select_closest_cond_frames`).
FEWEST_PROMPTED = 2


@dataclass(frozen=True, kw_only=True)
class TrackOptions:
    """Which frames of an object are read and kept; metadata explains each field.

    Raises:
        ConfigError: a value is of the wrong kind or out of range.
    """

    most_prompted: int | None = field(
        default=None,
        metadata={
            "help": "How many prompted frames of an object a frame reads at most, the nearest "
            "ones; older ones are forgotten. All of them unless it is set."
        },
    )
    lasting_corrections: bool = field(
        default=False,
        metadata={
            "help": "Let a frame that was corrected count as prompted: it is read from then on, "
            "and not tracked again."
        },
    )
    forget: bool = field(
        default=True,
        metadata={
            "help": "Let go of what no frame reads that comes next, or next to a prompted frame. "
            "Without it memory grows with the video."
        },
    )

    def __post_init__(self) -> None:
        most = self.most_prompted
        if most is not None and (type(most) is not int or most < FEWEST_PROMPTED):
            raise ConfigError(
                f"`most_prompted` is a whole number, at least {FEWEST_PROMPTED}, got {most!r}"
            )
        for name in ("lasting_corrections", "forget"):
            require_flag(self, name)
