"""The order of work: every image once, a few at a time, and its objects in chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from promptseg.engine.runtime import Runtime
from promptseg.nn.protocol import NetworkSpec
from promptseg.options import SegmentOptions
from promptseg.prompts import Prompt
from promptseg.requests import SegmentRequest
from promptseg.shapes import ImageArray

Item = TypeVar("Item")

# More than this saves nothing, as every launch is long by then.
MOST_IMAGES, MOST_OBJECTS = 8, 64
# What encoding takes for each pixel of the network's square, and decoding an object for each cell
# of its masks, twice what was measured on a CPU of SAM 2 large in float32: 0.49 GB and 21 MB.
BYTES_PER_PIXEL = 1024
BYTES_PER_CELL = 640


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much is computed at a time: images encoded together, and objects decoded together."""

    images: int
    objects: int

    @classmethod
    def of(cls, runtime: Runtime, spec: NetworkSpec) -> Limits:
        """Return what suits a device.

        On a CPU one of each: a batch saves little there, and less than objects side by side on its
        cores (`Segmenter.crew`). Elsewhere as many as half of the free memory is planned to hold.
        """
        if runtime.device.type == "cpu":
            return cls(images=1, objects=1)
        free = runtime.free_bytes()
        if free is None:
            return cls(images=1, objects=MOST_OBJECTS // 4)
        image_bytes = BYTES_PER_PIXEL * spec.image_side**2
        object_bytes = BYTES_PER_CELL * spec.mask_side**2
        return cls(
            images=min(max(free // 2 // image_bytes, 1), MOST_IMAGES),
            objects=min(max(free // 2 // object_bytes, 1), MOST_OBJECTS),
        )


class Asked(NamedTuple):
    """One object: which request asked for it, as which of its prompts, and what is wanted of it."""

    request: int
    place: int
    prompt: Prompt
    options: SegmentOptions


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
            Asked(i, place, prompt, request.options) for place, prompt in enumerate(request.prompts)
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
