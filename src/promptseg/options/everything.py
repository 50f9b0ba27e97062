"""How `everything` looks for regions."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Literal, get_args

from promptseg.options.checks import (
    require_count,
    require_flag,
    require_number,
    require_one_of,
    require_share,
)
from promptseg.options.tidy import TidyOptions, require_tidy

# Beyond these a grid has more points than a large photo has pixels to tell apart.
MOST_POINTS_PER_SIDE, MOST_CROP_LAYERS = 512, 4
# No network's logits come near, and sums of such are finite in any precision that engines use.
MOST_LOGIT = 1e4

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
        require_one_of(self, "detail", get_args(Detail))
        if self.points_per_side is not None:
            require_count(self, "points_per_side", least=1, most=MOST_POINTS_PER_SIDE)
        require_count(self, "points_per_batch", least=1)
        if self.crop_layers is not None:
            require_count(self, "crop_layers", least=0, most=MOST_CROP_LAYERS)
        require_number(self, "crop_points_downscale", least=1, most=MOST_POINTS_PER_SIDE)
        require_share(self, "crop_overlap")
        for name in ("threshold", "stability_threshold"):
            if getattr(self, name) is not None:
                require_share(self, name)
        if self.stability_offset is not None:
            require_number(self, "stability_offset", least=0, most=MOST_LOGIT)
        require_number(self, "mask_threshold", least=-MOST_LOGIT, most=MOST_LOGIT)
        if self.min_contrast is not None:
            require_number(self, "min_contrast", least=0)
        for name in ("max_box_iou", "max_crop_iou"):
            require_share(self, name)
        require_count(self, "edge_margin", least=0)
        require_count(self, "min_region_area", least=0)
        for name in ("all_candidates", "fall_back", "refine"):
            require_flag(self, name)
        if self.time_budget is not None:
            require_number(self, "time_budget", least=0)
        require_tidy(self.tidy)

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
