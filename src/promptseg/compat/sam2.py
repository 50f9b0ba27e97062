"""`sam2`'s way to predict masks on images, for code that was written for it.

Change `from sam2.build_sam import build_sam2` and `from sam2.sam2_image_predictor import
SAM2ImagePredictor` to `from promptseg.compat.sam2 import ...`. Names, arguments, shapes and dtypes
are those of https://github.com/facebookresearch/sam2; `docs/coming-from-sam2.md` lists what
differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32
from numpy.typing import ArrayLike
from PIL import Image
from torch.nn import functional

from promptseg import api
from promptseg.engine.candidates import STABLE, stability
from promptseg.errors import ConfigError, PromptError, SessionError
from promptseg.io import images
from promptseg.options import SegmentOptions
from promptseg.prompts import Box, MaskHint, Points, Prompt
from promptseg.results import Masks
from promptseg.shapes import ImageArray

EVERYTHING = SegmentOptions(all_candidates=True, logits=True)
# Candidates for a prompt that may mean several things; the one before them is for all others.
SEVERAL = [1, 2, 3]

AnyImage = np.ndarray | Image.Image
Device = str | torch.device


class Prediction(NamedTuple):
    """What `predict` returns: float32 masks of 0 and 1 (or logits), predicted IoU, hints.

    The first axis, of prompts, is left out where there is one: `c H W`, `c` and `c h w`.
    """

    masks: Float32[np.ndarray, "*n c H W"]
    ious: Float32[np.ndarray, "*n c"]
    low_res_masks: Float32[np.ndarray, "*n c h w"]


class Predictions(NamedTuple):
    """What `predict_batch` returns: one of each for every image."""

    masks: list[Float32[np.ndarray, "*n c H W"]]
    ious: list[Float32[np.ndarray, "*n c"]]
    low_res_masks: list[Float32[np.ndarray, "*n c h w"]]


def build_sam2(
    config_file: str | Path | None = None,
    ckpt_path: str | Path | None = None,
    device: Device = "auto",
    mode: str = "eval",
) -> api.Model:
    """Load SAM 2 or 2.1 from a checkpoint.

    Sizes are read from the checkpoint's tensors, so `config_file` is not looked at. The best
    device there is serves by default, where `sam2` asks for CUDA.

    Raises:
        ConfigError: no checkpoint, another mode than "eval", or a device that is not there.
        WeightsError: the checkpoint is damaged, or of another kind.
    """
    if mode != "eval":
        raise ConfigError(
            f"a model is built for `eval` only, got mode `{mode}`",
            hint="Leave `mode` out",
        )
    if ckpt_path is None:
        raise ConfigError(
            "`build_sam2` needs a checkpoint, got none",
            hint="Pass `ckpt_path`, or a name to `build_sam2_hf`",
        )
    return api.load(ckpt_path, device=str(device))


def build_sam2_hf(model_id: str, device: Device = "auto", mode: str = "eval") -> api.Model:
    """Load a model by its name on the hub, such as `facebook/sam2.1-hiera-large`.

    Raises:
        ConfigError: an unknown name, another mode than "eval", or a device that is not there.
        WeightsError: the checkpoint is not at hand and cannot be fetched, or is damaged.
    """
    return build_sam2(ckpt_path=model_id, device=device, mode=mode)


class Said(NamedTuple):
    """What `predict` is told of one object or of several, in `sam2`'s arrays."""

    points: ArrayLike | None
    labels: ArrayLike | None
    box: ArrayLike | None
    hint: ArrayLike | None

    def prompts(self, image: ImageArray, *, in_pixels: bool) -> list[Prompt]:
        """Take the arrays apart, one prompt for each object.

        Raises:
            PromptError: a part is malformed, or parts are for unlike numbers of objects.
        """
        points, labels = _array(self.points, "points"), _array(self.labels, "labels")
        boxes, hints = _array(self.box, "a box"), _array(self.hint, "a hint")
        if (points is None) != (labels is None):
            raise PromptError("points and labels are given together, got only one of them")
        parts = {
            "points": points[None] if points is not None and points.ndim < 3 else points,
            "labels": labels[None] if labels is not None and labels.ndim < 2 else labels,
            "boxes": boxes[None] if boxes is not None and boxes.ndim < 2 else boxes,
            "hints": hints[None] if hints is not None and hints.ndim < 4 else hints,
        }
        counts = {name: len(part) for name, part in parts.items() if part is not None}
        if len(set(counts.values())) > 1:
            raise PromptError(
                "all parts of a prompt are for as many objects, got "
                + ", ".join(f"{name} for {count}" for name, count in counts.items()),
                hint="Give points as `n p 2`, labels as `n p`, boxes as `n 4`, hints as `n 1 h w`",
            )
        scale = (1, 1) if in_pixels else (image.shape[1], image.shape[0])
        return [
            _prompt(*(None if part is None else part[i] for part in parts.values()), scale=scale)
            for i in range(max(counts.values(), default=1))
        ]


class SAM2ImagePredictor:
    """Predicts masks of the image, or the images, set last.

    `sam_model` is what `build_sam2` or `promptseg.load` gives. `mask_threshold` is the logit above
    which a pixel belongs to the mask. Threads need a predictor each; they may share the model.

    Raises:
        ConfigError: the model is none of SAM 2, or an area of holes or sprinkles is given.
    """

    def __init__(
        self,
        sam_model: api.Model,
        mask_threshold: float = 0.0,
        max_hole_area: float = 0.0,
        max_sprinkle_area: float = 0.0,
    ) -> None:
        if not isinstance(sam_model, api.Model) or sam_model.spec.sure is None:
            raise ConfigError(
                f"`SAM2ImagePredictor` needs a SAM 2 model, got {sam_model!r}",
                hint="Make one with `build_sam2(...)` or `promptseg.load('sam2.1-large')`",
            )
        if max_hole_area or max_sprinkle_area:
            raise ConfigError(
                "holes and sprinkles are not removed here, got "
                f"max_hole_area={max_hole_area:g}, max_sprinkle_area={max_sprinkle_area:g}",
                hint="Leave both at 0, and tidy the masks afterwards",
            )
        self.model = sam_model
        self.mask_threshold = mask_threshold
        self._images: list[ImageArray] = []
        self._is_batch = False

    @classmethod
    def from_pretrained(cls, model_id: str, device: Device = "auto") -> SAM2ImagePredictor:
        """Load a model by its name on the hub, and predict with it."""
        return cls(build_sam2_hf(model_id, device=device))

    @property
    def device(self) -> torch.device:
        """Where the model runs."""
        return self.model.runtime.device

    def set_image(self, image: AnyImage) -> None:
        """Look at one image: `H W 3` RGB, bytes or floats 0..1, or a Pillow image."""
        self.set_image_batch([image])
        self._is_batch = False

    def set_image_batch(self, image_list: Sequence[AnyImage]) -> None:
        """Look at several images of any sizes."""
        read = [images.to_rgb(image) for image in image_list]
        for image in read:
            self.model.session(image).close()
        self._images, self._is_batch = read, True

    def reset_predictor(self) -> None:
        """Forget the images."""
        self._images, self._is_batch = [], False

    def predict(
        self,
        point_coords: ArrayLike | None = None,
        point_labels: ArrayLike | None = None,
        box: ArrayLike | None = None,
        mask_input: ArrayLike | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        normalize_coords: bool = True,
    ) -> Prediction:
        """Predict the masks of one object of the image set, or of several.

        Points are `p 2` or `n p 2`, labels `p` or `n p`, boxes `4` or `n 4`, hints `1 h w` or
        `n 1 h w`, what an earlier answer gave. Three candidates come back, or the single one of
        SAM 2's rule without `multimask_output`. With `return_logits` masks are logits at image
        size. Coordinates are pixels, or shares of the image without `normalize_coords`.

        Raises:
            SessionError: no image is set, or several are.
            PromptError: a prompt is malformed or does not fit the image.
        """
        if len(self._images) != 1 or self._is_batch:
            raise SessionError(
                f"`predict` is for one image, but {len(self._images)} are set",
                hint="Call `set_image` first, or use `predict_batch` after `set_image_batch`",
            )
        image = self._images[0]
        said = Said(point_coords, point_labels, box, mask_input)
        prompts = said.prompts(image, in_pixels=normalize_coords)
        return self._predict(image, prompts, several=multimask_output, logits=return_logits)

    def predict_batch(
        self,
        point_coords_batch: Sequence[ArrayLike | None] | None = None,
        point_labels_batch: Sequence[ArrayLike | None] | None = None,
        box_batch: Sequence[ArrayLike | None] | None = None,
        mask_input_batch: Sequence[ArrayLike | None] | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        normalize_coords: bool = True,
    ) -> Predictions:
        """Do as `predict` for each of the images set, which have a list entry each.

        Raises:
            SessionError: no batch of images is set.
            PromptError: a list has another length than there are images, or a prompt is malformed.
        """
        if not self._is_batch:
            raise SessionError(
                "`predict_batch` needs a batch of images, but none is set",
                hint="Call `set_image_batch` first",
            )
        given = (point_coords_batch, point_labels_batch, box_batch, mask_input_batch)
        count = len(self._images)
        columns = [[None] * count if column is None else list(column) for column in given]
        for column in columns:
            if len(column) != count:
                raise PromptError(f"{count} images need {count} prompts, got {len(column)}")
        found = []
        for image, *parts in zip(self._images, *columns, strict=True):
            prompts = Said(*parts).prompts(image, in_pixels=normalize_coords)
            found.append(
                self._predict(image, prompts, several=multimask_output, logits=return_logits)
            )
        return Predictions(
            [each.masks for each in found],
            [each.ious for each in found],
            [each.low_res_masks for each in found],
        )

    def _predict(
        self, image: ImageArray, prompts: Sequence[Prompt], *, several: bool, logits: bool
    ) -> Prediction:
        answers = self.model.segment(image, prompts, options=EVERYTHING)
        found = [
            self._candidates(answers[answers.objects == i], several=several, logits=logits)
            for i in range(len(prompts))
        ]
        if len(found) == 1:
            return found[0]
        return Prediction(*(np.stack(column) for column in zip(*found, strict=True)))

    def _candidates(self, masks: Masks, *, several: bool, logits: bool) -> Prediction:
        """Keep the three candidates of one object, in the network's order, or the single one."""
        masks = masks[np.argsort(masks.candidates)]
        assert masks.logits is not None
        if several:
            kept = np.array(SEVERAL)
        elif stability(masks.logits[0]) >= STABLE:
            kept = np.array([0])
        else:
            kept = np.array([1 + masks.scores[1:].argmax()])
        masks = masks[kept]
        assert masks.logits is not None
        if logits or self.mask_threshold:
            full = _at_image_size(masks)
            shapes = full if logits else (full > self.mask_threshold).astype(np.float32)
        else:
            shapes = masks.to_numpy().astype(np.float32)
        return Prediction(shapes, masks.scores.copy(), masks.logits.copy())


def _at_image_size(masks: Masks) -> Float32[np.ndarray, "c H W"]:
    grid = torch.from_numpy(np.array(masks.logits))[:, None]
    full = functional.interpolate(grid, size=tuple(masks.size), mode="bilinear")
    enlarged: np.ndarray = full[:, 0].numpy()
    return enlarged


def _prompt(
    points: np.ndarray | None,
    labels: np.ndarray | None,
    box: np.ndarray | None,
    hint: np.ndarray | None,
    *,
    scale: tuple[int, int],
) -> Prompt:
    """Put what was said about one object together, in pixels of the image."""
    if box is not None and box.shape != (4,):
        raise PromptError(f"a box needs 4 numbers, got shape {box.shape}")
    if hint is not None and (hint.ndim != 3 or len(hint) != 1):
        raise PromptError(f"a hint needs shape (1, h, w), got {hint.shape}")
    return Prompt(
        points=None if points is None else Points(points * _fitting(points, scale), labels),
        box=None if box is None else Box.from_sequence(box * (*scale, *scale)),
        hint=None if hint is None else MaskHint(hint[0].astype(np.float32)),
    )


def _fitting(points: np.ndarray, scale: tuple[int, int]) -> ArrayLike:
    """Leave points of a wrong shape to be refused where points are checked."""
    return scale if points.shape[-1] == 2 else 1


def _array(values: ArrayLike | None, what: str) -> np.ndarray | None:
    if values is None:
        return None
    try:
        return np.atleast_1d(np.asarray(values, np.float64))
    except (TypeError, ValueError) as error:
        raise PromptError(f"{what} must be an array of numbers: {error}") from None
