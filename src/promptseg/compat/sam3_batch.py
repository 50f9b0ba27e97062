"""`sam3`'s way to put datapoints into a batch (`promptseg.compat.sam3` has the public names)."""

from __future__ import annotations

import logging
import operator
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from promptseg.compat.built import Device
from promptseg.compat.said import ExamplesSaid, examples_said
from promptseg.compat.sam3_data import Datapoint, FindQueryLoaded, InferenceMetadata, image_of
from promptseg.compat.sam3_transforms import READY
from promptseg.engine.preprocess import PADDING
from promptseg.errors import ConfigError, ImageError, PromptError
from promptseg.geometry import Placement, Size
from promptseg.prompts import numbered

logger = logging.getLogger(__name__)

Anything = TypeVar("Anything")


@dataclass(kw_only=True)
class Metadatas:
    """What the queries of a batch are called, and their sizes: a row for each."""

    coco_image_id: Tensor
    original_image_id: Tensor
    original_category_id: Tensor
    original_size: Tensor
    object_id: Tensor
    frame_index: Tensor
    is_conditioning_only: list[bool | None]


@dataclass(kw_only=True)
class Collated:
    """Datapoints as one batch: `b` images, and the `q` queries of all of them in order.

    `images` are b 3 S S. `phrases` has each text once; `image_ids` and `phrase_ids` say which of
    both a query is about. Its example boxes, `q p 4`, are x0 y0 x1 y1 as shares of the image;
    `labels` are 1, 0, or -1 for padding.
    """

    images: Tensor
    phrases: list[str]
    image_ids: list[int]
    phrase_ids: list[int]
    boxes: Tensor
    labels: Tensor
    find_metadatas: list[Metadatas]


def collate_fn_api(batch: Sequence[Datapoint], dict_key: str) -> dict[str, Collated]:
    """Put transformed datapoints into one batch, which is returned under `dict_key`.

    Raises:
        ConfigError: something else than datapoints is among them.
        ImageError: an image has not been transformed, or not as the others.
        PromptError: there is no query at all, or one is malformed; the message says which.
    """
    if not isinstance(batch, (list, tuple)):
        raise ConfigError(f"a list of datapoints is needed, got {type(batch).__name__}")
    pixels = []
    for number, datapoint in enumerate(batch):
        with numbered("datapoint", number, of=len(batch)):
            pixels.append(_pixels(datapoint, number))
    if len({image.shape for image in pixels}) > 1:
        sides = sorted({image.shape[-1] for image in pixels})
        raise ImageError(
            f"all images of a batch have one size, got {', '.join(map(str, sides))}",
            hint="Transform them all with one `RandomResizeAPI`",
        )
    queries = [query for datapoint in batch for query in datapoint.find_queries]
    if not queries:
        raise PromptError(
            f"a batch needs a query at least, got none in {len(batch)} datapoints",
            hint="Append a `FindQueryLoaded` to `find_queries`",
        )
    image_ids = [row for row, each in enumerate(batch) for _ in each.find_queries]
    asked = []
    for number, (query, row) in enumerate(zip(queries, image_ids, strict=True)):
        with numbered("query", number, of=len(queries)):
            asked.append(_asked(query, Size(*batch[row].images[0].size)))
    boxes, labels = _side_by_side([each.examples for each in asked])
    phrases = list(dict.fromkeys(each.text for each in asked))
    collated = Collated(
        images=torch.stack(pixels),
        phrases=phrases,
        image_ids=image_ids,
        phrase_ids=[phrases.index(each.text) for each in asked],
        boxes=boxes,
        labels=labels,
        find_metadatas=[_metadatas([each.metadata for each in asked])],
    )
    return {dict_key: collated}


def copy_data_to_device(data: Anything, device: Device, non_blocking: bool = False) -> Anything:
    """Return the same data with every tensor in it on a device; lists, dicts and records go along.

    Where the device is not there the data stays as it is, and the log says so: a model brings what
    it is given to its own device.

    Raises:
        ConfigError: there is no such kind of device.
    """
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(f"unknown device {device!r}", hint="Choose cpu, cuda or mps") from error
    if not _is_there(place):
        logger.warning("device `%s` is not there, so data stays where it is", place)
        return data
    copied: Anything = _copied(data, place, non_blocking)
    return copied


def _copied(data: Any, place: torch.device, non_blocking: bool) -> Any:
    def go_on(part: Any) -> Any:
        return _copied(part, place, non_blocking)

    if isinstance(data, Tensor):
        return data.to(place, non_blocking=non_blocking)
    if isinstance(data, Mapping):
        return type(data)({key: go_on(part) for key, part in data.items()})  # type: ignore[call-arg]
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*map(go_on, data))
    if isinstance(data, (list, tuple)):
        return type(data)(map(go_on, data))
    if is_dataclass(data) and not isinstance(data, type):
        made = copy(data)
        for each in fields(data):
            object.__setattr__(made, each.name, go_on(getattr(data, each.name)))
        return made
    return data


def _is_there(place: torch.device) -> bool:
    if place.type == "cuda":
        return torch.cuda.is_available()
    return place.type != "mps" or torch.backends.mps.is_available()


def _pixels(datapoint: Datapoint, number: int) -> Tensor:
    image = image_of(datapoint)
    if not isinstance(image.data, Tensor) or not set(READY) <= set(image.done):
        raise ImageError(
            f"the image of datapoint {number} has not been transformed",
            hint=f"Call `transform(datapoint)`, made of {', '.join(READY)}, before collating",
        )
    return image.data


class Asked(NamedTuple):
    """A query that is sound; its boxes are shares of the image."""

    text: str
    examples: ExamplesSaid
    metadata: InferenceMetadata


def _asked(query: FindQueryLoaded, size: Size) -> Asked:
    """Check a query about an image of `size`."""
    if not isinstance(query, FindQueryLoaded):
        raise PromptError(f"a query is a `FindQueryLoaded`, got {type(query).__name__}")
    if not isinstance(query.query_text, str):
        raise PromptError(
            f"`query_text` is text, got {type(query.query_text).__name__}",
            hint='For example boxes without a text of their own write "visual"',
        )
    for name in ("image_id", "query_processing_order"):
        if getattr(query, name) != 0:
            raise PromptError(
                f"`{name}` must be 0, got {getattr(query, name)!r}",
                hint="A datapoint has one image, and all that is asked of it is asked at once",
            )
    metadata = query.inference_metadata
    if not isinstance(metadata, InferenceMetadata):
        raise PromptError(
            f"a query needs its `inference_metadata`, got {type(metadata).__name__}",
            hint="Its result is found by `coco_image_id`",
        )
    told = examples_said(query.input_bbox, query.input_bbox_label, size)
    # A share is a pixel of a square of one.
    shares = Placement(size, 1).boxes_to_model(told.boxes)
    return Asked(query.query_text, ExamplesSaid(shares, told.labels), _sound(metadata))


def _sound(metadata: InferenceMetadata) -> InferenceMetadata:
    """Return the same with plain numbers, once it is sure that they are numbers."""
    ids = ("coco_image_id", "original_image_id", "original_category_id")
    numbers: dict[str, Any] = {
        name: _whole(name, getattr(metadata, name)) for name in (*ids, "object_id", "frame_index")
    }
    size = metadata.original_size
    sides = [_whole("original_size", side) for side in size] if isinstance(size, Iterable) else []
    if len(sides) != 2 or min(sides) < 1:
        raise PromptError(f"`original_size` is [height, width] in pixels, got {size!r}")
    return replace(metadata, original_size=sides, **numbers)


def _whole(name: str, value: object) -> int:
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise PromptError(f"`{name}` is a whole number, got {value!r}") from None
    if abs(number) >= 2**63:
        raise PromptError(f"`{name}` has at most 63 bits, got {number}")
    return number


def _side_by_side(told: Sequence[ExamplesSaid]) -> tuple[Tensor, Tensor]:
    """Put the boxes and labels of queries in two tensors; there is always a place for a box."""
    shape = len(told), max(1, *(len(each.labels) for each in told))
    boxes = torch.zeros(*shape, 4)
    labels = torch.full(shape, PADDING)
    for row, each in enumerate(told):
        boxes[row, : len(each.labels)] = torch.from_numpy(each.boxes)
        labels[row, : len(each.labels)] = torch.from_numpy(each.labels)
    return boxes, labels


def _metadatas(metadatas: Sequence[InferenceMetadata]) -> Metadatas:
    return Metadatas(
        coco_image_id=torch.tensor([each.coco_image_id for each in metadatas]),
        original_image_id=torch.tensor([each.original_image_id for each in metadatas]),
        original_category_id=torch.tensor([each.original_category_id for each in metadatas]),
        original_size=torch.tensor([list(each.original_size) for each in metadatas]),
        object_id=torch.tensor([each.object_id for each in metadatas]),
        frame_index=torch.tensor([each.frame_index for each in metadatas]),
        is_conditioning_only=[each.is_conditioning_only for each in metadatas],
    )
