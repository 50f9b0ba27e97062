"""The library's front: load a model, ask it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias, overload

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from promptseg.batch import Answered, Answers, Batch, Query
from promptseg.concepts import OneBox, as_concept
from promptseg.engine.batches import chunks
from promptseg.engine.cache import FeatureCache
from promptseg.engine.encoder import EncodedImage
from promptseg.engine.everything import Progress, Search, completed
from promptseg.engine.finder import Finder, FoundTensors, Wanted
from promptseg.engine.large import TiledSearch, segment_tiled
from promptseg.engine.large_find import find_tiled
from promptseg.engine.runtime import Runtime
from promptseg.engine.scheduler import DEFAULT, OnBatch, QueueLimits, Scheduler
from promptseg.engine.session import Session
from promptseg.engine.verbs import Usage, Verbs, failure_of
from promptseg.errors import ConfigError, PromptError, PromptsegError
from promptseg.io import images, windows
from promptseg.io.windows import LargeImage
from promptseg.nn.outputs import ImageFeatures
from promptseg.nn.protocol import Encoding, NetworkSpec
from promptseg.options import EverythingOptions, FindOptions, SegmentOptions
from promptseg.options.checks import require_kind
from promptseg.prompts import Prompt, numbered
from promptseg.requests import (
    EverythingRequest,
    FindRequest,
    OneConcept,
    OnePrompt,
    Request,
    SegmentRequest,
    listed,
    listed_concepts,
)
from promptseg.results import Masks
from promptseg.settings import CACHE_BYTES
from promptseg.shapes import ImageArray
from promptseg.tiles import Tiling
from promptseg.weights import catalog
from promptseg.weights.load import load_source

AnyImage: TypeAlias = "str | Path | Image.Image | np.ndarray"

DEFAULT_OPTIONS = SegmentOptions()
DEFAULT_FIND = FindOptions()
DEFAULT_EVERYTHING = EverythingOptions()


def load(
    name: str | Path | None = None,
    *,
    device: str = "auto",
    dtype: str = "auto",
    cache_bytes: int = CACHE_BYTES,
) -> Model:
    """Load a model; without a name the built-in one, offline.

    A name is one of the catalogue such as `sam2.1-large`, a repository of the hub such as
    `facebook/sam2.1-hiera-large`, or the path of a file or folder of weights, in our layout, Meta's
    or transformers'. What is not on this machine is downloaded, and said so in the log.

    `cache_bytes` bounds the features of images that are kept between calls; 0 keeps none.

    Raises:
        ConfigError: an unknown model, device or dtype, a device that is not there, or a negative
            `cache_bytes`.
        WeightsError: the weights are damaged, of another kind, or cannot be downloaded.
        OutOfMemoryError: the device has no room for the model.
    """
    runtime = Runtime.choose(device, dtype)
    cache: FeatureCache[ImageFeatures] = FeatureCache(
        cache_bytes, device=runtime.device, device_bytes=_share(runtime)
    )
    source = catalog.find(name)
    network = runtime.place(load_source(source))
    return Model(source.name, network, runtime, cache=cache)


class Model:
    """A network ready to answer, with the features of recent images; threads may share it.

    An image is a path, a Pillow image or an array, read as `promptseg.io.images` says.
    """

    def __init__(
        self, name: str, network: Encoding, runtime: Runtime, *, cache: FeatureCache[ImageFeatures]
    ) -> None:
        self.name = name
        self.runtime = runtime
        self._verbs = Verbs(network, runtime, cache)

    @property
    def spec(self) -> NetworkSpec:
        """Sizes, normalisation and identity of the network."""
        return self._verbs.network.spec

    @property
    def finder(self) -> Finder:
        """What answers concepts, for doors that ask more of it than `find` does.

        Raises:
            PromptError: this model finds nothing by name or example.
        """
        return self._verbs.finder

    @property
    def verbs(self) -> tuple[str, ...]:
        """What it can be asked: those of `segment`, `everything` and `find` that it answers."""
        return self._verbs.names

    def usage(self) -> Usage:
        """Say what the features of recent images take, and how much is worked on at a time."""
        return self._verbs.usage()

    def segment(
        self,
        image: AnyImage | LargeImage,
        prompts: OnePrompt | Sequence[OnePrompt],
        *,
        options: SegmentOptions = DEFAULT_OPTIONS,
        tiling: Tiling | None = None,
    ) -> Masks:
        """Find the pixels of one object, or of several: one prompt each.

        With a `tiling` a large image is looked at in parts (`engine.large.segment_tiled`); it may
        also be one that `io.windows.open_image` made.

        Raises:
            ImageError: the image is missing, damaged or refused.
            PromptError: a prompt does not fit the image or this model.
            ConfigError: the options are not `SegmentOptions`, or ask for logits of parts.
            OutOfMemoryError: there is not enough memory for one image or one object alone.
        """
        if tiling is None:
            return self.run([SegmentRequest.of(_pixels(image), prompts, options)])[0]
        require_kind(SegmentOptions, "options", options)
        require_kind(Tiling, "tiling", tiling)
        return segment_tiled(self, _windows(image), listed(prompts), options, tiling)

    def find(
        self,
        image: AnyImage | LargeImage,
        concepts: OneConcept | Sequence[OneConcept] | None = None,
        *,
        include: Sequence[OneBox] = (),
        exclude: Sequence[OneBox] = (),
        options: FindOptions = DEFAULT_FIND,
        tiling: Tiling | None = None,
    ) -> Masks:
        """Find every thing that a phrase names, or boxes of examples show, or both.

        Several concepts are found in the order they are asked, the things of each best first;
        `Masks.labels` say of which a mask is. `include` and `exclude` are example boxes of one
        concept. With a `tiling` a large image is looked at in parts, which also is the way where
        there are more things than a network can answer with at once (`Masks.complete`).

        Raises:
            ImageError: the image is missing, damaged or refused.
            PromptError: nothing is asked for, it makes no sense, or this model knows no words.
            ConfigError: the options are not `FindOptions`.
            WeightsError: the weights came without the files that take phrases apart.
            OutOfMemoryError: there is not enough memory for one image or one concept alone.
        """
        asked = listed_concepts(concepts, include=include, exclude=exclude)
        if tiling is None:
            return self.run([FindRequest.of(_pixels(image), asked, options)])[0]
        require_kind(FindOptions, "options", options)
        require_kind(Tiling, "tiling", tiling)
        return find_tiled(self, _windows(image), asked, options, tiling)

    def find_tensors(
        self,
        image: AnyImage,
        concept: OneConcept | None = None,
        *,
        include: Sequence[OneBox] = (),
        exclude: Sequence[OneBox] = (),
        options: FindOptions = DEFAULT_FIND,
    ) -> FoundTensors:
        """Do as `find` for one concept, and leave what is found on the device, as tensors.

        Raises:
            ConfigError: the options are not `FindOptions`, or ask for tidying, which needs `find`.
            ImageError, PromptError, WeightsError, OutOfMemoryError: as `find`.
        """
        asked = as_concept(concept, include=include, exclude=exclude)
        request = FindRequest.of(_pixels(image), asked, options)
        if not request.options.tidy.changes_nothing:
            raise ConfigError("tensors are not tidied", hint="Leave `tidy` out, or use `find`")
        finder = self._verbs.finder
        [encoded] = self._verbs.encoder.encode([request.image])
        return finder.tensors(encoded, Wanted(asked, request.options))

    @overload
    def run(self, requests: Batch) -> Answers: ...

    @overload
    def run(self, requests: Sequence[Request]) -> list[Masks]: ...

    def run(self, requests: Batch | Sequence[Request]) -> Answers | list[Masks]:
        """Answer a batch by the ids of its queries, or a list of requests in order.

        Each image is encoded once, and each phrase read once. Of a batch a query that fails harms
        no other: `Answers` raises its error when it is asked for; of a list the first error is
        raised.

        Raises:
            PromptError: something else than a request is among them, or one does not fit this
                model; the message says which.
            WeightsError: the weights came without the files that take phrases apart.
            OutOfMemoryError: there is not enough memory for one image, object or concept alone.
        """
        if isinstance(requests, Batch):
            asked = requests.queries
            outcomes = dict(self.stream(requests))
            return Answers({query.id: outcomes[query.id] for query in asked})
        _require_requests(requests)
        masks: dict[int, Masks] = {}
        for number, outcome, _ in self._verbs.run(requests):
            if isinstance(outcome, Exception):
                with numbered("request", number, of=len(requests)):
                    raise outcome
            masks[number] = outcome
        return [masks[number] for number in range(len(requests))]

    def stream(self, batch: Batch) -> Iterator[Answered]:
        """Answer a batch, and hand out each answer as soon as it is known.

        Images that are paths are read a few at a time. A query's outcome is its masks or its error.
        What is asked of the batch from now on is for its next run.

        Raises:
            ConfigError: this is no `Batch`.
        """
        require_kind(Batch, "batch", batch)
        return self._stream([(each.image, tuple(each.queries)) for each in batch.images])

    def _stream(self, asked: Sequence[tuple[AnyImage, Sequence[Query]]]) -> Iterator[Answered]:
        asked = [(image, queries) for image, queries in asked if queries]
        for group in chunks(asked, self._verbs.images):
            names: list[str] = []
            requests: list[Request] = []
            for image, queries in group:
                try:
                    pixels = _pixels(image)
                except Exception as error:  # noqa: BLE001 - whatever it is, it is this image's alone
                    failure = failure_of(error)
                    yield from (Answered(query.id, failure) for query in queries)
                    continue
                for query in queries:
                    try:
                        requests.append(query.of(pixels))
                    except PromptsegError as error:
                        yield Answered(query.id, failure_of(error))
                    else:
                        names.append(query.id)
            for number, outcome, _ in self._verbs.run(requests):
                known = outcome if isinstance(outcome, Masks) else failure_of(outcome)
                yield Answered(names[number], known)

    def everything(
        self,
        image: AnyImage | LargeImage,
        *,
        options: EverythingOptions = DEFAULT_EVERYTHING,
        tiling: Tiling | None = None,
        progress: Callable[[Progress], object] | None = None,
    ) -> Masks:
        """Find all regions of an image, best first.

        `progress` is called every few points. Where `time_budget` ends the search early, the masks
        say so (`Masks.complete`). With a `tiling` a large image is looked at in parts.

        Raises:
            ImageError: the image is missing, damaged or refused.
            ConfigError: the options are not `EverythingOptions`.
            OutOfMemoryError: there is not enough memory for one crop or one point alone.
        """
        return completed(self.search(image, options=options, tiling=tiling), progress)

    def search(
        self,
        image: AnyImage | LargeImage,
        *,
        options: EverythingOptions = DEFAULT_EVERYTHING,
        tiling: Tiling | None = None,
        grids: Sequence[ArrayLike] | None = None,
    ) -> Search | TiledSearch:
        """Begin what `everything` does: iterate to go on, and ask for the masks at any time.

        `grids` are points of one's own for each layer of crops, p 2, as shares of a crop's sides.

        Raises:
            ImageError: the image is missing, damaged or refused.
            ConfigError: the options are not `EverythingOptions`, or a grid is no grid.
        """
        require_kind(EverythingOptions, "options", options)
        if tiling is None:
            if grids is not None and not isinstance(grids, (list, tuple)):
                raise ConfigError(f"`grids` must be a list of grids, got {type(grids).__name__}")
            own = None if grids is None else tuple(grids)
            return Search(self._verbs.segmenter, EverythingRequest(_pixels(image), options, own))
        require_kind(Tiling, "tiling", tiling)
        if grids is not None:
            raise ConfigError("`grids` and `tiling` do not go together", hint="Leave one out")
        trust = self.spec.trust
        limits = {"max_iou": trust.max_iou, "max_containment": trust.max_containment}
        options = replace(options, tidy=options.tidy.with_limits(**limits))
        return TiledSearch(self, _windows(image), options, tiling)

    def encode(self, image: AnyImage) -> EncodedImage:
        """Look at an image; what was seen lasts as long as the value that comes back.

        Raises:
            ImageError: the image is missing, damaged or refused.
        """
        return self._verbs.encoder.encode([_pixels(image)])[0]

    def answer(
        self,
        image: EncodedImage,
        prompts: Sequence[Prompt],
        *,
        options: SegmentOptions = DEFAULT_OPTIONS,
    ) -> Masks:
        """Do as `segment` on what `encode` saw.

        Raises:
            PromptError: a prompt does not fit the image or this model.
            OutOfMemoryError: there is not enough memory for one object alone.
        """
        for number, prompt in enumerate(prompts):
            with numbered("prompt", number, of=len(prompts)):
                prompt.check(image.size)
        self._verbs.segmenter.check(prompts)
        return self._verbs.segmenter.answer(image, prompts, options)

    def session(self, image: AnyImage, *, options: SegmentOptions = DEFAULT_OPTIONS) -> Session:
        """Refine one object step by step on an image that is encoded once.

        Raises:
            ImageError: the image is missing, damaged or refused.
            ConfigError: the options are not `SegmentOptions`.
        """
        require_kind(SegmentOptions, "options", options)
        return Session(self._verbs.segmenter, _pixels(image), options=options)

    def scheduler(self, limits: QueueLimits = DEFAULT, *, on_batch: OnBatch = None) -> Scheduler:
        """Answer many callers from one thread."""
        return Scheduler(self._verbs, limits, on_batch=on_batch)

    def __repr__(self) -> str:
        return f"Model({self.name}, {self.runtime})"


def _require_requests(requests: object) -> None:
    wrong = requests
    if isinstance(requests, (list, tuple)):
        others = [each for each in requests if not isinstance(each, Request)]
        if not others:
            return
        wrong = others[0]
    raise PromptError(
        f"`run` takes a `Batch` or a list of requests, got {type(wrong).__name__}",
        hint="Make a request such as `SegmentRequest.of(image, prompts)`, or fill a `Batch`",
    )


def _share(runtime: Runtime) -> int | None:
    """How much of a device's memory features may take: a quarter of what is free."""
    free = runtime.free_bytes()
    return None if free is None else free // 4


def _windows(image: AnyImage | LargeImage) -> LargeImage:
    return image if isinstance(image, LargeImage) else windows.open_image(image)


def _pixels(image: AnyImage | LargeImage) -> ImageArray:
    if isinstance(image, LargeImage):
        return image.whole()
    return images.read(image) if isinstance(image, (str, Path)) else images.to_rgb(image)
