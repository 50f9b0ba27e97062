"""The order of work: every image once, a few at a time, and its objects in chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from promptseg.engine.runtime import Runtime
from promptseg.prompts import Prompt
from promptseg.requests import SegmentRequest
from promptseg.shapes import ImageArray

Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much is computed at a time: images encoded together, and objects decoded together."""

    images: int
    objects: int

    @classmethod
    def of(cls, runtime: Runtime) -> Limits:
        """Return what suits a device.

        On a CPU one of each: a batch saves little there, and the order in which its kernels add up
        depends on its size, so that company would move a pixel here and there.
        """
        if runtime.device.type == "cpu":
            return cls(images=1, objects=1)
        return cls(images=8, objects=64)


class Asked(NamedTuple):
    """One object: who asked for it, as which of the request's prompts, and how it was prompted."""

    request: int
    place: int
    prompt: Prompt


@dataclass(frozen=True)
class ImageWork:
    """One image, and every object that any request wants of it."""

    digest: str
    image: ImageArray
    asked: tuple[Asked, ...]


def plan(
    requests: Sequence[SegmentRequest], *, digest: Callable[[ImageArray], str]
) -> list[ImageWork]:
    """Gather the objects of equal images, in the order in which images are first asked about.

    Objects with as many points are neighbours, so that chunks of them need little padding. A
    request for no object makes no work.
    """
    images: dict[str, ImageArray] = {}
    asked: dict[str, list[Asked]] = {}
    for i, request in enumerate(requests):
        if not request.prompts:
            continue
        name = digest(request.image)
        images.setdefault(name, request.image)
        asked.setdefault(name, []).extend(
            Asked(i, place, prompt) for place, prompt in enumerate(request.prompts)
        )
    return [
        ImageWork(name, image, tuple(sorted(asked[name], key=_point_count)))
        for name, image in images.items()
    ]


def chunks(items: Sequence[Item], most: int) -> Iterator[Sequence[Item]]:
    """Cut into runs of at most `most`, in order."""
    for start in range(0, len(items), most):
        yield items[start : start + most]


def _point_count(asked: Asked) -> int:
    return len(asked.prompt.points) if asked.prompt.points else 0
