"""`sam2`'s way to find all masks of an image (`promptseg.compat.sam2` has the public name)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike
from PIL import Image

from promptseg import api
from promptseg.compat.built import Device, Sam2, as_sam2, build_sam2_hf
from promptseg.engine.everything import completed
from promptseg.errors import ConfigError
from promptseg.formats.sam import to_records
from promptseg.io import images
from promptseg.masks import RunLength
from promptseg.options import EverythingOptions, TidyOptions

BINARY, PLAIN, COCO = "binary_mask", "uncompressed_rle", "coco_rle"
OUTPUT_MODES = (BINARY, PLAIN, COCO)

Record: TypeAlias = dict[str, object]


class SAM2AutomaticMaskGenerator:
    """Finds all masks of an image by a grid of points; arguments and records are `sam2`'s.

    `min_mask_region_area` counts pixels of the image and works on every device, as SAM's own does
    and SAM 2's does not. `points_per_batch` bounds what is asked at a time where the device is not
    a CPU. Masks come best first.

    Raises:
        ConfigError: the model is none of SAM 2, or an argument is out of range.
    """

    def __init__(
        self,
        model: Sam2 | api.Model,
        points_per_side: int | None = 32,
        points_per_batch: int = 64,
        pred_iou_thresh: float = 0.8,
        stability_score_thresh: float = 0.95,
        stability_score_offset: float = 1.0,
        mask_threshold: float = 0.0,
        box_nms_thresh: float = 0.7,
        crop_n_layers: int = 0,
        crop_nms_thresh: float = 0.7,
        crop_overlap_ratio: float = 512 / 1500,
        crop_n_points_downscale_factor: int = 1,
        point_grids: Sequence[ArrayLike] | None = None,
        min_mask_region_area: float = 0,
        output_mode: str = BINARY,
        use_m2m: bool = False,
        multimask_output: bool = True,
    ) -> None:
        if (points_per_side is None) == (point_grids is None):
            raise ConfigError(
                "exactly one of `points_per_side` and `point_grids` is given, got "
                f"{'neither' if point_grids is None else 'both'}",
                hint="Pass `points_per_side=None` beside `point_grids`",
            )
        if output_mode not in OUTPUT_MODES:
            raise ConfigError(
                f"unknown `output_mode` {output_mode!r}",
                hint=f"Choose one of {', '.join(OUTPUT_MODES)}",
            )
        self.model = as_sam2(model, type(self).__name__)
        self.output_mode = output_mode
        self.grids = None if point_grids is None else tuple(map(np.asarray, point_grids))
        self.options = EverythingOptions(
            points_per_side=points_per_side,
            points_per_batch=points_per_batch,
            threshold=pred_iou_thresh,
            stability_threshold=stability_score_thresh,
            stability_offset=stability_score_offset,
            mask_threshold=mask_threshold,
            max_box_iou=box_nms_thresh,
            crop_layers=crop_n_layers,
            max_crop_iou=crop_nms_thresh,
            crop_overlap=crop_overlap_ratio,
            crop_points_downscale=crop_n_points_downscale_factor,
            min_region_area=math.ceil(min_mask_region_area),
            min_contrast=0.0,
            fall_back=self.model.falls_back,
            refine=use_m2m,
            all_candidates=multimask_output,
            tidy=TidyOptions(max_iou=1.0, max_containment=1.0),
        )

    @classmethod
    def from_pretrained(
        cls, model_id: str, *, device: Device = "auto", dtype: str = "float32", **dials: object
    ) -> SAM2AutomaticMaskGenerator:
        """Load a model by its name on the hub; other arguments are the class's own.

        Raises:
            ConfigError: as `build_sam2_hf` and the class itself.
            WeightsError: as `build_sam2_hf`.
        """
        return cls(build_sam2_hf(model_id, device, dtype=dtype), **dials)  # type: ignore[arg-type]

    @property
    def device(self) -> torch.device:
        """Where the model runs."""
        return self.model.model.runtime.device

    def generate(self, image: np.ndarray | Image.Image) -> list[Record]:
        """Return a record of each mask: `H W 3` RGB bytes, or a Pillow image, in.

        Keys are `segmentation` (by `output_mode`: `H W` bool, or run lengths as a dict), `area`,
        `bbox`, `predicted_iou`, `point_coords`, `stability_score` and `crop_box`; boxes are x, y,
        width, height.

        Raises:
            ImageError: the image is refused.
            ConfigError: the grids do not fit the layers of crops.
        """
        search = self.model.model.search(
            images.to_rgb(image), options=self.options, grids=self.grids
        )
        masks = completed(search)
        return [
            {**record, "segmentation": self._segmentation(run)}
            for record, run in zip(to_records(masks), masks.runs, strict=True)
        ]

    def _segmentation(self, run: RunLength) -> object:
        if self.output_mode == BINARY:
            return run.to_mask()
        if self.output_mode == COCO:
            return run.to_coco()
        return {"size": list(run.size), "counts": run.counts.tolist()}
