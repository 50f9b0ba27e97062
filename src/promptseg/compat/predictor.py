"""`sam2`'s way to predict masks of images (`promptseg.compat.sam2` has the public name)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32
from numpy.typing import ArrayLike
from PIL import Image
from torch.nn import functional

from promptseg import api
from promptseg.compat.built import Device, Sam2, as_sam2, build_sam2_hf
from promptseg.compat.said import Said
from promptseg.engine.candidates import single
from promptseg.engine.encoder import EncodedImage
from promptseg.errors import ConfigError, ImageError, PromptError, SessionError
from promptseg.geometry import Size
from promptseg.io import images
from promptseg.options import SegmentOptions
from promptseg.prompts import Prompt
from promptseg.results import Masks

EVERYTHING = SegmentOptions(all_candidates=True, logits=True)
# The candidate for a prompt that leaves no doubt, and those for one that may mean several things.
SURE, SEVERAL = 0, (1, 2, 3)

AnyImage = np.ndarray | Image.Image


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


class SAM2ImagePredictor:
    """Predicts masks of the image, or the images, set last.

    `sam_model` is what `build_sam2` or `promptseg.load` gives. `mask_threshold` is the logit above
    which a pixel belongs to the mask. What the network saw in an image is kept until the next is
    set. Threads need a predictor each; they may share the model.

    Raises:
        ConfigError: the model is none of SAM 2, or an area of holes or sprinkles is given.
    """

    def __init__(
        self,
        sam_model: Sam2 | api.Model,
        mask_threshold: float = 0.0,
        max_hole_area: float = 0.0,
        max_sprinkle_area: float = 0.0,
    ) -> None:
        given = as_sam2(sam_model, type(self).__name__)
        if max_hole_area or max_sprinkle_area:
            raise ConfigError(
                "holes and sprinkles are not removed here, got "
                f"max_hole_area={max_hole_area:g}, max_sprinkle_area={max_sprinkle_area:g}",
                hint="Leave both at 0, and tidy the masks afterwards",
            )
        self.model = given
        self.mask_threshold = mask_threshold
        self._seen: list[EncodedImage] = []
        self._is_batch = False

    @classmethod
    def from_pretrained(
        cls,
        model_id: str,
        *,
        device: Device = "auto",
        mode: str = "eval",
        hydra_overrides_extra: Sequence[str] = (),
        apply_postprocessing: bool = True,
        dtype: str = "float32",
        mask_threshold: float = 0.0,
        max_hole_area: float = 0.0,
        max_sprinkle_area: float = 0.0,
    ) -> SAM2ImagePredictor:
        """Load a model by its name on the hub, and predict with it.

        Raises:
            ConfigError: as `build_sam2_hf` and the class itself.
            WeightsError: as `build_sam2_hf`.
        """
        model = build_sam2_hf(
            model_id, device, mode, hydra_overrides_extra, apply_postprocessing, dtype=dtype
        )
        return cls(model, mask_threshold, max_hole_area, max_sprinkle_area)

    @property
    def device(self) -> torch.device:
        """Where the model runs."""
        return self.model.model.runtime.device

    def set_image(self, image: AnyImage) -> None:
        """Look at one image: `H W 3` RGB, bytes or floats 0..1, or a Pillow image.

        Raises:
            ImageError: the image is refused; none is set then.
        """
        self.set_image_batch([image])
        self._is_batch = False

    def set_image_batch(self, image_list: Sequence[AnyImage]) -> None:
        """Look at several images of any sizes.

        Raises:
            ImageError: an image is refused, or it is no list of them; none is set then.
        """
        self.reset_predictor()
        if not isinstance(image_list, (list, tuple)):
            raise ImageError(
                f"`set_image_batch` takes a list of images, got {type(image_list).__name__}",
                hint="Use `set_image` for one",
            )
        self._seen = [self.model.model.encode(images.to_rgb(image)) for image in image_list]
        self._is_batch = True

    def reset_predictor(self) -> None:
        """Forget the images."""
        self._seen, self._is_batch = [], False

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
        if len(self._seen) != 1 or self._is_batch:
            raise SessionError(
                f"`predict` is for one image, but {len(self._seen)} are set",
                hint="Call `set_image` first, or use `predict_batch` after `set_image_batch`",
            )
        [image] = self._seen
        said = Said(point_coords, point_labels, box, mask_input)
        prompts = said.prompts(image.size, in_pixels=normalize_coords)
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
        count = len(self._seen)
        columns = [[None] * count if column is None else list(column) for column in given]
        for column in columns:
            if len(column) != count:
                raise PromptError(f"{count} images need {count} prompts, got {len(column)}")
        found = []
        for image, *parts in zip(self._seen, *columns, strict=True):
            prompts = Said(*parts).prompts(image.size, in_pixels=normalize_coords)
            found.append(
                self._predict(image, prompts, several=multimask_output, logits=return_logits)
            )
        return Predictions(
            [each.masks for each in found],
            [each.ious for each in found],
            [each.low_res_masks for each in found],
        )

    def _predict(
        self, image: EncodedImage, prompts: Sequence[Prompt], *, several: bool, logits: bool
    ) -> Prediction:
        answers = self.model.model.answer(image, prompts, options=EVERYTHING)
        found = [
            self._candidates(answers[answers.objects == i], several=several, logits=logits)
            for i in range(len(prompts))
        ]
        if not found:
            return self._none(image.size, several=several)
        if len(found) == 1:
            return found[0]
        return Prediction(*(np.stack(column) for column in zip(*found, strict=True)))

    def _none(self, size: Size, *, several: bool) -> Prediction:
        count = len(SEVERAL) if several else 1
        side = self.model.model.spec.mask_side
        shapes = (0, count, *size), (0, count), (0, count, side, side)
        return Prediction(*(np.zeros(shape, np.float32) for shape in shapes))

    def _candidates(self, masks: Masks, *, several: bool, logits: bool) -> Prediction:
        """Keep the three candidates of one object, in the network's order, or the single one."""
        masks = masks[np.argsort(masks.candidates)]
        assert masks.logits is not None
        if several:
            kept = list(SEVERAL)
        elif self.model.falls_back:
            kept = [single(masks.logits, masks.scores, sure=SURE)]
        else:
            kept = [SURE]
        masks = masks[np.array(kept)]
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
