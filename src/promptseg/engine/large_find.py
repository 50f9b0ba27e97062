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
from promptseg.tidying import suppress
from promptseg.tiles import Tiling, View, cover, whole_view

# What tiles have shown is the thing that the overview has where their IoU is above the first, and
# not less of it than the second; a mask is a piece of a larger one of its concept where more than
# the third of it lies in that. Chosen on drawn scenes.
SAME, WHOLE, PIECE = 0.5, 0.8, 0.7


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

    The first view is the whole image, reduced to a tile's side, for things that no tile may show
    whole. Of one concept, a mask that lies in a larger one is left out as a piece of it. `complete`
    is false where a tile, too, holds more things than the network answers with; where only the
    overview does, a thing longer than a tile may come in pieces. An image that fits in a tile is
    answered as `find` would.

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
    plain = replace(options, tidy=TidyOptions(), max_masks=None, max_iou_across=None)
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
        shown = [Part(view.window, part) for view, part in zip(tiles, parts, strict=True)]
        masks = _whole(merge(_longer(overview, tiling.side), shown, tiling), overview, tiling)
        # What the overview had no slot for, tiles have shown; a joined mask has no predicted box.
        complete = all(part.complete for part in parts)
        merged.append(replace(masks, complete=complete, predicted_boxes=None))
    return together(merged, source.size, options)


def _whole(merged: Masks, overview: Masks, tiling: Tiling) -> Masks:
    """Put things that every tile may have cut back together, best first.

    What is longer than tiles overlap, and was seen in the overview only, comes from there. Then a
    mask that lies in a larger one of the same concept is taken for a piece of it.
    """
    spanning = _longer(overview, tiling.shared)
    enough = merged.areas[None] > WHOLE * spanning.areas[:, None]
    known = ((spanning.overlaps(merged) > SAME) & enough).any(axis=1)
    masks = Masks.concatenate([merged, spanning[~known]])
    kept = masks[suppress(masks.runs, masks.areas, max_containment=PIECE)]
    return kept[np.argsort(-kept.scores, kind="stable")]


def _longer(found: Masks, side: int) -> Masks:
    """Keep what is longer than so many pixels."""
    x0, y0, x1, y1 = found.boxes.T
    return found[np.maximum(x1 - x0, y1 - y0) > side]


def _check(concept: Concept) -> None:
    if concept.include or concept.exclude:
        raise PromptError(
            "examples are only known in the tile that shows them",
            hint="Give a phrase alone, or leave the tiling out",
        )
