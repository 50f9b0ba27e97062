"""`find` in images too large to be held, or with more things than a network has slots for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

import numpy as np

from promptseg.concepts import Concept
from promptseg.engine.everything import Progress
from promptseg.engine.finder import together
from promptseg.engine.large import Source, placed
from promptseg.errors import ConfigError, PromptError
from promptseg.options import FindOptions, TidyOptions
from promptseg.prompts import numbered
from promptseg.requests import FindRequest, Request
from promptseg.results import Masks
from promptseg.seams import Part, merge
from promptseg.tiles import Tiling, View, cover, whole_view


@runtime_checkable
class Finds(Protocol):
    """What is asked about each view, such as a `Model`."""

    def run(self, requests: Sequence[Request]) -> list[Masks]:
        """Answer requests in order."""


def find_tiled(
    model: Finds,
    source: Source,
    concepts: Sequence[Concept],
    options: FindOptions,
    tiling: Tiling,
    *,
    progress: Callable[[Progress], object] | None = None,
) -> Masks:
    """Find every thing of each concept in a large image: `find` on its tiles, merged (`seams`).

    The first view is the whole image, reduced to a tile's side, for things larger than a tile.
    `complete` is false where a tile, too, holds more things than the network answers with. An image
    that fits in a tile is answered as `find` would.

    Raises:
        PromptError: a concept has example boxes, which a tile elsewhere does not show.
        ConfigError: masks are asked for at the size at which the model sees.
        ImageError: the image is damaged where it is read.
    """
    if options.mask_size != "image":
        raise ConfigError(
            "masks of parts of a large image have no common size but the image's",
            hint='Leave `mask_size` at "image"',
        )
    tiles = [View(window) for window in cover(source.size, tiling)]
    if len(tiles) == 1:
        request = FindRequest(source.read(*tiles[0].window), tuple(concepts), options)
        return model.run([request])[0]
    for number, concept in enumerate(concepts):
        with numbered("concept", number, of=len(concepts)):
            _check(concept)
    views = [whole_view(source.size, tiling), *tiles]
    plain = replace(options, tidy=TidyOptions(), max_masks=None, across=False)
    seen: list[list[Masks]] = []
    for done, view in enumerate(views):
        pixels = source.read(*view.window, factor=view.factor)
        found = model.run([FindRequest(pixels, (concept,), plain) for concept in concepts])
        seen.append([placed(masks, view, source.size) for masks in found])
        if progress is not None:
            count = sum(len(masks) for answers in seen for masks in answers)
            progress(Progress(done + 1, len(views), count))
    merged = []
    for number in range(len(concepts)):
        overview, *parts = (answers[number] for answers in seen)
        pairs = zip(tiles, parts, strict=True)
        masks = merge(_large(overview, tiling), [Part(v.window, each) for v, each in pairs], tiling)
        # What the overview had no slot for, tiles have shown; a joined mask has no predicted box.
        complete = all(part.complete for part in parts)
        merged.append(replace(masks, complete=complete, predicted_boxes=None))
    return together(merged, source.size, options)


def _large(found: Masks, tiling: Tiling) -> Masks:
    """Keep what is longer than a tile, which no tile can show whole."""
    x0, y0, x1, y1 = found.boxes.T
    return found[np.maximum(x1 - x0, y1 - y0) > tiling.side]


def _check(concept: Concept) -> None:
    if concept.include or concept.exclude:
        raise PromptError(
            "examples are only known in the tile that shows them",
            hint="Give a phrase alone, or leave the tiling out",
        )
