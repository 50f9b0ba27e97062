"""The `segment` verb: requests in, masks out, in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from promptseg.engine import postprocess, preprocess
from promptseg.engine.batches import Asked, ImageWork, Limits, chunks, plan
from promptseg.engine.cache import FeatureCache, FeatureKey
from promptseg.engine.digest import ImageDigest
from promptseg.engine.postprocess import Candidates
from promptseg.engine.runtime import Runtime
from promptseg.geometry import Placement, Size
from promptseg.nn.outputs import ImageFeatures
from promptseg.nn.protocol import Promptable
from promptseg.options import SegmentOptions
from promptseg.prompts import Prompt, numbered
from promptseg.requests import SegmentRequest
from promptseg.results import Masks
from promptseg.shapes import ImageArray


@dataclass(frozen=True)
class EncodedImage:
    """An image that a network has looked at."""

    size: Size
    features: ImageFeatures


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
        self.limits = limits or Limits.of(runtime)
        self._digest = ImageDigest()

    def segment(self, requests: Sequence[SegmentRequest]) -> list[Masks]:
        """Answer each request with the masks of its objects, in the order of its prompts.

        An image is encoded once however many requests name it. Company changes no answer: to the
        bit where `limits` are 1, as on a CPU, else up to rounding. Only one group of images and one
        chunk of low-resolution logits are held at a time.

        Raises:
            PromptError: a hint's logits are not of this network's resolution; of several requests
                or prompts the message says which.
        """
        for number, request in enumerate(requests):
            with numbered("request", number, of=len(requests)):
                self.check(request.prompts)
        answers: list[dict[int, Masks]] = [{} for _ in requests]
        for group in chunks(plan(requests, digest=self._digest), self.limits.images):
            for work, image in zip(group, self._encode(group), strict=True):
                for asked, candidates in self._decode(image, work.asked):
                    options = requests[asked.request].options
                    answers[asked.request][asked.place] = postprocess.to_masks(
                        candidates, image.size, options, place=asked.place
                    )
        return [
            Masks.concatenate([found[place] for place in sorted(found)])
            if found
            else Masks.empty(request.size)
            for request, found in zip(requests, answers, strict=True)
        ]

    def encode(self, image: ImageArray) -> EncodedImage:
        """Look at an image, or find it in the cache."""
        return self._encode([ImageWork(self._digest(image), image, ())])[0]

    def answer(self, image: EncodedImage, prompt: Prompt, options: SegmentOptions) -> Masks:
        """Answer one checked prompt on an encoded image."""
        [(_, candidates)] = self._decode(image, [Asked(0, 0, prompt)])
        return postprocess.to_masks(candidates, image.size, options, place=0)

    def check(self, prompts: Sequence[Prompt]) -> None:
        """Refuse prompts that this network cannot take."""
        for number, prompt in enumerate(prompts):
            with numbered("prompt", number, of=len(prompts)):
                preprocess.check_hint(prompt, self.network.spec)

    def _encode(self, group: Sequence[ImageWork]) -> list[EncodedImage]:
        spec = self.network.spec
        keys = [FeatureKey(work.digest, spec.digest, str(self.runtime)) for work in group]

        def encode(places: Sequence[int]) -> list[ImageFeatures]:
            images = [group[place].image for place in places]
            with torch.inference_mode():
                pixels = preprocess.to_pixels(images, spec, self.runtime)
                features = self.network.encode(pixels.to(self.runtime.dtype))
                return [features.image(i) for i in range(len(images))]

        features = self.cache.fetch(keys, encode)
        return [
            EncodedImage(Size(*work.image.shape[:2]), each)
            for work, each in zip(group, features, strict=True)
        ]

    def _decode(
        self, image: EncodedImage, asked: Sequence[Asked]
    ) -> Iterator[tuple[Asked, Candidates]]:
        spec = self.network.spec
        placement = Placement(image.size, spec.image_side)
        for chunk in chunks(asked, self.limits.objects):
            with torch.inference_mode():
                tensors = preprocess.prompt_tensors(
                    [each.prompt for each in chunk], placement, spec, self.runtime
                )
                answers = self.network.decode(image.features, tensors)
                candidates = postprocess.by_object(answers)
            yield from zip(chunk, candidates, strict=True)
