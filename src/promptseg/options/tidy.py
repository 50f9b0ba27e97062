"""What is done to masks once they are found."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from promptseg.errors import ConfigError
from promptseg.options.checks import (
    require_count,
    require_flag,
    require_one_of,
    require_share,
)

# As far as `regions.smooth` looks.
MOST_SMOOTH = 127

Overlap = Literal["allow", "score", "area", "order"]


@dataclass(frozen=True, kw_only=True)
class TidyOptions:
    """What is done to masks once they are found, in the order of the fields; by default nothing.

    `tidying.tidy` does it: `segment` and `everything` to the masks of each request together, `find`
    to those of each concept.

    Raises:
        ConfigError: a value is of the wrong kind or out of range.
    """

    min_score: float = field(
        default=0.0, metadata={"help": "Leave out masks whose score is below this."}
    )
    min_stability: float = field(
        default=0.0, metadata={"help": "Leave out masks whose stability is known and below this."}
    )
    keep_best: bool = field(
        default=False,
        metadata={
            "help": "Where these two would leave out all, keep the mask with the highest score."
        },
    )
    fill_holes: int = field(
        default=0, metadata={"help": "Fill holes of at most so many pixels of the image."}
    )
    drop_specks: int = field(
        default=0,
        metadata={"help": "Drop regions of at most so many pixels, never a mask's largest."},
    )
    smooth: int = field(
        default=0,
        metadata={
            "help": "Smooth outlines: each pixel becomes what most pixels up to so many away are."
        },
    )
    max_iou: float | None = field(
        default=None,
        metadata={
            "help": "Of two masks that overlap more than this, keep the better one. [default: 1; "
            "for everything the model's own]"
        },
    )
    max_containment: float | None = field(
        default=None,
        metadata={
            "help": "Leave out a mask of which more than this share lies in a better one. "
            "[default: 1; for everything the model's own]"
        },
    )
    overlap: Overlap = field(
        default="allow",
        metadata={
            "help": "Which mask keeps pixels that several claim: all (allow), the one with the "
            "higher score, the one with the smaller area, or the earlier one in order."
        },
    )

    def __post_init__(self) -> None:
        for name in ("min_score", "min_stability"):
            require_share(self, name)
        for name in ("max_iou", "max_containment"):
            if getattr(self, name) is not None:
                require_share(self, name)
        for name in ("fill_holes", "drop_specks"):
            require_count(self, name, least=0)
        require_count(self, "smooth", least=0, most=MOST_SMOOTH)
        require_flag(self, "keep_best")
        require_one_of(self, "overlap", get_args(Overlap))

    @property
    def changes_nothing(self) -> bool:
        """Whether masks come out as they went in."""
        asked = replace(self, keep_best=False)
        return asked.with_limits(max_iou=1, max_containment=1) == TidyOptions().with_limits(
            max_iou=1, max_containment=1
        )

    def with_limits(self, *, max_iou: float, max_containment: float) -> TidyOptions:
        """Return the same with these limits where none were asked for."""
        return replace(
            self,
            max_iou=max_iou if self.max_iou is None else self.max_iou,
            max_containment=(
                max_containment if self.max_containment is None else self.max_containment
            ),
        )


def require_tidy(tidy: object) -> None:
    """Refuse what is not `TidyOptions`."""
    if not isinstance(tidy, TidyOptions):
        raise ConfigError(f"`tidy` must be `TidyOptions`, got {type(tidy).__name__}")
