"""All that one network can be asked, and requests of every kind answered together."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple, TypeAlias

from promptseg.engine.batches import ImageWork, Limits, chunks, plan
from promptseg.engine.cache import FeatureCache
from promptseg.engine.digest import Name
from promptseg.engine.encoder import EncodedImage, Encoder
from promptseg.engine.everything import Search, completed
from promptseg.engine.finder import Finder, Wanted, together
from promptseg.engine.portions import FULL
from promptseg.engine.runtime import Runtime
from promptseg.engine.segmenter import Segmenter
from promptseg.engine.workers import Crew
from promptseg.errors import OutOfMemoryError, PromptError, PromptsegError
from promptseg.nn.outputs import ImageFeatures
from promptseg.nn.protocol import Encoding, Findable, Promptable
from promptseg.requests import EverythingRequest, FindRequest, Request, SegmentRequest
from promptseg.results import Masks

logger = logging.getLogger(__name__)

Outcome: TypeAlias = Masks | Exception


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What recent images' features take, what the device has left, how much is done at a time.

    `cache_hits` are images that were there, or being encoded, when they were asked about, and
    `cache_misses` those that were not. `free_bytes` is None where the device does not tell it, as a
    CPU. `images`, `objects` and `concepts` are those looked at, decoded and found together; they
    halve where memory has run out, and are 0 where the network cannot do it.
    """

    cached_images: int
    cached_bytes: int
    cache_hits: int
    cache_misses: int
    free_bytes: int | None
    images: int
    objects: int
    concepts: int


class Spent(NamedTuple):
    """Seconds that a request took: until its image was looked at, and from then to its answer.

    Requests that are worked on together all take as long as they take together.
    """

    encode: float = 0.0
    answer: float = 0.0


class Ended(NamedTuple):
    """Which of the requests has been answered, and its masks, or why there are none.

    What is no `PromptsegError` is a fault of ours, or of what we stand on.
    """

    request: int
    outcome: Outcome
    spent: Spent = Spent()


class Verbs:
    """What a network can do: `segment` and `everything` if it is clicked, `find` if it reads."""

    def __init__(
        self,
        network: Encoding,
        runtime: Runtime,
        cache: FeatureCache[ImageFeatures],
        *,
        limits: Limits | None = None,
    ) -> None:
        self.network = network
        self._segmenter = (
            Segmenter(network, runtime, cache, limits=limits)
            if isinstance(network, Promptable)
            else None
        )
        self.encoder = (
            self._segmenter.encoder
            if self._segmenter
            else Encoder(network, runtime, cache, limits=limits)
        )
        self._finder = Finder(network, self.encoder) if isinstance(network, Findable) else None
        self._crew = Crew()
        self._abreast = self.encoder.limits.abreast

    @property
    def images(self) -> int:
        """How many images are worked on together; halved where memory has run out."""
        return max(self.encoder.portions.most, self._abreast)

    @property
    def segmenter(self) -> Segmenter:
        """What answers points, boxes and hints.

        Raises:
            PromptError: the network does not.
        """
        if self._segmenter is None:
            raise PromptError(
                "this model only finds what is named or shown, and answers no points or boxes",
                hint="Ask it with `find`, or load weights that have SAM 3's interactive half",
            )
        return self._segmenter

    @property
    def finder(self) -> Finder:
        """What finds every thing of a concept.

        Raises:
            PromptError: the network does not.
        """
        if self._finder is None:
            raise PromptError(
                "this model knows no words and finds nothing by example",
                hint="`find` needs the half of SAM 3 that finds: load `sam3`, or a file with it",
            )
        return self._finder

    @property
    def names(self) -> tuple[str, ...]:
        """The verbs that the network answers."""
        clicked = ("segment", "everything") if self._segmenter else ()
        return (*clicked, "find") if self._finder else clicked

    def usage(self) -> Usage:
        """Say what is held, and how much is done at a time."""
        encoder = self.encoder
        return Usage(
            cached_images=len(encoder.cache),
            cached_bytes=encoder.cache.bytes,
            cache_hits=encoder.cache.hits,
            cache_misses=encoder.cache.misses,
            free_bytes=encoder.runtime.free_bytes(),
            images=self.images,
            objects=self._segmenter.objects if self._segmenter else 0,
            concepts=self._finder.concepts if self._finder else 0,
        )

    def run(
        self, requests: Sequence[Request], names: Sequence[Name | None] | None = None
    ) -> Iterator[Ended]:
        """Answer requests of all kinds, and hand out each answer as soon as it is known.

        Each image is encoded once, a few at a time; then its objects are decoded together, its
        concepts found together, and its regions looked for. On a CPU that has an image for each of
        its cores, each works on one. Company changes no answer beyond rounding. A request that
        fails harms no other: its error is its outcome. `names` are those of the requests' images,
        where they are known.
        """
        sound = []
        for number, request in enumerate(requests):
            try:
                self.check(request)
            except PromptsegError as error:
                yield Ended(number, without_frames(error))
                continue
            if request.asks:
                sound.append(number)
            else:
                yield Ended(number, self._nothing(request))
        known = None if names is None else [names[number] for number in sound]
        work = plan([requests[number] for number in sound], known, digest=self.encoder.digest)

        def answers(group: Sequence[ImageWork]) -> Iterator[Ended]:
            begun = time.perf_counter()
            images = self._encode(group)
            encode = time.perf_counter() - begun
            for each, image in zip(group, images, strict=True):
                asked = {sound[place]: requests[sound[place]] for place in each.requests}
                if isinstance(image, Exception):
                    yield from (Ended(number, image, Spent(encode)) for number in asked)
                else:
                    yield from self._timed(self._answer(image, asked), encode)

        groups = list(chunks(work, self.encoder.limits.images))
        if 1 < self._abreast <= len(groups):
            yield from self._side_by_side(groups, answers)
        else:
            yield from chain.from_iterable(map(answers, groups))
        if logger.isEnabledFor(logging.DEBUG):  # asking a device for its free memory takes time
            logger.debug("answered %d requests; %s", len(requests), self.usage())

    def _side_by_side(
        self,
        groups: Sequence[Sequence[ImageWork]],
        answers: Callable[[Sequence[ImageWork]], Iterator[Ended]],
    ) -> Iterator[Ended]:
        """Answer images on a core each; from where memory runs out on, one after the other."""
        found = self._crew.in_order(lambda group: list(answers(group)), groups)
        for group, ended in zip(groups, found, strict=True):
            if any(isinstance(each.outcome, OutOfMemoryError) for each in ended):
                self._abreast = 1
                yield from answers(group)
            else:
                yield from ended

    def _timed(self, answers: Iterator[Ended], encode: float) -> Iterator[Ended]:
        begun = time.perf_counter()
        for ended in answers:
            yield ended._replace(spent=Spent(encode, time.perf_counter() - begun))

    def check(self, request: Request) -> None:
        """Refuse a request that the network cannot answer.

        Raises:
            PromptError: it cannot.
        """
        match request:
            case SegmentRequest():
                self.segmenter.check(request.prompts)
            case FindRequest():
                _ = self.finder
            case EverythingRequest():
                _ = self.segmenter

    def _nothing(self, request: Request) -> Masks:
        """Answer a request that asks for nothing."""
        if isinstance(request, FindRequest):
            shown = self.finder.shown(request.size, request.options)
            return together([], shown, request.options)
        return Masks.empty(request.size)

    def _encode(self, group: Sequence[ImageWork]) -> list[EncodedImage | Exception]:
        """Look at images together; where that fails, at each alone."""
        try:
            return list(
                self.encoder.encode([work.image for work in group], [work.name for work in group])
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this image's alone
            if len(group) == 1:
                return [without_frames(error)]
        return [image for work in group for image in self._encode([work])]

    def _answer(self, image: EncodedImage, requests: dict[int, Request]) -> Iterator[Ended]:
        finds = {n: each for n, each in requests.items() if isinstance(each, FindRequest)}
        segments = {n: each for n, each in requests.items() if isinstance(each, SegmentRequest)}
        if finds:
            yield from self._find(image, finds)
        if segments:
            yield from self._segment(image, segments)
        for number, request in requests.items():
            if isinstance(request, EverythingRequest):
                yield Ended(number, self._look_for_everything(image, request))

    def _find(self, image: EncodedImage, requests: dict[int, FindRequest]) -> Iterator[Ended]:
        """Find the concepts of all requests together; where that fails, those of each alone."""
        wanted = [
            Wanted(concept, request.options)
            for request in requests.values()
            for concept in request.concepts
        ]
        waiting = dict(requests)
        try:
            answers = self.finder.answer(image, wanted)
            for number, request in requests.items():
                found = [next(answers) for _ in request.concepts]
                shown = self.finder.shown(image.size, request.options)
                masks = together(found, shown, request.options)
                del waiting[number]
                yield Ended(number, masks)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is that of some query here
            failure = without_frames(error)
        if len(waiting) == 1:
            yield from (Ended(number, failure) for number in waiting)
            return
        for number, request in waiting.items():
            yield from self._find(image, {number: request})

    def _segment(self, image: EncodedImage, requests: dict[int, SegmentRequest]) -> Iterator[Ended]:
        """Decode the objects of all requests together; where that fails, those of each alone."""
        try:
            answers = self.segmenter.answer_all(image, list(requests.values()))
        except Exception as error:  # noqa: BLE001
            failure = without_frames(error)
        else:
            yield from map(Ended, requests, answers)
            return
        if len(requests) == 1:
            yield from (Ended(number, failure) for number in requests)
            return
        for number, request in requests.items():
            yield from self._segment(image, {number: request})

    def _look_for_everything(self, image: EncodedImage, request: EverythingRequest) -> Outcome:
        try:
            return completed(Search(self.segmenter, request, seen=image))
        except Exception as error:  # noqa: BLE001
            return without_frames(error)


def without_frames(error: Exception) -> Exception:
    """Make an error that is kept let go of where it came through: images and their features.

    One that nobody expected keeps them, for whoever has to find out.
    """
    if not isinstance(error, PromptsegError):
        return error
    link: BaseException | None = error
    while link is not None:
        link.__traceback__ = None
        link = link.__context__
    return error


def failure_of(error: Exception) -> PromptsegError:
    """Return what a query of a batch has for an outcome, also where nobody expected it.

    That is a fault of ours or of what we stand on, so the log has it whole.
    """
    if isinstance(error, PromptsegError):
        without_frames(error)
        return error
    if isinstance(error, MemoryError):
        return OutOfMemoryError("there is not enough memory for this query", hint=FULL)
    logger.error("a query failed unexpectedly", exc_info=error)
    return PromptsegError(
        f"the query failed unexpectedly: {type(error).__name__}",
        hint="The log has all of it; please report it",
    )
