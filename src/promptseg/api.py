"""The library's front: load a model, ask it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image

from promptseg.engine.cache import FeatureCache
from promptseg.engine.runtime import Runtime
from promptseg.engine.segmenter import EncodedImage, Segmenter, Usage
from promptseg.engine.session import Session
from promptseg.errors import ConfigError, PromptError
from promptseg.io import images
from promptseg.nn.protocol import NetworkSpec, Promptable
from promptseg.options import SegmentOptions
from promptseg.prompts import Prompt, numbered
from promptseg.requests import OnePrompt, SegmentRequest
from promptseg.results import Masks
from promptseg.settings import CACHE_BYTES
from promptseg.shapes import ImageArray
from promptseg.weights import catalog
from promptseg.weights.load import load_source

AnyImage: TypeAlias = "str | Path | Image.Image | np.ndarray"

DEFAULT_OPTIONS = SegmentOptions()


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
        image: AnyImage,
        prompts: OnePrompt | Sequence[OnePrompt],
        *,
        options: SegmentOptions = DEFAULT_OPTIONS,
    ) -> Masks:
        """Find the pixels of one object, or of several: one prompt each.

        Raises:
            ImageError: the image is missing, damaged or refused.
            PromptError: a prompt does not fit the image or this model.
            ConfigError: the options are not `SegmentOptions`.
            OutOfMemoryError: there is not enough memory for one image or one object alone.
        """
        return self.run([SegmentRequest.of(_pixels(image), prompts, options)])[0]

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
        if not isinstance(options, SegmentOptions):
            raise ConfigError(f"`options` must be `SegmentOptions`, got {type(options).__name__}")
        return Session(self._segmenter, _pixels(image), options=options)

    def __repr__(self) -> str:
        return f"Model({self.name}, {self.runtime})"


def _share(runtime: Runtime) -> int | None:
    """How much of a device's memory features may take: a quarter of what is free."""
    free = runtime.free_bytes()
    return None if free is None else free // 4


def _pixels(image: AnyImage) -> ImageArray:
    return images.read(image) if isinstance(image, (str, Path)) else images.to_rgb(image)
