"""Looking at images: each once, a few at a time, through the cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import UInt8

from promptseg.engine import preprocess
from promptseg.engine.batches import Limits
from promptseg.engine.cache import FeatureCache, FeatureKey
from promptseg.engine.digest import ImageDigest, Name
from promptseg.engine.portions import Portions
from promptseg.engine.runtime import Runtime
from promptseg.geometry import Size
from promptseg.nn.outputs import ImageFeatures
from promptseg.nn.protocol import Encoding


@dataclass(frozen=True)
class EncodedImage:
    """An image that a network has looked at, and whose it is (`digest.Name`)."""

    size: Size
    features: ImageFeatures
    owner: str = ""


class Encoder:
    """Encodes images with one network; any number of threads may use it at once.

    The network must sit on the runtime's device already (`Runtime.place`).
    """

    def __init__(
        self,
        network: Encoding,
        runtime: Runtime,
        cache: FeatureCache[ImageFeatures],
        *,
        limits: Limits | None = None,
    ) -> None:
        self.network = network
        self.runtime = runtime
        self.cache = cache
        self.limits = limits or Limits.of(runtime, network.spec)
        self.digest = ImageDigest()
        self.portions = Portions(self.limits.images, what="encoding images", release=self.release)

    def encode(
        self,
        images: Sequence[UInt8[np.ndarray, "_ _ 3"]],
        names: Sequence[Name] | None = None,
    ) -> list[EncodedImage]:
        """Look at images, or find them in the cache, by their `names` where these are known.

        Raises:
            OutOfMemoryError: there is not enough memory for one image alone.
        """
        if names is None:
            names = [Name(self.digest(image)) for image in images]
        spec, runtime = self.network.spec, str(self.runtime)
        keys = [FeatureKey(name.content, spec.digest, runtime, name.owner) for name in names]

        @torch.inference_mode()
        def encode(places: Sequence[int]) -> list[ImageFeatures]:
            with self.runtime.own_numbers():
                pixels = preprocess.to_pixels([images[i] for i in places], spec, self.runtime)
                features = self.network.encode(pixels.to(self.runtime.dtype))
                return [features.image(i) for i in range(len(places))]

        def encode_all(places: Sequence[int]) -> list[ImageFeatures]:
            return list(self.portions.run(places, encode))

        features = self.cache.fetch(keys, encode_all)
        return [
            EncodedImage(Size(*image.shape[:2]), each, name.owner)
            for image, each, name in zip(images, features, names, strict=True)
        ]

    def release(self) -> None:
        """Let go of all memory that can be spared."""
        self.cache.clear()
        self.runtime.trim()
