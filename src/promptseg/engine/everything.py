"""The `everything` verb: all regions of an image, from a grid of points over it and its crops.

The order of work and its rules are those of SAM 2's `SAM2AutomaticMaskGenerator`, without a map at
the size of the image: stability, box and runs come from low-resolution logits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from promptseg import regions
from promptseg.engine import grid
from promptseg.engine.batches import chunks
from promptseg.engine.contrast import Contrast
from promptseg.engine.digest import Name
from promptseg.engine.encoder import EncodedImage
from promptseg.engine.portions import Portions
from promptseg.engine.proposals import Proposal, Proposer
from promptseg.engine.segmenter import Segmenter
from promptseg.engine.suppression import suppress_boxes
from promptseg.engine.upsample import Upsampling
from promptseg.geometry import PixelBox, Placement, Size
from promptseg.masks import RunLength
from promptseg.nn.protocol import Trust
from promptseg.options import EverythingOptions
from promptseg.prompts import Points, Prompt
from promptseg.requests import EverythingRequest
from promptseg.results import Masks
from promptseg.shapes import PointArray
from promptseg.tidying import tidy

# Multiples of the golden ratio, less their whole parts, lie evenly at any count of them.
GOLDEN = 0.618034


class Progress(NamedTuple):
    """How far a search has come: points asked, of how many, and masks found so far."""

    done: int
    total: int
    found: int


@runtime_checkable
class Looking(Protocol):
    """A search that goes on while it is iterated over, and has masks at any time."""

    def __iter__(self) -> Iterator[Progress]:
        """Go on."""

    def masks(self) -> Masks:
        """Return what has been found so far."""


def completed(search: Looking, progress: Callable[[Progress], object] | None = None) -> Masks:
    """Go through a search to its end, telling `progress` of every step, and return its masks."""
    for step in search:
        if progress is not None:
            progress(step)
    return search.masks()


@dataclass(frozen=True)
class Found:
    """One mask, at the size of the whole image, and the point and the crop that gave it."""

    run: RunLength
    score: float
    stability: float
    candidate: int
    presence: float
    point: tuple[float, float]
    crop: PixelBox


class Search:
    """Looks for every region of an image; iterating goes on with it, `masks` may be asked any time.

    A few points are asked at a time, on a CPU side by side on its cores. `complete` says whether
    all have been. `seen` is the whole image, where it has been looked at already.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        request: EverythingRequest,
        *,
        seen: EncodedImage | None = None,
    ) -> None:
        options = request.options
        self.request = request
        self.complete = False
        self._segmenter = segmenter
        self._seen = seen
        self._trust = _trust(options, segmenter.network.spec.trust)
        layers = grid.crops(request.size, layers=options.layers, overlap=options.crop_overlap)
        grids = request.grids or grid.grids(options)
        self._work = [
            (crop, grid.in_pixels(points, crop))
            for layer, points in zip(layers, grids, strict=True)
            for crop in layer
        ]
        self._finished: list[Found] = []
        self._open: list[Found] = []
        self._steps = self._go_through()

    @property
    def total(self) -> int:
        """How many points are asked in all."""
        return sum(len(points) for _, points in self._work)

    def __iter__(self) -> Iterator[Progress]:
        """Go on through all crops, a few points at a time, until done or out of time.

        Raises:
            OutOfMemoryError: there is not enough memory for one crop or one point alone.
        """
        return self._steps

    def _go_through(self) -> Iterator[Progress]:
        begun = time.monotonic()
        budget = self.request.options.time_budget
        total = self.total
        done = 0
        for crop, points in self._work:
            for found in self._look(crop, points):
                done += len(found)
                self._open += [mask for masks in found for mask in masks]
                yield Progress(done, total, len(self._finished) + len(self._open))
                if budget is not None and time.monotonic() - begun >= budget and done < total:
                    return
            # In one step, so that an interruption finds no mask in both.
            self._finished, self._open = self._finished + self._best(self._open), []
        self.complete = True

    def masks(self) -> Masks:
        """Return what has been found so far, best first."""
        options = self.request.options
        found = self._finished + self._best(self._open)
        if len(self._work) > 1:
            worth = [-float(each.crop.size.height * each.crop.size.width) for each in found]
            found = _suppressed(found, worth, options.max_crop_iou)
        if options.min_region_area:
            found = self._without_small_regions(found)
        found = sorted(found, key=lambda each: -each.score)
        masks = _as_masks(found, self.request.size, complete=self.complete)
        trust = self._trust
        limits = options.tidy.with_limits(
            max_iou=trust.max_iou, max_containment=trust.max_containment
        )
        kept = tidy(masks, limits)
        return replace(kept, objects=np.arange(len(kept)))

    def _look(self, crop: PixelBox, points: PointArray) -> Iterator[list[list[Found]]]:
        """Ask the points of one crop, some at a time, and hand out the masks of each."""
        segmenter, size = self._segmenter, crop.size
        part = self.request.image[crop.y0 : crop.y1, crop.x0 : crop.x1]
        image = np.ascontiguousarray(part)
        if self._seen is not None and size == self.request.size:
            encoded = self._seen
        else:
            owner = self._seen.owner if self._seen else ""
            named = Name(segmenter.encoder.digest(image), owner)
            [encoded] = segmenter.encoder.encode([image], [named])
        crew = segmenter.crew()
        if crew is not None:
            # Threads take memory of their own, and cannot use what encoding has left to this one.
            segmenter.runtime.trim()
        spec, runtime = segmenter.network.spec, segmenter.runtime
        proposer = Proposer(
            segmenter.network,
            runtime,
            encoded.features,
            Placement(size, spec.image_side),
            fall_back=self.request.options.fall_back,
        )
        cells = Size(spec.mask_side, spec.mask_side)
        enlarged = Upsampling.into(cells, crop, self.request.size)
        most = min(segmenter.limits.objects, self.request.options.points_per_batch)
        if runtime.device.type == "cpu":
            most = spec.together
        portions = Portions(most, what="asking points", release=segmenter.encoder.release)

        contrast = Contrast(image, spec.mask_side) if self._trust.contrast else None

        def ask(some: Sequence[int]) -> list[list[Found]]:
            return self._ask(proposer, contrast, enlarged, crop, points[list(some)])

        def work(chunk: Sequence[int]) -> list[list[Found]]:
            return list(portions.run(chunk, ask))

        # Far from each other in turn, so that a search that ends early has been everywhere.
        spread = np.argsort(np.arange(len(points)) * GOLDEN % 1).tolist()
        pieces = chunks(spread, most)
        return map(work, pieces) if crew is None else crew.in_order(work, pieces)

    def _ask(
        self,
        proposer: Proposer,
        contrast: Contrast | None,
        enlarged: Upsampling,
        crop: PixelBox,
        points: PointArray,
    ) -> list[list[Found]]:
        """Return the masks that each of a few points of a crop gives and that pass."""
        options, least = self.request.options, self._trust.score
        prompts = [Prompt(points=Points([point])) for point in points]
        first = 0.0 if options.refine else least
        ask = proposer.all if options.all_candidates else proposer.one
        proposals = ask(prompts, least=first)
        if options.refine:
            proposals = proposer.refined(prompts, proposals, least=least)
        found: list[list[Found]] = [[] for _ in points]
        for each in proposals:
            if contrast and contrast.of(each.logits) < self._trust.contrast:
                continue
            x, y = points[each.place] + (crop.x0, crop.y0)
            mask = self._measured(each, enlarged, crop, (float(x), float(y)))
            if mask is not None:
                found[each.place].append(mask)
        return found

    def _measured(
        self, proposal: Proposal, enlarged: Upsampling, crop: PixelBox, point: tuple[float, float]
    ) -> Found | None:
        """Enlarge a proposal if it is stable, and not cut off by the edge of its crop."""
        trust, options = self._trust, self.request.options
        logits = proposal.logits - np.float32(options.mask_threshold)
        reach = enlarged.area(logits + np.float32(trust.offset))
        # What is empty even then is not stable, it is nothing.
        if not reach:
            return None
        stability = enlarged.area(logits - np.float32(trust.offset)) / reach
        if stability < trust.stability:
            return None
        run = enlarged.run(logits)
        if not run.area or _is_cut(run.box, crop, self.request.size, options.edge_margin):
            return None
        return Found(
            run, proposal.score, stability, proposal.candidate, proposal.presence, point, crop
        )

    def _best(self, found: Sequence[Found]) -> list[Found]:
        """Of masks of one crop whose boxes overlap, keep those with the higher scores."""
        worth = [each.score for each in found]
        return _suppressed(found, worth, self.request.options.max_box_iou)

    def _without_small_regions(self, found: Sequence[Found]) -> list[Found]:
        """Fill holes and drop specks, and prefer masks that had none among those that overlap.

        As segment-anything's `postprocess_small_regions`.
        """
        most = self.request.options.min_region_area - 1
        cleaned = [replace(each, run=_without_specks_and_holes(each.run, most)) for each in found]
        worth = [float(one.run == other.run) for one, other in zip(cleaned, found, strict=True)]
        options = self.request.options
        return _suppressed(cleaned, worth, max(options.max_box_iou, options.max_crop_iou))


def _without_specks_and_holes(run: RunLength, most: int) -> RunLength:
    return regions.drop_specks(regions.fill_holes(run, most, connectivity=8), most)


def _trust(options: EverythingOptions, own: Trust) -> Trust:
    """Return a network's thresholds, less those that are asked for otherwise."""
    asked = {
        "score": options.threshold,
        "stability": options.stability_threshold,
        "offset": options.stability_offset,
        "contrast": options.min_contrast,
    }
    return replace(
        own, **{name: float(value) for name, value in asked.items() if value is not None}
    )


def _suppressed(found: Sequence[Found], worth: Sequence[float], most: float) -> list[Found]:
    if not found:
        return []
    # As in segment-anything, a box ends at the last pixel, not after it.
    boxes = np.array([each.run.box for each in found], dtype=np.float64) - (0, 0, 1, 1)
    return [found[index] for index in suppress_boxes(boxes, worth, max_iou=most).tolist()]


def _is_cut(box: PixelBox, crop: PixelBox, size: Size, margin: int) -> bool:
    """Whether a mask ends within `margin` pixels of an edge of its crop that the image goes beyond.

    Edges at the image's own are no cause; nearness is told of the last pixel, as in
    segment-anything's `is_box_near_crop_edge`.
    """
    last = (box.x0, box.y0, box.x1 - 1, box.y1 - 1)
    whole = (0, 0, size.width, size.height)
    return any(
        abs(edge - inner) <= margin < abs(edge - outer)
        for edge, inner, outer in zip(last, crop, whole, strict=True)
    )


def _as_masks(found: Sequence[Found], size: Size, *, complete: bool) -> Masks:
    count = len(found)
    return Masks(
        size=size,
        runs=tuple(each.run for each in found),
        scores=np.array([each.score for each in found], dtype=np.float32),
        objects=np.arange(count),
        candidates=np.array([each.candidate for each in found], dtype=np.int64),
        presence=np.array([each.presence for each in found], dtype=np.float32),
        confident=np.ones(count, dtype=np.bool_),
        stability=np.array([each.stability for each in found], dtype=np.float32),
        points=np.array([each.point for each in found], dtype=np.float64).reshape(-1, 2),
        crops=np.array([each.crop for each in found], dtype=np.float64).reshape(-1, 4),
        complete=complete,
    )
