"""The verbs on images too large to be held: parts are answered, and the answers put together.

Memory is bounded by a tile and by what is found. Nothing here has the size of the image but the
runs of masks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

import numpy as np

from promptseg.engine.everything import Progress
from promptseg.engine.upsample import to_runs
from promptseg.errors import ConfigError, PromptError
from promptseg.geometry import PixelBox, Size
from promptseg.masks import RunLength, union
from promptseg.options import EverythingOptions, SegmentOptions, TidyOptions
from promptseg.prompts import Prompt, numbered
from promptseg.results import Masks
from promptseg.seams import Part, merge
from promptseg.shapes import ImageArray
from promptseg.tidying import tidy
from promptseg.tiles import (
    Tiling,
    View,
    around,
    cover,
    cut_sides,
    extent,
    first_view,
    moved,
    whole_view,
    wider_view,
)

# Views of one object before the whole image is taken: each but the first is moved or wider. Chosen
# so that a mask which always ends at the edge costs no more than a few tiles.
MOST_VIEWS = 6
# Cells of a view enlarged at a time: 16 MiB of floats.
CELLS_AT_ONCE = 2**22


@runtime_checkable
class Source(Protocol):
    """An image of which windows can be read, also reduced; `io.windows` makes them."""

    @property
    def size(self) -> Size:
        """The size of the whole image."""

    def read(self, x0: int, y0: int, x1: int, y1: int, *, factor: int = 1) -> ImageArray:
        """Return the pixels of a window, as many as `factor` each way averaged into one."""


@runtime_checkable
class Answers(Protocol):
    """What is asked about each view, such as a `Model`."""

    def segment(
        self, image: ImageArray, prompts: Sequence[Prompt], *, options: SegmentOptions
    ) -> Masks:
        """Find the pixels of each of several objects."""

    def everything(self, image: ImageArray, *, options: EverythingOptions) -> Masks:
        """Find all regions."""


def segment_tiled(
    model: Answers,
    source: Source,
    prompts: Sequence[Prompt],
    options: SegmentOptions,
    tiling: Tiling,
    *,
    progress: Callable[[Progress], object] | None = None,
) -> Masks:
    """Find the pixels of objects in a large image: `segment` on the parts where they are.

    An object is first looked for in a tile around its prompt. Where its mask, the best one, ends at
    an edge of what was looked at, the next view is moved or wider, and has fewer pixels than the
    image once a tile cannot hold it: the wider the coarser, up to the whole image, which is taken
    after `MOST_VIEWS` views at the latest. `Masks.crops` says which part an answer is from.

    Points outside a view say nothing in it. An image that fits in a tile is answered as `segment`
    would.

    Raises:
        PromptError: a prompt does not fit the image or the model, or a hint is logits, of which it
            is not known what part of the image they show.
        ConfigError: logits are asked for.
        ImageError: the image is damaged where it is read.
    """
    if options.logits:
        raise ConfigError(
            "logits of a part of a large image cannot be fed back",
            hint="Leave `logits` out, and give the mask itself as a hint",
        )
    for number, prompt in enumerate(prompts):
        with numbered("prompt", number, of=len(prompts)):
            _check(prompt, source.size)
    plain = replace(options, tidy=TidyOptions())
    waiting = {
        place: first_view(prompt, source.size, tiling) for place, prompt in enumerate(prompts)
    }
    answers: dict[int, Masks] = {}
    for turn in range(MOST_VIEWS):
        last = turn == MOST_VIEWS - 2
        following: dict[int, View] = {}
        for view, places in _by_view(waiting):
            seen = source.read(*view.window, factor=view.factor)
            found = model.segment(
                seen, [view.prompt(prompts[place]) for place in places], options=plain
            )
            for number, place in enumerate(places):
                masks = placed(found[found.objects == number], view, source.size)
                wider = _wider(view, masks, prompts[place], source.size, tiling)
                if wider is None:
                    answers[place] = replace(masks, objects=np.full(len(masks), place))
                else:
                    following[place] = whole_view(source.size, tiling) if last else wider
            if progress is not None:
                progress(Progress(len(answers), len(prompts), sum(map(len, answers.values()))))
        waiting = following
    assert not waiting, "nothing is cut off in a view of the whole image"
    if not prompts:
        return Masks.empty(source.size)
    return tidy(Masks.concatenate([answers[place] for place in range(len(prompts))]), options.tidy)


class TiledSearch:
    """Looks for every region of a large image, tile by tile, and merges what it finds (`seams`).

    The first view is the whole image, reduced to a tile's side, for things larger than a tile.
    `masks` may be asked at any time, also after an exception such as `KeyboardInterrupt`;
    `complete` says whether all tiles were looked at.
    """

    def __init__(
        self, model: Answers, source: Source, options: EverythingOptions, tiling: Tiling
    ) -> None:
        self.complete = False
        self._model = model
        self._source = source
        self._options = options
        self._tiling = tiling
        self._tiles = [View(window) for window in cover(source.size, tiling)]
        self._whole = [whole_view(source.size, tiling)] if len(self._tiles) > 1 else []
        self._overview = Masks.empty(source.size)
        self._parts: list[Part] = []
        self._steps = self._look_around()

    @property
    def total(self) -> int:
        """How many views there are."""
        return len(self._whole) + len(self._tiles)

    def __iter__(self) -> Iterator[Progress]:
        """Go on looking at the overview and at every tile, until done or out of time.

        Raises:
            ImageError: the image is damaged where it is read.
            OutOfMemoryError: there is not enough memory for one tile.
        """
        return self._steps

    def _look_around(self) -> Iterator[Progress]:
        begun = time.monotonic()
        budget = self._options.time_budget
        for done, view in enumerate(self._whole + self._tiles):
            left = None if budget is None else budget - (time.monotonic() - begun)
            if left is not None and left <= 0 and done:
                return
            found = self._look(view, left)
            if view in self._whole:
                self._overview = self._large(found)
            else:
                self._parts.append(Part(view.window, found))
            masks = len(self._overview) + sum(len(part.masks) for part in self._parts)
            yield Progress(done + 1, self.total, masks)
            if not found.complete:
                return
        self.complete = True

    def masks(self) -> Masks:
        """Return what has been found so far, merged."""
        merged = merge(self._overview, self._parts, self._tiling)
        kept = tidy(replace(merged, complete=self.complete), self._options.tidy)
        return replace(kept, objects=np.arange(len(kept)))

    def _look(self, view: View, left: float | None) -> Masks:
        seen = self._source.read(*view.window, factor=view.factor)
        tidy = self._options.tidy
        options = replace(
            self._options,
            time_budget=None if left is None else max(left, 0.0),
            min_region_area=-(-self._options.min_region_area // view.factor**2),
            # The rest is done once, at the end, in pixels of the image.
            tidy=TidyOptions(max_iou=tidy.max_iou, max_containment=tidy.max_containment),
        )
        found = self._model.everything(seen, options=options)
        return placed(found, view, self._source.size)

    def _large(self, found: Masks) -> Masks:
        """Keep what is longer than a tile, which no tile can show whole."""
        x0, y0, x1, y1 = found.boxes.T
        return found[np.maximum(x1 - x0, y1 - y0) > self._tiling.side]


def placed(masks: Masks, view: View, size: Size) -> Masks:
    """Move masks of a view to the image, with the points and crops that gave them.

    Where no crop is known it is the view. Logits are left out.
    """
    crops, predicted = masks.crops, masks.predicted_boxes
    if crops is None:
        crops = np.tile(np.array([0, 0, *view.size[::-1]], dtype=np.float64), (len(masks), 1))
    return replace(
        masks,
        size=size,
        runs=tuple(enlarged(mask, view, size) for mask in masks.runs),
        points=None if masks.points is None else view.points_to_image(masks.points),
        crops=view.boxes_to_image(crops),
        predicted_boxes=None if predicted is None else view.boxes_to_image(predicted),
        logits=None,
    )


def enlarged(mask: RunLength, view: View, size: Size) -> RunLength:
    """Return a mask of a view at the size of the image.

    Where the view has fewer pixels than the image, the mask is enlarged bilinearly, as +1 inside
    and -1 outside: straight edges stay where they are, and stairs become slopes.
    """
    if view.factor == 1 or not mask.area:
        return moved(mask, left=view.window.x0, top=view.window.y0, size=size)
    factor, (height, width) = view.factor, view.size
    x0, y0, x1, y1 = mask.box
    box = PixelBox(max(0, x0 - 1), max(0, y0 - 1), min(width, x1 + 1), min(height, y1 + 1))
    # What touches the edge of the view goes on beyond it.
    framed = np.pad(mask.to_window(box), 1, mode="edge")
    cells = np.where(framed, np.float32(1), np.float32(-1))
    step = max(1, CELLS_AT_ONCE // (len(cells) * factor))
    bands = []
    for first in range(0, box.size.width, step):
        # With one column more on either side, which is enlarged and cut off again.
        band = cells[:, first : min(first + step, box.size.width) + 2]
        (run,) = to_runs(band[None], Size(len(band) * factor, band.shape[1] * factor))
        inner = Size(box.size.height * factor, (band.shape[1] - 2) * factor)
        run = moved(run, left=-factor, top=-factor, size=inner)
        left = view.window.x0 + (box.x0 + first) * factor
        bands.append(moved(run, left=left, top=view.window.y0 + box.y0 * factor, size=size))
    return union(bands)


def _wider(view: View, masks: Masks, prompt: Prompt, size: Size, tiling: Tiling) -> View | None:
    """Return where to look next for an object, or None where it is not cut off."""
    if not len(masks) or not masks.runs[0].area:
        return None
    cut = cut_sides(masks.runs[0].box, view.window, size)
    if not any(cut):
        return None
    box = around([extent(prompt, size), masks.runs[0].box])
    return wider_view(view, box, cut, size, tiling)


def _by_view(waiting: dict[int, View]) -> list[tuple[View, list[int]]]:
    """Gather objects that are looked for in one view, so that it is read and encoded once."""
    places: dict[View, list[int]] = {}
    for place, view in waiting.items():
        places.setdefault(view, []).append(place)
    return list(places.items())


def _check(prompt: Prompt, size: Size) -> None:
    prompt.check(size)
    if prompt.hint is not None and prompt.hint.is_logits:
        raise PromptError(
            "a hint of logits does not say what part of a large image it shows",
            hint="Give a mask at the image's own size",
        )
