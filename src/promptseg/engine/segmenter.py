"""The `segment` verb: requests in, masks out, in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import torch

from promptseg.engine import postprocess, preprocess
from promptseg.engine.batches import Limits, chunks, plan
from promptseg.engine.cache import FeatureCache
from promptseg.engine.candidates import Candidates, by_object, choose
from promptseg.engine.encoder import EncodedImage, Encoder
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
from promptseg.tidying import tidy

# Objects of an image from which a CPU's cores answer one each. A lone click is quicker with all of
# them (SAM 2.1 tiny on two Zen 5 cores: 14 ms, and 22 with one), and a few take as long either way.
MANY = 8


class Asked(NamedTuple):
    """One object: which request asked for it, as which of its prompts, and what is wanted of it."""

    request: int
    place: int
    prompt: Prompt
    options: SegmentOptions


class Segmenter:
    """Answers requests with one network; any number of threads may use it at once.

    The network must sit on the runtime's device already (`Runtime.place`).
    """

    def __init__(
        self,
        network: Promptable,
        runtime: Runtime,
        cache: FeatureCache[ImageFeatures],
        *,
        limits: Limits | None = None,
    ) -> None:
        self.network = network
        self.runtime = runtime
        self.encoder = Encoder(network, runtime, cache, limits=limits)
        self.limits = self.encoder.limits
        self._objects = Portions(
            self.limits.objects, what="decoding objects", release=self.encoder.release
        )
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
        answers: dict[int, Masks] = {}
        for group in chunks(plan(requests, digest=self.encoder.digest), self.limits.images):
            images = self.encoder.encode(
                [work.image for work in group], [work.name for work in group]
            )
            for work, image in zip(group, images, strict=True):
                found = self.answer_all(image, [requests[number] for number in work.requests])
                answers.update(zip(work.requests, found, strict=True))
        return [
            answers[number] if number in answers else Masks.empty(request.size)
            for number, request in enumerate(requests)
        ]

    def answer_all(self, image: EncodedImage, requests: Sequence[SegmentRequest]) -> list[Masks]:
        """Answer several requests about an encoded image, all of their objects in one go.

        Objects with as many points are neighbours, so that chunks of them need little padding.
        """
        asked = [
            Asked(number, place, prompt, request.options)
            for number, request in enumerate(requests)
            for place, prompt in enumerate(request.prompts)
        ]
        asked.sort(key=_point_count)
        found: list[dict[int, Masks]] = [{} for _ in requests]
        for each, masks in zip(asked, self._decode(image, asked), strict=True):
            found[each.request][each.place] = masks
        return [
            joined([parts[place] for place in sorted(parts)], image.size, request.options)
            for request, parts in zip(requests, found, strict=True)
        ]

    def answer(
        self, image: EncodedImage, prompts: Sequence[Prompt], options: SegmentOptions
    ) -> Masks:
        """Answer checked prompts on an encoded image, in order, as many at a time as `segment`."""
        return joined(list(self.answers(image, prompts, options)), image.size, options)

    def answers(
        self, image: EncodedImage, prompts: Sequence[Prompt], options: SegmentOptions
    ) -> Iterator[Masks]:
        """Answer checked prompts on an encoded image in order, untidied, each as it is known."""
        asked = [Asked(0, place, prompt, options) for place, prompt in enumerate(prompts)]
        return self._decode(image, asked)

    @property
    def objects(self) -> int:
        """How many objects are decoded together; halved where memory has run out."""
        return self._objects.most

    def check(self, prompts: Sequence[Prompt]) -> None:
        """Refuse prompts that this network cannot take."""
        for number, prompt in enumerate(prompts):
            with numbered("prompt", number, of=len(prompts)):
                preprocess.check_hint(prompt, self.network.spec)

    def crew(self) -> Crew | None:
        """Return threads for many answers side by side; None where they are given in turn."""
        on_cpu = self.runtime.device.type == "cpu"
        return self._crew if on_cpu and torch.get_num_threads() > 1 else None

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


def joined(answers: Sequence[Masks], size: Size, options: SegmentOptions) -> Masks:
    """Join the answers to the prompts of one request and tidy them."""
    masks = Masks.concatenate(answers) if answers else Masks.empty(size)
    return tidy(masks, options.tidy)


def _point_count(asked: Asked) -> int:
    return len(asked.prompt.points) if asked.prompt.points else 0
