"""The order of work: every image once, a few at a time, and what is asked of it in chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from promptseg.engine.digest import Name
from promptseg.engine.runtime import Runtime
from promptseg.engine.workers import MOST
from promptseg.nn.protocol import NetworkSpec
from promptseg.requests import Request
from promptseg.shapes import ImageArray

Item = TypeVar("Item")

# More than this saves nothing, as every launch is long by then.
MOST_IMAGES, MOST_OBJECTS, MOST_CONCEPTS = 8, 64, 16
# What encoding takes for each pixel of the network's square, and decoding an object for each cell
# of its masks, twice what was measured on a CPU of SAM 2 large in float32: 0.49 GB and 21 MB.
BYTES_PER_PIXEL = 1024
BYTES_PER_CELL = 640
# What drawing the things of a concept takes for each cell of its masks: three maps of SAM 3's 256
# channels in float32.
BYTES_PER_CONCEPT_CELL = 3072


# What images that a CPU's cores look at side by side may take together: sixteen cores with a square
# of 384, four with one of 1024.
ABREAST_BYTES = 4 * 2**30


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much is computed at a time: images encoded, objects decoded and concepts found.

    `abreast` are images that are worked on side by side, each by one core of a CPU, where there are
    as many of them.
    """

    images: int
    objects: int
    concepts: int = 1
    abreast: int = 1

    @classmethod
    def of(cls, runtime: Runtime, spec: NetworkSpec) -> Limits:
        """Return what suits a device.

        On a CPU one of each: a batch saves little there, and less than images or objects side by
        side on its cores (`workers.py`); images where all cores have one, and memory holds as many.
        Elsewhere as many as half of the free memory is planned to hold.
        """
        image_bytes = BYTES_PER_PIXEL * spec.image_side**2
        if runtime.device.type == "cpu":
            cores = torch.get_num_threads()
            fit = cores <= min(MOST, ABREAST_BYTES // image_bytes)
            return cls(images=1, objects=1, abreast=cores if fit else 1)
        free = runtime.free_bytes()
        if free is None:
            return cls(images=1, objects=MOST_OBJECTS // 4, concepts=MOST_CONCEPTS // 4)
        object_bytes = BYTES_PER_CELL * spec.mask_side**2
        concept_bytes = BYTES_PER_CONCEPT_CELL * spec.mask_side**2
        return cls(
            images=min(max(free // 2 // image_bytes, 1), MOST_IMAGES),
            objects=min(max(free // 2 // object_bytes, 1), MOST_OBJECTS),
            concepts=min(max(free // 2 // concept_bytes, 1), MOST_CONCEPTS),
        )


@dataclass(frozen=True)
class ImageWork:
    """One image, and the numbers of the requests that ask something of it, in order."""

    name: Name
    image: ImageArray
    requests: tuple[int, ...]


def plan(
    requests: Sequence[Request],
    names: Sequence[Name | None] | None = None,
    *,
    digest: Callable[[ImageArray], str],
) -> list[ImageWork]:
    """Gather the requests about equal images, in the order in which images are first asked about.

    Images are equal by their `names`, where these are known. A request for nothing makes no work.
    """
    images: dict[Name, ImageArray] = {}
    numbers: dict[Name, list[int]] = {}
    for number, request in enumerate(requests):
        if not request.asks:
            continue
        name = (names[number] if names else None) or Name(digest(request.image))
        images.setdefault(name, request.image)
        numbers.setdefault(name, []).append(number)
    return [ImageWork(name, image, tuple(numbers[name])) for name, image in images.items()]


def chunks(items: Sequence[Item], most: int) -> Iterator[Sequence[Item]]:
    """Cut into runs of at most `most`, in order."""
    for start in range(0, len(items), most):
        yield items[start : start + most]
