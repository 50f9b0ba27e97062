"""The `find` verb: concepts in, every such thing out, with mask, box and score."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64
from torch import Tensor
from torch.nn import functional

from promptseg.concepts import Concept
from promptseg.engine import preprocess
from promptseg.engine.encoder import EncodedImage, Encoder
from promptseg.engine.portions import Portions
from promptseg.engine.reader import PHRASE_BYTES, Reader, padded
from promptseg.engine.upsample import to_runs
from promptseg.geometry import Placement, Size
from promptseg.nn.outputs import Detections, Phrases
from promptseg.nn.protocol import VISUAL, Findable
from promptseg.options import FindOptions
from promptseg.results import Masks
from promptseg.shapes import BoxArray
from promptseg.tidying import suppress, tidy


class Wanted(NamedTuple):
    """One concept, and how its things are to come back."""

    concept: Concept
    options: FindOptions


class Question(NamedTuple):
    """What is wanted, and what its phrase means."""

    wanted: Wanted
    phrase: Phrases


class FoundTensors(NamedTuple):
    """Things of one concept on the model's device, best first.

    `boxes` are x0 y0 x1 y1 in pixels of the image, clipped to it; `masks` have the image's size, or
    the model's where that was asked for; `slots` say which of the network's answers they are.
    `complete` is false where all of these hold a thing, so that there may be more.
    """

    scores: Float32[Tensor, " n"]
    boxes: Float32[Tensor, "n 4"]
    masks: Bool[Tensor, "n H W"]
    slots: Int64[Tensor, " n"]
    presence: Float32[Tensor, ""]
    complete: bool


class Kept(NamedTuple):
    """Which slots of one question hold a thing, best first; whether there may be more of them.

    On the host, where masks are coded.
    """

    slots: Int64[Tensor, " n"]
    scores: Float32[Tensor, " n"]
    complete: bool


class Found(NamedTuple):
    """What a network finds of some questions: all of it, what is kept, and that drawn."""

    detections: Detections
    kept: list[Kept]
    logits: list[Float32[Tensor, "_ h w"]]


class Finder:
    """Answers concepts with one network; any number of threads may use it at once."""

    def __init__(self, network: Findable, encoder: Encoder) -> None:
        self.network = network
        self.encoder = encoder
        self.runtime = encoder.runtime
        self.reader = Reader(network, encoder, cache_bytes=PHRASE_BYTES)
        self._portions = Portions(
            encoder.limits.concepts, what="finding concepts", release=encoder.release
        )

    @property
    def concepts(self) -> int:
        """How many concepts are found together; halved where memory has run out."""
        return self._portions.most

    def answer(self, image: EncodedImage, wanted: Sequence[Wanted]) -> Iterator[Masks]:
        """Answer concepts in order, some of them at a time; company changes nothing.

        All phrases are read before the first is answered, as many are read about as fast as one.

        Raises:
            WeightsError: the weights came without the files that take phrases apart.
            PromptError: a phrase is too long to be read whole.
            OutOfMemoryError: there is not enough memory for one concept alone.
        """

        @torch.inference_mode()
        def work(some: Sequence[Question]) -> list[Masks]:
            found = self._find(image, some)
            return [
                self._masks(found, row, question.wanted, image.size)
                for row, question in enumerate(some)
            ]

        return self._portions.run(self._questions(image, wanted), work)

    def tensors(self, image: EncodedImage, wanted: Wanted) -> FoundTensors:
        """Answer one concept with tensors on the model's device, untidied.

        Raises:
            WeightsError: the weights came without the files that take phrases apart.
            PromptError: the phrase is too long to be read whole.
            OutOfMemoryError: there is not enough memory for it.
        """
        shown = self.shown(image.size, wanted.options)

        # Tensors made in inference mode could not be changed by who gets them.
        @torch.no_grad()
        def work(some: Sequence[Question]) -> list[FoundTensors]:
            detections, [kept], [logits] = self._find(image, some)
            boxes = torch.from_numpy(_boxes(detections, 0, kept, image.size)).float()
            device = logits.device
            return [
                FoundTensors(
                    scores=kept.scores.to(device),
                    boxes=boxes.to(device),
                    masks=_enlarged(logits, shown),
                    slots=kept.slots.to(device),
                    presence=detections.presence[0].float().sigmoid(),
                    complete=kept.complete,
                )
            ]

        [found] = self._portions.run(self._questions(image, [wanted]), work)
        return found

    def shown(self, size: Size, options: FindOptions) -> Size:
        """Return the size that masks of an image of `size` come back in."""
        side = self.network.spec.mask_side
        return size if options.mask_size == "image" else Size(side, side)

    def _find(self, image: EncodedImage, questions: Sequence[Question]) -> Found:
        placement = Placement(image.size, self.network.spec.image_side)
        concepts = [question.wanted.concept for question in questions]
        examples = preprocess.example_tensors(concepts, placement, self.runtime)
        with self.runtime.own_numbers():
            phrases = padded([question.phrase for question in questions])
            detections = self.network.find(image.features, phrases, examples)
            kept = _kept(detections, [question.wanted.options for question in questions])
            slots = [each.slots.tolist() for each in kept]
            drawn = self.network.outline(image.features, detections, slots)
        return Found(detections, kept, [logits.float() for logits in drawn])

    def _questions(self, image: EncodedImage, wanted: Sequence[Wanted]) -> list[Question]:
        texts = [each.concept.text or VISUAL for each in wanted]
        phrases = self.reader(texts, owner=image.owner)
        return list(map(Question, wanted, phrases))

    def _masks(self, found: Found, row: int, wanted: Wanted, size: Size) -> Masks:
        kept, logits = found.kept[row], found.logits[row]
        count = len(kept.slots)
        shown = self.shown(size, wanted.options)
        presence = float(found.detections.presence[row].float().sigmoid())
        return Masks(
            size=shown,
            runs=tuple(to_runs(logits.cpu().numpy(), shown)),
            scores=kept.scores.numpy(),
            objects=np.arange(count),
            candidates=kept.slots.numpy(),
            presence=np.full(count, presence, np.float32),
            confident=np.ones(count, np.bool_),
            labels=np.full(count, wanted.concept.label),
            predicted_boxes=_boxes(found.detections, row, kept, size),
            complete=kept.complete,
        )


def together(answers: Sequence[Masks], size: Size, options: FindOptions) -> Masks:
    """Tidy the answers to the concepts of one request, compare them, and join them.

    What is left out does not count as one of the most.
    """
    # Told apart by their objects for the time being.
    tidied = [
        replace(kept := tidy(masks, options.tidy), objects=np.full(len(kept), number))
        for number, masks in enumerate(answers)
    ]
    joined = Masks.concatenate([nothing(size), *tidied])
    if options.max_iou_across is not None:
        joined = joined[suppress(joined.runs, joined.scores, max_iou=options.max_iou_across)]
    answers = [joined[joined.objects == number] for number in range(len(tidied))]
    masks = Masks.concatenate([nothing(size), *(each[: options.max_masks] for each in answers)])
    return replace(masks, objects=np.arange(len(masks)))


def nothing(size: Size) -> Masks:
    """Return what `find` answers where there is nothing of the kind."""
    none = Masks.empty(size)
    return replace(none, labels=np.zeros(0, np.str_), predicted_boxes=none.boxes)


def _kept(detections: Detections, options: Sequence[FindOptions]) -> list[Kept]:
    """Choose the slots whose score is above the threshold; of equal scores the earlier is better.

    The score is that of the slot times that of there being such a thing at all (Carion 2025,
    section 3.2: recognition apart from localisation). One that is not a number is above nothing.
    """
    scores = detections.logits.float().sigmoid() * detections.presence.float().sigmoid()[:, None]
    kept = []
    for row, wanted in zip(scores.cpu(), options, strict=True):
        ranked, slots = row.sort(descending=True, stable=True)
        passing = ranked > wanted.threshold if wanted.threshold else ranked >= 0
        ranked, slots = ranked[passing], slots[passing]
        # What is tidied away must not count.
        compared = wanted.max_iou_across is not None or not wanted.tidy.changes_nothing
        most = None if compared else wanted.max_masks
        kept.append(Kept(slots[:most], ranked[:most], complete=len(slots) < len(row)))
    return kept


def _boxes(detections: Detections, row: int, kept: Kept, size: Size) -> BoxArray:
    """Move the boxes of what is kept from shares of the square to pixels of the image, clipped."""
    shares = detections.boxes[row].float().cpu()[kept.slots].numpy()
    # The whole square is the image, and a share is a pixel of a square of one.
    boxes = Placement(size, 1).boxes_to_image(shares)
    clipped: BoxArray = boxes.clip(0, [size.width, size.height] * 2)
    return clipped


def _enlarged(logits: Float32[Tensor, "n h w"], size: Size) -> Bool[Tensor, "n H W"]:
    """Enlarge one map after the other, as they are large in float32; what is above 0 in each."""
    masks = torch.zeros(len(logits), *size, dtype=torch.bool, device=logits.device)
    for mask, each in zip(masks, logits, strict=True):
        larger = functional.interpolate(each[None, None], size=tuple(size), mode="bilinear")
        mask.copy_(larger[0, 0] > 0)
    return masks
