"""The `segment` verb: requests in, masks out, in order."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import torch

from promptseg.engine import postprocess, preprocess
from promptseg.engine.batches import Asked, ImageWork, Limits, chunks, plan
from promptseg.engine.cache import FeatureCache, FeatureKey
from promptseg.engine.candidates import Candidates, by_object, choose
from promptseg.engine.digest import ImageDigest
from promptseg.engine.portions import Portions
from promptseg.engine.runtime import Runtime
from promptseg.engine.workers import Crew
from promptseg.geometry import Placement, Size
from promptseg.nn.outputs import ImageFeatures
from promptseg.nn.protocol import Promptable
from promptseg.options import SegmentOptions
from promptseg.prompts import Prompt, numbered
from promptseg.requests import SegmentRequest
from promptseg.results import Masks
from promptseg.shapes import ImageArray
from promptseg.tidying import tidy

logger = logging.getLogger(__name__)

# Objects of an image from which a CPU's cores answer one each. A lone click is quicker with all of
# them (SAM 2.1 tiny on two Zen 5 cores: 14 ms, and 22 with one), and a few take as long either way.
MANY = 8


@dataclass(frozen=True)
class EncodedImage:
    """An image that a network has looked at."""

    size: Size
    features: ImageFeatures


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What recent images' features take, what the device has left, how much is done at a time.

    `free_bytes` is None where the device does not tell it, as a CPU. `images` and `objects` are
    those encoded and decoded together; they halve where memory has run out.
    """

    cached_images: int
    cached_bytes: int
    free_bytes: int | None
    images: int
    objects: int


class Segmenter:
    """Answers requests with one network; any number of threads may use it at once.

    The network must sit on the runtime's device already (`Runtime.place`).
    """

    def __init__(
        self,
        network: Promptable,
        runtime: Runtime,
        cache: FeatureCache,
        *,
        limits: Limits | None = None,
    ) -> None:
        self.network = network
        self.runtime = runtime
        self.cache = cache
        self.limits = limits or Limits.of(runtime, network.spec)
        self._images = Portions(self.limits.images, what="encoding images", release=self.release)
        self._objects = Portions(self.limits.objects, what="decoding objects", release=self.release)
        self._digest = ImageDigest()
        self._crew = Crew()

    def segment(self, requests: Sequence[SegmentRequest]) -> list[Masks]:
        """Answer each request with the masks of its objects, in the order of its prompts.

        An image is encoded once however many requests name it. Company changes no answer beyond
        rounding; on a CPU, where up to seven objects of an image are asked for, not a bit. From
        eight on they are answered side by side, and the sums of one core may round otherwise than
        those of all. Only one group of images, and one chunk of low-resolution logits for each
        thread, are held at a time.

        The masks of a request are tidied together, so one may have to go for another's sake.

        Where memory runs out, half as much is worked on at a time from then on.

        Raises:
            PromptError: a hint's logits are not of this network's resolution; of several requests
                or prompts the message says which.
            OutOfMemoryError: there is not enough memory for one image or one object alone.
        """
        for number, request in enumerate(requests):
            with numbered("request", number, of=len(requests)):
                self.check(request.prompts)
        answers: list[dict[int, Masks]] = [{} for _ in requests]
        for group in chunks(plan(requests, digest=self._digest), self.limits.images):
            for work, image in zip(group, self._encode(group), strict=True):
                for asked, masks in zip(work.asked, self._decode(image, work.asked), strict=True):
                    answers[asked.request][asked.place] = masks
        if logger.isEnabledFor(logging.DEBUG):  # asking a device for its free memory takes time
            logger.debug("answered %d requests; %s", len(requests), self.usage())
        return [
            _together([found[place] for place in sorted(found)], request.size, request.options)
            for request, found in zip(requests, answers, strict=True)
        ]

    def encode(self, image: ImageArray) -> EncodedImage:
        """Look at an image, or find it in the cache."""
        return self._encode([ImageWork(self._digest(image), image, ())])[0]

    def answer(
        self, image: EncodedImage, prompts: Sequence[Prompt], options: SegmentOptions
    ) -> Masks:
        """Answer checked prompts on an encoded image, in order, as many at a time as `segment`."""
        asked = [Asked(0, place, prompt, options) for place, prompt in enumerate(prompts)]
        return _together(list(self._decode(image, asked)), image.size, options)

    def usage(self) -> Usage:
        """Say what is held, and how much is done at a time."""
        return Usage(
            cached_images=len(self.cache),
            cached_bytes=self.cache.bytes,
            free_bytes=self.runtime.free_bytes(),
            images=self._images.most,
            objects=self._objects.most,
        )

    def check(self, prompts: Sequence[Prompt]) -> None:
        """Refuse prompts that this network cannot take."""
        for number, prompt in enumerate(prompts):
            with numbered("prompt", number, of=len(prompts)):
                preprocess.check_hint(prompt, self.network.spec)

    def release(self) -> None:
        """Let go of all memory that can be spared."""
        self.cache.clear()
        self.runtime.trim()

    def crew(self) -> Crew | None:
        """Return threads for many answers side by side; None where they are given in turn."""
        on_cpu = self.runtime.device.type == "cpu"
        return self._crew if on_cpu and torch.get_num_threads() > 1 else None

    def _encode(self, group: Sequence[ImageWork]) -> list[EncodedImage]:
        spec = self.network.spec
        keys = [FeatureKey(work.digest, spec.digest, str(self.runtime)) for work in group]

        @torch.inference_mode()
        def encode(places: Sequence[int]) -> list[ImageFeatures]:
            images = [group[place].image for place in places]
            with self.runtime.own_numbers():
                pixels = preprocess.to_pixels(images, spec, self.runtime)
                features = self.network.encode(pixels.to(self.runtime.dtype))
                return [features.image(i) for i in range(len(images))]

        def encode_all(places: Sequence[int]) -> list[ImageFeatures]:
            return list(self._images.run(places, encode))

        features = self.cache.fetch(keys, encode_all)
        return [
            EncodedImage(Size(*work.image.shape[:2]), each)
            for work, each in zip(group, features, strict=True)
        ]

    def _decode(self, image: EncodedImage, asked: Sequence[Asked]) -> Iterator[Masks]:
        spec = self.network.spec
        placement = Placement(image.size, spec.image_side)

        @torch.inference_mode()
        def decode(portion: Sequence[Asked]) -> list[Masks]:
            prompts = [each.prompt for each in portion]
            tensors = preprocess.prompt_tensors(prompts, placement, spec, self.runtime)
            with self.runtime.own_numbers():
                answers = by_object(self.network.decode(image.features, tensors))
            return [
                self._masks(candidates, each, image.size)
                for candidates, each in zip(answers, portion, strict=True)
            ]

        if len(asked) < MANY or (crew := self.crew()) is None:
            return self._objects.run(asked, decode)
        portions = chunks(asked, self._objects.most)
        found = crew.in_order(lambda some: list(self._objects.run(some, decode)), portions)
        return chain.from_iterable(found)

    def _masks(self, candidates: Candidates, asked: Asked, size: Size) -> Masks:
        options = asked.options
        spec = self.network.spec
        choice = choose(candidates, asked.prompt, options, sure=spec.sure)
        return postprocess.to_masks(
            candidates, choice, size, options, place=asked.place, offset=spec.trust.offset
        )


def _together(answers: Sequence[Masks], size: Size, options: SegmentOptions) -> Masks:
    """Join the answers to the prompts of one request and tidy them."""
    masks = Masks.concatenate(answers) if answers else Masks.empty(size)
    return tidy(masks, options.tidy)
