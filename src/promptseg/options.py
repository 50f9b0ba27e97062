"""How to answer and how to train, as frozen records that the command line is made from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from numbers import Integral, Real
from typing import Literal, get_args

from promptseg.errors import ConfigError

# Beyond these a grid has more points than a large photo has pixels to tell apart.
MOST_POINTS_PER_SIDE, MOST_CROP_LAYERS = 512, 4


# As far as `regions.smooth` looks.
MOST_SMOOTH = 127

Overlap = Literal["allow", "score", "area", "order"]


@dataclass(frozen=True, kw_only=True)
class TidyOptions:
    """What is done to masks once they are found, in the order of the fields; by default nothing.

    `tidying.tidy` does it, `segment` and `everything` to the masks of each request together.

    Raises:
        ConfigError: a value is of the wrong kind or out of range.
    """

    min_score: float = field(
        default=0.0, metadata={"help": "Leave out masks whose predicted IoU is below this."}
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
            _require_share(self, name)
        for name in ("max_iou", "max_containment"):
            if getattr(self, name) is not None:
                _require_share(self, name)
        for name in ("fill_holes", "drop_specks"):
            _require_count(self, name, least=0)
        _require_count(self, "smooth", least=0, most=MOST_SMOOTH)
        _require_flag(self, "keep_best")
        _require_one_of(self, "overlap", get_args(Overlap))

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
        _require_share(
            self, "threshold", "It is compared with the predicted IoU of a mask, which lies in 0..1"
        )
        for name in ("all_candidates", "logits"):
            _require_flag(self, name)
        _require_tidy(self)


Detail = Literal["coarse", "normal", "fine"]

# What the dial sets: points along a side of the image, and how often it is cut into crops. `normal`
# is what SAM 2's generator does unless told otherwise.
DETAILS: dict[str, tuple[int, int]] = {"coarse": (16, 0), "normal": (32, 0), "fine": (32, 1)}


@dataclass(frozen=True, kw_only=True, repr=False)
class EverythingOptions:
    """How `everything` looks for regions: one dial, and what can be set by itself.

    Numbers that are not given are those of SAM 2's `SAM2AutomaticMaskGenerator`, the dial's, or the
    model's own (`nn.protocol.Trust`).

    Raises:
        ConfigError: a value is of the wrong kind or out of range.
    """

    detail: Detail = field(
        default="normal",
        metadata={"help": "How closely to look: coarse, normal or fine."},
    )
    points_per_side: int | None = field(
        default=None, metadata={"help": "Points along each side of the grid. [default: by detail]"}
    )
    crop_layers: int | None = field(
        default=None,
        metadata={
            "help": "How often to look again at crops of half the side. [default: by detail]"
        },
    )
    crop_points_downscale: float = field(
        default=1.0,
        metadata={"help": "By how much the points along a side get fewer with each crop layer."},
    )
    crop_overlap: float = field(
        default=512 / 1500,
        metadata={"help": "Share of the image's shorter side by which crops overlap, doubled."},
    )
    points_per_batch: int = field(
        default=64,
        metadata={"help": "Most points asked at a time on a device that is not a CPU."},
    )
    threshold: float | None = field(
        default=None, metadata={"help": "Least predicted IoU. [default: the model's own]"}
    )
    stability_threshold: float | None = field(
        default=None, metadata={"help": "Least stability. [default: the model's own]"}
    )
    stability_offset: float | None = field(
        default=None,
        metadata={
            "help": "How far the threshold of logits moves to measure stability. "
            "[default: the model's own]"
        },
    )
    mask_threshold: float = field(
        default=0.0, metadata={"help": "The logit above which a pixel belongs to a mask."}
    )
    all_candidates: bool = field(
        default=True,
        metadata={"help": "Let a point give a part, a whole and what lies between."},
    )
    max_box_iou: float = field(
        default=0.7,
        metadata={"help": "Of masks whose boxes overlap more than this, keep the better one."},
    )
    max_crop_iou: float = field(
        default=0.7,
        metadata={"help": "The same between crops, where a smaller crop is the better one."},
    )
    min_contrast: float | None = field(
        default=None,
        metadata={
            "help": "Least change of the picture across an outline, in levels of 255. "
            "[default: the model's own]"
        },
    )
    fall_back: bool = field(
        default=True,
        metadata={
            "help": "Where one candidate answers and its outline wavers, let another answer, as "
            "SAM 2 does."
        },
    )
    edge_margin: int = field(
        default=20,
        metadata={"help": "Leave out masks that end so near to the edge of a crop, in pixels."},
    )
    min_region_area: int = field(
        default=0,
        metadata={"help": "Fill holes and drop specks of fewer pixels of the image than this."},
    )
    refine: bool = field(
        default=False,
        metadata={"help": "Ask once more with each mask found as a hint."},
    )
    time_budget: float | None = field(
        default=None,
        metadata={"help": "Seconds after which to return what is found so far."},
    )
    tidy: TidyOptions = field(
        default_factory=TidyOptions,
        metadata={"help": "What is done to the masks once they are found."},
    )

    def __post_init__(self) -> None:
        _require_one_of(self, "detail", get_args(Detail))
        if self.points_per_side is not None:
            _require_count(self, "points_per_side", least=1, most=MOST_POINTS_PER_SIDE)
        _require_count(self, "points_per_batch", least=1)
        if self.crop_layers is not None:
            _require_count(self, "crop_layers", least=0, most=MOST_CROP_LAYERS)
        _require_number(self, "crop_points_downscale", least=1)
        _require_share(self, "crop_overlap")
        for name in ("threshold", "stability_threshold"):
            if getattr(self, name) is not None:
                _require_share(self, name)
        if self.stability_offset is not None:
            _require_number(self, "stability_offset", least=0)
        _require_number(self, "mask_threshold")
        if self.min_contrast is not None:
            _require_number(self, "min_contrast", least=0)
        for name in ("max_box_iou", "max_crop_iou"):
            _require_share(self, name)
        _require_count(self, "edge_margin", least=0)
        _require_count(self, "min_region_area", least=0)
        for name in ("all_candidates", "fall_back", "refine"):
            _require_flag(self, name)
        if self.time_budget is not None:
            _require_number(self, "time_budget", least=0)
        _require_tidy(self)

    @property
    def points_along_side(self) -> int:
        """`points_per_side`, or what the dial sets."""
        return DETAILS[self.detail][0] if self.points_per_side is None else self.points_per_side

    @property
    def layers(self) -> int:
        """`crop_layers`, or what the dial sets."""
        return DETAILS[self.detail][1] if self.crop_layers is None else self.crop_layers

    def __repr__(self) -> str:
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        values |= {"points_per_side": self.points_along_side, "crop_layers": self.layers}
        return (
            f"EverythingOptions({', '.join(f'{name}={value!r}' for name, value in values.items())})"
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


def _require_number(record: object, name: str, *, least: float = -math.inf) -> None:
    value = getattr(record, name)
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ConfigError(f"`{name}` must be a number, got {value!r}")
    number = float(value)
    if not (math.isfinite(number) and number >= least):
        bound = "finite" if least == -math.inf else f"at least {least:g}"
        raise ConfigError(f"`{name}` is {bound}, got {number:g}")


def _require_share(record: object, name: str, hint: str | None = None) -> None:
    value = getattr(record, name)
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ConfigError(f"`{name}` must be a number, got {value!r}")
    number = float(value)
    if not (math.isfinite(number) and 0 <= number <= 1):
        raise ConfigError(f"`{name}` must lie in 0..1, got {number:g}", hint=hint)


def _require_count(record: object, name: str, *, least: int, most: int | None = None) -> None:
    value = getattr(record, name)
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise ConfigError(f"`{name}` must be a whole number, got {value!r}")
    number = int(value)
    if number < least or (most is not None and number > most):
        bounds = f"at least {least}" if most is None else f"{least} to {most}"
        raise ConfigError(f"`{name}` is {bounds}, got {number}")


def _require_flag(record: object, name: str) -> None:
    if not isinstance(getattr(record, name), bool):
        raise ConfigError(f"`{name}` must be true or false, got {getattr(record, name)!r}")


def _require_one_of(record: object, name: str, known: Sequence[str]) -> None:
    if getattr(record, name) not in known:
        raise ConfigError(
            f"`{name}` must be one of {', '.join(known)}, got {getattr(record, name)!r}"
        )


def _require_tidy(record: SegmentOptions | EverythingOptions) -> None:
    if not isinstance(record.tidy, TidyOptions):
        raise ConfigError(f"`tidy` must be `TidyOptions`, got {type(record.tidy).__name__}")


def help_of(record: type, name: str) -> str:
    """Return the sentence that explains one field of an option record."""
    return next(str(entry.metadata["help"]) for entry in fields(record) if entry.name == name)
