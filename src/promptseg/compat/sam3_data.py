"""`sam3`'s records of what is asked about an image (`promptseg.compat.sam3` has the names)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import PIL.Image
from numpy.typing import ArrayLike
from torch import Tensor

from promptseg.errors import ConfigError, PromptError


@dataclass(kw_only=True)
class InferenceMetadata:
    """By which number a query's result is found, and in which size it comes back.

    Results are found by `coco_image_id`, or by `original_image_id` where that is asked for.
    `original_size` is height and width.
    """

    coco_image_id: int
    original_image_id: int
    original_category_id: int
    original_size: Sequence[int]
    object_id: int
    frame_index: int
    is_conditioning_only: bool | None = False


@dataclass(kw_only=True)
class FindQueryLoaded:
    """One question: a text, and example boxes if there are any.

    `input_bbox` are x0 y0 x1 y1 in pixels of the image as it was given, `n 4`, and stay so;
    `input_bbox_label` are true for what is meant and false for what is not. `object_ids_output`
    and `is_exhaustive` matter to training only.
    """

    query_text: str
    image_id: int
    object_ids_output: Sequence[int]
    is_exhaustive: bool
    query_processing_order: int
    input_bbox: ArrayLike | Tensor | None = None
    input_bbox_label: ArrayLike | Tensor | None = None
    inference_metadata: InferenceMetadata | None = None


@dataclass(kw_only=True)
class Image:
    """An image: a Pillow image or an array at first, the network's pixels once transformed.

    `size` is height and width of the image as it was given, and stays so. `done` names the
    transforms that have changed `data`, so that none of them does so twice.
    """

    data: PIL.Image.Image | np.ndarray | Tensor
    objects: Sequence[object]
    size: Sequence[int]
    done: list[str] = field(default_factory=list, init=False, repr=False)


@dataclass(kw_only=True)
class Datapoint:
    """One image, and what is asked about it."""

    find_queries: list[FindQueryLoaded]
    images: list[Image]


def image_of(datapoint: Datapoint) -> Image:
    """Return the image that is asked about.

    Raises:
        ConfigError: it is no datapoint.
        PromptError: it has no image, or several, or no list of queries.
    """
    if not isinstance(datapoint, Datapoint):
        raise ConfigError(f"a `Datapoint` is needed, got {type(datapoint).__name__}")
    match datapoint:
        case Datapoint(images=[Image() as image], find_queries=list()):
            return image
    raise PromptError(
        "a datapoint has one image and a list of queries, got "
        f"images={datapoint.images!r:.60} and {type(datapoint.find_queries).__name__}",
        hint="Set it with `datapoint.images = [Image(data=..., objects=[], size=[h, w])]`",
    )
