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
from promptseg.engine.digest import ImageDigest
from promptseg.engine.portions import Portions
from promptseg.engine.runtime import Runtime
from promptseg.geometry import Size
from promptseg.nn.outputs import ImageFeatures
from promptseg.nn.protocol import Encoding


@dataclass(frozen=True)
class EncodedImage:
    """An image that a network has looked at."""

    size: Size
    features: ImageFeatures


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
        digests: Sequence[str] | None = None,
    ) -> list[EncodedImage]:
        """Look at images, or find them in the cache; `digests` name them where that is known.

        Raises:
            OutOfMemoryError: there is not enough memory for one image alone.
        """
        names = [self.digest(image) for image in images] if digests is None else digests
        spec = self.network.spec
        keys = [FeatureKey(name, spec.digest, str(self.runtime)) for name in names]

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
            EncodedImage(Size(*image.shape[:2]), each)
            for image, each in zip(images, features, strict=True)
        ]

    def release(self) -> None:
        """Let go of all memory that can be spared."""
        self.cache.clear()
        self.runtime.trim()
