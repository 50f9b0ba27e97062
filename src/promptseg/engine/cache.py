"""Features of images, kept by content and bounded in bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import NamedTuple

import torch

from promptseg.errors import ConfigError
from promptseg.nn.outputs import ImageFeatures

HOST = torch.device("cpu")


class FeatureKey(NamedTuple):
    """What decides the features of an image: its content, the weights, the device and dtype."""

    image: str
    network: str
    runtime: str


class Claim(NamedTuple):
    """What one caller finds: features that are kept, keys now its own, and others' to await."""

    kept: dict[FeatureKey, ImageFeatures]
    mine: list[FeatureKey]
    others: dict[FeatureKey, Future[ImageFeatures | None]]


# Encodes the images at these places of the asked-for keys.
Encode = Callable[[Sequence[int]], Sequence[ImageFeatures]]


class FeatureCache:
    """The most recently used features, at most `max_bytes` of them; 0 keeps nothing.

    On a `device` that is not the CPU at most `device_bytes` stay there; older ones wait in the
    host's memory and are brought back when they are asked for. Threads that ask for the same image
    at the same time share one encoding.

    Raises:
        ConfigError: the bound is below 0.
    """

    def __init__(
        self,
        max_bytes: int,
        *,
        device: torch.device = HOST,
        device_bytes: int | None = None,
    ) -> None:
        if max_bytes < 0:
            raise ConfigError(f"`cache_bytes` is at least 0, got {max_bytes}")
        self.max_bytes = max_bytes
        self.device = device
        self.device_bytes = max_bytes if device_bytes is None else device_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[FeatureKey, ImageFeatures] = OrderedDict()
        self._waiting: set[FeatureKey] = set()
        self._awaited: dict[FeatureKey, Future[ImageFeatures | None]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def bytes(self) -> int:
        """How much memory the kept features take, wherever they are."""
        with self._lock:
            return sum(features.bytes for features in self._kept.values())

    def clear(self) -> None:
        """Let go of everything."""
        with self._lock:
            self._kept.clear()
            self._waiting.clear()

    def fetch(self, keys: Sequence[FeatureKey], encode: Encode) -> list[ImageFeatures]:
        """Return the features of every key, in order, after encoding those that nobody has.

        `encode` is called with places in `keys`, outside the lock. Its error reaches only this
        caller: others that waited for the same image encode it themselves.
        """
        found: dict[FeatureKey, ImageFeatures] = {}
        while missing := [key for key in dict.fromkeys(keys) if key not in found]:
            claim = self._claim(missing)
            found.update({key: self._brought(key, each) for key, each in claim.kept.items()})
            if claim.mine:
                places = [keys.index(key) for key in claim.mine]
                found.update(self._encode(claim.mine, places, encode))
            # Only after its own claims are settled, so that two threads never wait for each other.
            for key, future in claim.others.items():
                if (features := future.result()) is not None:
                    found[key] = features
        return [found[key] for key in keys]

    def _claim(self, keys: Sequence[FeatureKey]) -> Claim:
        with self._lock:
            kept = {key: self._kept[key] for key in keys if key in self._kept}
            for key in kept:
                self._kept.move_to_end(key)
            others = {key: self._awaited[key] for key in keys if key in self._awaited}
            mine = [key for key in keys if key not in kept and key not in others]
            self._awaited.update({key: Future() for key in mine})
        return Claim(kept, mine, others)

    def _encode(
        self, mine: Sequence[FeatureKey], places: Sequence[int], encode: Encode
    ) -> dict[FeatureKey, ImageFeatures]:
        made: dict[FeatureKey, ImageFeatures] = {}
        try:
            made.update(zip(mine, encode(places), strict=True))
        finally:
            with self._lock:
                for key, features in made.items():
                    self._keep(key, features)
                ended = {key: self._awaited.pop(key) for key in mine}
            for key, future in ended.items():
                future.set_result(made.get(key))
        return made

    def _brought(self, key: FeatureKey, features: ImageFeatures) -> ImageFeatures:
        """Bring features that wait in the host's memory back to the device."""
        if key not in self._waiting:
            return features
        features = moved(features, self.device)
        with self._lock:
            self._waiting.discard(key)
            self._keep(key, features)
        return features

    def _keep(self, key: FeatureKey, features: ImageFeatures) -> None:
        """Keep as the newest; move or drop the oldest that are too many. Under the lock."""
        if features.bytes > self.max_bytes:
            return
        self._kept[key] = features
        self._kept.move_to_end(key)
        total = 0
        for each in reversed(list(self._kept)):
            total += self._kept[each].bytes
            if total > self.max_bytes:
                del self._kept[each]
                self._waiting.discard(each)
            elif total > self.device_bytes and each not in self._waiting:
                self._kept[each] = moved(self._kept[each], HOST)
                self._waiting.add(each)


def moved(features: ImageFeatures, device: torch.device) -> ImageFeatures:
    """Return the features with all grids on another device."""
    return ImageFeatures(tuple(grid.to(device) for grid in features.grids))
