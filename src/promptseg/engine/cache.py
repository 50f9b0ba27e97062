"""Features of images and phrases, kept by content and bounded in bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeAlias, TypeVar, runtime_checkable

import torch

from promptseg.engine.portions import is_out_of_memory
from promptseg.errors import ConfigError

HOST = torch.device("cpu")


Kept = TypeVar("Kept", bound="Features")


@runtime_checkable
class Features(Protocol):
    """What can be kept: its size is known, and it can be brought to another device."""

    @property
    def bytes(self) -> int:
        """How much memory it takes."""

    @property
    def device(self) -> torch.device:
        """Where it is."""

    def to(self: Kept, device: torch.device) -> Kept:
        """Return the same on another device."""


class FeatureKey(NamedTuple):
    """What decides features: an image or a phrase, the weights, the device and dtype.

    And whose they are: what one owner asked for is not found by another.
    """

    content: str
    network: str
    runtime: str
    owner: str = ""


@dataclass(frozen=True)
class Claim(Generic[Kept]):
    """What one caller finds: features that are kept, keys now its own, and others' to await."""

    kept: dict[FeatureKey, Kept]
    mine: list[FeatureKey]
    others: dict[FeatureKey, Future[Kept | None]]


# Makes the features at these places of the asked-for keys.
Encode: TypeAlias = Callable[[Sequence[int]], Sequence[Kept]]


class FeatureCache(Generic[Kept]):
    """The most recently used features, at most `max_bytes` of them; 0 keeps nothing.

    On a `device` that is not the CPU at most `device_bytes` stay there; older ones wait in the
    host's memory and are brought back when they are asked for. Threads that ask for the same image
    at the same time share one encoding. `hits` and `misses` count features that were there, or
    being made, and those that had to be made.

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
        self.hits = 0
        self.misses = 0
        self._lock = threading.Lock()
        self._kept: OrderedDict[FeatureKey, Kept] = OrderedDict()
        self._awaited: dict[FeatureKey, Future[Kept | None]] = {}

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

    def fetch(self, keys: Sequence[FeatureKey], encode: Encode[Kept]) -> list[Kept]:
        """Return the features of every key, in order, after encoding those that nobody has.

        `encode` is called with places in `keys`, outside the lock. Its error reaches only this
        caller: others that waited for the same image encode it themselves.
        """
        found: dict[FeatureKey, Kept] = {}
        while missing := [key for key in dict.fromkeys(keys) if key not in found]:
            claim = self._claim(missing)
            found.update(self._brought(claim.kept))
            if claim.mine:
                places = [keys.index(key) for key in claim.mine]
                found.update(self._encode(claim.mine, places, encode))
            # Only after its own claims are settled, so that two threads never wait for each other.
            for key, future in claim.others.items():
                if (features := future.result()) is not None:
                    found[key] = features
        return [found[key] for key in keys]

    def _claim(self, keys: Sequence[FeatureKey]) -> Claim[Kept]:
        with self._lock:
            kept = {key: self._kept[key] for key in keys if key in self._kept}
            for key in kept:
                self._kept.move_to_end(key)
            others = {key: self._awaited[key] for key in keys if key in self._awaited}
            mine = [key for key in keys if key not in kept and key not in others]
            self.hits += len(kept) + len(others)
            self.misses += len(mine)
            self._awaited.update({key: Future() for key in mine})
        return Claim(kept, mine, others)

    def _encode(
        self, mine: Sequence[FeatureKey], places: Sequence[int], encode: Encode[Kept]
    ) -> dict[FeatureKey, Kept]:
        made: dict[FeatureKey, Kept] = {}
        try:
            made.update(zip(mine, encode(places), strict=True))
        finally:
            with self._lock:
                self._keep(made)
                ended = {key: self._awaited.pop(key) for key in mine}
            for key, future in ended.items():
                future.set_result(made.get(key))
        self._make_room()
        return made

    def _brought(self, kept: dict[FeatureKey, Kept]) -> dict[FeatureKey, Kept]:
        """Bring features that wait in the host's memory back; forget those there is no room for."""
        brought = {}
        for key, features in kept.items():
            if self._is_there(features):
                brought[key] = features
                continue
            back = _try_moving(features, self.device)
            with self._lock:
                if back is not None:
                    brought[key] = back
                    self._keep({key: back})
                elif self._kept.get(key) is features:
                    del self._kept[key]
        self._make_room()
        return brought

    def _is_there(self, features: Kept) -> bool:
        # By kind, because `cuda` is `cuda:0` by the time that something is on it.
        return features.device.type == self.device.type

    def _keep(self, made: dict[FeatureKey, Kept]) -> None:
        """Keep as the newest, and drop the oldest that are too many. Under the lock."""
        for key, features in made.items():
            if features.bytes <= self.max_bytes:
                self._kept[key] = features
                self._kept.move_to_end(key)
        total = 0
        for key in reversed(list(self._kept)):
            total += self._kept[key].bytes
            if total > self.max_bytes:
                del self._kept[key]

    def _make_room(self) -> None:
        """Bring the oldest on the device, beyond its share, to the host; without the lock."""
        if self.device.type == HOST.type:
            return
        with self._lock:
            total, overdue = 0, {}
            for key in reversed(list(self._kept)):
                total += self._kept[key].bytes
                if total > self.device_bytes and self._is_there(self._kept[key]):
                    overdue[key] = self._kept[key]
        for key, features in overdue.items():
            waiting = _try_moving(features, HOST)
            with self._lock:
                if self._kept.get(key) is not features:
                    continue
                if waiting is None:
                    del self._kept[key]
                else:
                    self._kept[key] = waiting


def _try_moving(features: Kept, device: torch.device) -> Kept | None:
    """Copy features to another device; None where it has no room for them."""
    try:
        return features.to(device)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return None
