"""How `segment` and `find` answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from promptseg.options.checks import (
    require_count,
    require_flag,
    require_one_of,
    require_share,
)
from promptseg.options.tidy import TidyOptions, require_tidy


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
    tidy: TidyOptions = field(
        default_factory=TidyOptions,
        metadata={"help": "What is done to the masks once they are found."},
    )

    def __post_init__(self) -> None:
        require_share(
            self, "threshold", "It is compared with the predicted IoU of a mask, which lies in 0..1"
        )
        for name in ("all_candidates", "logits"):
            require_flag(self, name)
        require_tidy(self.tidy)


MaskSize = Literal["image", "model"]


@dataclass(frozen=True, kw_only=True)
class FindOptions:
    """Which of the things that `find` sees come back, and how; metadata explains each field.

    Raises:
        ConfigError: a value is of the wrong kind or out of range.
    """

    threshold: float = field(
        default=0.5,
        metadata={
            "help": "The score, 0 to 1, above which a thing is found; 0 lets all slots pass."
        },
    )
    max_masks: int | None = field(
        default=None,
        metadata={"help": "Most things of each concept, the best ones. [default: all]"},
    )
    mask_size: MaskSize = field(
        default="image",
        metadata={"help": "Give masks the size of the image, or that at which the model sees."},
    )
    max_iou_across: float | None = field(
        default=None,
        metadata={
            "help": "Of masks that overlap more than this, whichever concepts they are of, keep "
            "the better one, so that one thing is not found under two names. [default: keep all]"
        },
    )
    tidy: TidyOptions = field(
        default_factory=TidyOptions,
        metadata={"help": "What is done to the masks of each concept once they are found."},
    )

    def __post_init__(self) -> None:
        require_share(
            self, "threshold", "It is compared with the score of a thing, which lies in 0..1"
        )
        if self.max_masks is not None:
            require_count(self, "max_masks", least=1)
        require_one_of(self, "mask_size", get_args(MaskSize))
        if self.max_iou_across is not None:
            require_share(self, "max_iou_across")
        require_tidy(self.tidy)
