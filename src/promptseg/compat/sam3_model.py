"""`sam3`'s way to build a model and to call it (`promptseg.compat.sam3` has the public names)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float32
from torch import Tensor

from promptseg import api
from promptseg.compat.built import Device
from promptseg.compat.sam3_batch import Collated
from promptseg.compat.sam3_transforms import to_bytes
from promptseg.engine.encoder import EncodedImage
from promptseg.engine.finder import Finder
from promptseg.engine.portions import Portions
from promptseg.engine.reader import padded
from promptseg.errors import ConfigError, PromptError
from promptseg.nn.outputs import Detections, Examples, ImageFeatures, Phrases
from promptseg.nn.sam3.model import Sam3Finder
from promptseg.weights.tokenizers import find_tokenizer

NAME = "sam3"


def build_sam3_image_model(
    bpe_path: str | Path | None = None,
    checkpoint_path: str | Path | None = None,
    device: Device = "auto",
    *,
    dtype: str = "float32",
) -> Sam3ImageModel:
    """Load SAM 3 from a checkpoint, or without one by its name.

    The tokenizer comes with the weights; the folder of `bpe_path` is looked at where it does not.
    The best device there is serves by default, where `sam3` asks for CUDA. Weights are float32
    unless `dtype` says `auto`, `bfloat16` or `float16`.

    Raises:
        ConfigError: the weights are not of SAM 3, or the device or dtype is not there.
        WeightsError: the checkpoint is not at hand and cannot be fetched, or is damaged.
    """
    model = api.load(
        NAME if checkpoint_path is None else checkpoint_path, device=str(device), dtype=dtype
    )
    built = Sam3ImageModel(model)
    network = built.finder.network
    if bpe_path is not None and isinstance(network, Sam3Finder) and network.tokenizer is None:
        text = network.finder.config.text
        network.tokenizer = find_tokenizer(
            Path(bpe_path).parent, context=text.context, vocabulary=text.vocabulary
        )
    return built


class Sam3ImageModel:
    """Answers batches with a loaded model.

    Each image is encoded once and each phrase read once, across calls too; queries are answered
    some at a time.

    Raises:
        ConfigError: the model does not find by phrases and examples.
    """

    def __init__(self, model: api.Model) -> None:
        try:
            self.finder: Finder = model.finder
        except (AttributeError, PromptError):
            raise ConfigError(
                f"a model of SAM 3 is needed, got {model!r}",
                hint="Make one with `build_sam3_image_model()` or `promptseg.load('sam3')`",
            ) from None
        self.model = model
        encoder = self.finder.encoder
        self._portions = Portions(
            encoder.limits.concepts, what="answering queries", release=encoder.release
        )

    @property
    def device(self) -> torch.device:
        """Where the model runs."""
        return self.finder.runtime.device

    @torch.no_grad()
    def __call__(self, batch: Collated) -> Output:
        """Answer all queries of a batch; masks are drawn when they are asked for.

        What is found stays on the model's device as long as the output does.

        Raises:
            ConfigError: it is no batch.
            ImageError: the pixels of the batch are not those of transformed images.
            PromptError: a text is too long to be read whole.
            WeightsError: the weights came without the files that take texts apart.
            OutOfMemoryError: there is not enough memory for one image or one query alone.
        """
        if not isinstance(batch, Collated):
            raise ConfigError(
                f"a batch is needed, got {type(batch).__name__}",
                hint='Make it by `collate_fn_api(datapoints, dict_key="any")["any"]`',
            )
        phrases = self.finder.reader(batch.phrases)
        # An image without queries need not be looked at.
        asked = list(dict.fromkeys(batch.image_ids))
        images = self.finder.encoder.encode([to_bytes(batch.images[number]) for number in asked])
        found: dict[int, Found] = {}
        for number, image in zip(asked, images, strict=True):
            rows = [row for row, each in enumerate(batch.image_ids) if each == number]
            found.update(zip(rows, self._find(batch, rows, image, phrases), strict=True))
        return Output([Stage(self.finder, [found[row] for row in range(len(batch.image_ids))])])

    def _find(
        self,
        batch: Collated,
        rows: Sequence[int],
        image: EncodedImage,
        phrases: Sequence[Phrases],
    ) -> Iterator[Found]:
        """Answer the queries about one image, some of them at a time."""
        side = self.finder.network.spec.image_side
        boxes, labels = batch.boxes.to(self.device) * side, batch.labels.to(self.device)

        def work(some: Sequence[int]) -> list[Found]:
            examples = Examples(boxes[list(some)], labels[list(some)])
            texts = padded([phrases[batch.phrase_ids[row]] for row in some])
            with self.finder.runtime.own_numbers():
                detections = self.finder.network.find(image.features, texts, examples)
            return [
                Found(image.features, Detections(*(column[i : i + 1] for column in detections)))
                for i in range(len(some))
            ]

        return self._portions.run(rows, work)


class Found(NamedTuple):
    """What was found of one query, and the features of its image, from which it is drawn."""

    features: ImageFeatures
    detections: Detections


class Stage(Mapping[str, Tensor]):
    """What a model found of `q` queries in `s` slots each, as tensors made when they are asked for.

    `pred_logits` are q s 1 and `presence_logit_dec` q 1; `pred_boxes` are centre, width and height,
    and `pred_boxes_xyxy` corners, q s 4, as shares of the image. `pred_masks`, q s h w, are the
    logits of all slots at the network's size: where only some are wanted, `draw` takes less.
    """

    NAMES = ("pred_logits", "pred_boxes", "pred_boxes_xyxy", "pred_masks", "presence_logit_dec")

    def __init__(self, finder: Finder, found: Sequence[Found]) -> None:
        self._finder = finder
        self._found = found
        self._portions = Portions(
            finder.network.slots, what="drawing masks", release=finder.encoder.release
        )

    @torch.no_grad()
    def __getitem__(self, name: str) -> Tensor:
        match name:
            case "pred_logits":
                return torch.cat([each.detections.logits for each in self._found])[..., None]
            case "pred_boxes":
                return _centred(self["pred_boxes_xyxy"])
            case "pred_boxes_xyxy":
                return torch.cat([each.detections.boxes for each in self._found])
            case "pred_masks":
                slots = range(self["pred_logits"].shape[1])
                return torch.stack([self.draw(row, slots) for row in range(self.queries)])
            case "presence_logit_dec":
                return torch.cat([each.detections.presence for each in self._found])[:, None]
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.NAMES)

    def __len__(self) -> int:
        return len(self.NAMES)

    def __repr__(self) -> str:
        return f"Stage({self.queries} queries)"

    @property
    def queries(self) -> int:
        """How many queries there are."""
        return len(self._found)

    @torch.no_grad()
    def draw(self, row: int, slots: Sequence[int]) -> Float32[Tensor, "_ h w"]:
        """Make the logits of some slots of one query, at the network's size.

        Raises:
            OutOfMemoryError: there is not enough memory for one slot alone.
        """
        features, detections = self._found[row]
        network = self._finder.network

        def work(some: Sequence[int]) -> list[Tensor]:
            with self._finder.runtime.own_numbers():
                [logits] = network.outline(features, detections, [list(some)])
            return list(logits.float())

        drawn = list(self._portions.run(slots, work))
        side = network.spec.mask_side
        return torch.stack(drawn) if drawn else detections.boxes.new_zeros((0, side, side))


class Output(list[Stage]):
    """What calling a model returns: one stage, the last of an interaction that has only one."""

    loss_stages: None = None


def _centred(boxes: Float32[Tensor, "q s 4"]) -> Float32[Tensor, "q s 4"]:
    first, last = boxes[..., :2], boxes[..., 2:]
    return torch.cat([(first + last) / 2, last - first], dim=-1)
