"""The library's front: load a model, ask it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from promptseg.engine.cache import FeatureCache
from promptseg.engine.everything import Progress, Search, completed
from promptseg.engine.large import TiledSearch, segment_tiled
from promptseg.engine.runtime import Runtime
from promptseg.engine.segmenter import EncodedImage, Segmenter, Usage
from promptseg.engine.session import Session
from promptseg.errors import ConfigError, PromptError
from promptseg.io import images, windows
from promptseg.io.windows import LargeImage
from promptseg.nn.protocol import NetworkSpec, Promptable
from promptseg.options import EverythingOptions, SegmentOptions
from promptseg.prompts import Prompt, numbered
from promptseg.requests import EverythingRequest, OnePrompt, SegmentRequest, listed
from promptseg.results import Masks
from promptseg.settings import CACHE_BYTES
from promptseg.shapes import ImageArray
from promptseg.tiles import Tiling
from promptseg.weights import catalog
from promptseg.weights.load import load_source

AnyImage: TypeAlias = "str | Path | Image.Image | np.ndarray"

DEFAULT_OPTIONS = SegmentOptions()
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
    cache = FeatureCache(cache_bytes, device=runtime.device, device_bytes=_share(runtime))
    source = catalog.find(name)
    network = runtime.place(load_source(source))
    return Model(source.name, network, runtime, cache=cache)


class Model:
    """A network ready to answer, with the features of recent images; threads may share it.

    An image is a path, a Pillow image or an array, read as `promptseg.io.images` says.
    """

    def __init__(
        self, name: str, network: Promptable, runtime: Runtime, *, cache: FeatureCache
    ) -> None:
        self.name = name
        self.runtime = runtime
        self._segmenter = Segmenter(network, runtime, cache)

    @property
    def spec(self) -> NetworkSpec:
        """Sizes, normalisation and identity of the network."""
        return self._segmenter.network.spec

    def usage(self) -> Usage:
        """Say what the features of recent images take, and how much is worked on at a time."""
        return self._segmenter.usage()

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
        _require(SegmentOptions, "options", options)
        _require(Tiling, "tiling", tiling)
        return segment_tiled(self, _windows(image), listed(prompts), options, tiling)

    def run(self, requests: Sequence[SegmentRequest]) -> list[Masks]:
        """Answer many requests, in order; each image is encoded once.

        Raises:
            PromptError: something else than a `SegmentRequest` is among them, or a prompt does not
                fit this model.
            OutOfMemoryError: there is not enough memory for one image or one object alone.
        """
        for request in requests:
            if not isinstance(request, SegmentRequest):
                raise PromptError(
                    f"not a `SegmentRequest`: {type(request).__name__}",
                    hint="Make one with `SegmentRequest.of(image, prompts)`",
                )
        return self._segmenter.segment(requests)

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
        _require(EverythingOptions, "options", options)
        if tiling is None:
            if grids is not None and not isinstance(grids, (list, tuple)):
                raise ConfigError(f"`grids` must be a list of grids, got {type(grids).__name__}")
            own = None if grids is None else tuple(grids)
            return Search(self._segmenter, EverythingRequest(_pixels(image), options, own))
        _require(Tiling, "tiling", tiling)
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
        return self._segmenter.encode(_pixels(image))

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
        self._segmenter.check(prompts)
        return self._segmenter.answer(image, prompts, options)

    def session(self, image: AnyImage, *, options: SegmentOptions = DEFAULT_OPTIONS) -> Session:
        """Refine one object step by step on an image that is encoded once.

        Raises:
            ImageError: the image is missing, damaged or refused.
            ConfigError: the options are not `SegmentOptions`.
        """
        _require(SegmentOptions, "options", options)
        return Session(self._segmenter, _pixels(image), options=options)

    def __repr__(self) -> str:
        return f"Model({self.name}, {self.runtime})"


def _require(kind: type, name: str, value: object) -> None:
    if not isinstance(value, kind):
        raise ConfigError(f"`{name}` must be `{kind.__name__}`, got {type(value).__name__}")


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
