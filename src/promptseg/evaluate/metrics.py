"""The numbers of interactive segmentation: overlap, clicks needed, and their means over domains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from statistics import fmean

import numpy as np

from promptseg.errors import ConfigError
from promptseg.shapes import MaskArray

# Overlaps are reported after these many clicks, as in SAM's and SAM 2's tables.
REPORTED_CLICKS = (1, 3, 5)
# Clicks to reach these overlaps are counted up to this many, as in RITM (Sofiiuk et al. 2021).
REPORTED_LEVELS = (0.80, 0.85, 0.90)
CLICK_CAP = 20


@dataclass(frozen=True, kw_only=True)
class Trace:
    """How one object went: the overlap after each click, and with its tight box.

    `clicks` may end early, once nothing that is reported can change; the last overlap then stands
    for the rest. `best_clicks` and `best_box` take the best of the candidates where `clicks` and
    `box` take the predictor's own choice. `cap` is the most clicks the predictor was given.
    """

    id: str
    domain: str
    cap: int
    clicks: tuple[float, ...]
    best_clicks: tuple[float, ...]
    box: float
    best_box: float


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Mean overlaps (0..1) and mean clicks to a level; `best_*` are of the best candidate.

    Clicks are None for a predictor that was given fewer than 20.
    """

    click_1: float
    click_3: float
    click_5: float
    box: float
    best_click_1: float
    best_click_3: float
    best_click_5: float
    best_box: float
    noc_80: float | None
    noc_85: float | None
    noc_90: float | None


@dataclass(frozen=True)
class Summary:
    """Scores by domain, how many masks each is the mean of, and the mean over the domains."""

    mean: Scores
    domains: Mapping[str, Scores]
    masks: Mapping[str, int]


def iou(mask: MaskArray, truth: MaskArray) -> float:
    """Intersection over union; two empty masks agree fully."""
    union = int(np.count_nonzero(mask | truth))
    return int(np.count_nonzero(mask & truth)) / union if union else 1.0


def clicks_to_reach(overlaps: Sequence[float], level: float, *, cap: int = CLICK_CAP) -> int:
    """Return the first click at which the overlap reaches `level`; `cap` where none does."""
    reached = (click for click, overlap in enumerate(overlaps, start=1) if overlap >= level)
    return min(next(reached, cap), cap)


def summarise(traces: Sequence[Trace]) -> Summary:
    """Take the mean over the masks of each domain, then over the domains.

    Raises:
        ConfigError: there is nothing to take the mean of.
    """
    if not traces:
        raise ConfigError("there are no masks to take the mean of")
    by_domain: dict[str, list[Trace]] = {}
    for trace in traces:
        by_domain.setdefault(trace.domain, []).append(trace)
    domains = {name: _mean([_scores(trace) for trace in of]) for name, of in by_domain.items()}
    masks = {name: len(of) for name, of in by_domain.items()}
    return Summary(mean=_mean(list(domains.values())), domains=domains, masks=masks)


def _scores(trace: Trace) -> Scores:
    """Return what one object adds to the means."""
    own = [_after(trace.clicks, click) for click in REPORTED_CLICKS]
    best = [_after(trace.best_clicks, click) for click in REPORTED_CLICKS]
    needed: list[float | None] = [None] * len(REPORTED_LEVELS)
    if trace.cap >= CLICK_CAP:
        needed = [clicks_to_reach(trace.clicks, level) for level in REPORTED_LEVELS]
    return Scores(
        click_1=own[0],
        click_3=own[1],
        click_5=own[2],
        box=trace.box,
        best_click_1=best[0],
        best_click_3=best[1],
        best_click_5=best[2],
        best_box=trace.best_box,
        noc_80=needed[0],
        noc_85=needed[1],
        noc_90=needed[2],
    )


def _after(overlaps: Sequence[float], click: int) -> float:
    return overlaps[min(click, len(overlaps)) - 1]


def _mean(many: Sequence[Scores]) -> Scores:
    """Take the mean of each number; None where any of them is."""
    means: dict[str, float | None] = {}
    for field in fields(Scores):
        values = [getattr(scores, field.name) for scores in many]
        means[field.name] = None if None in values else fmean(values)
    return Scores(**means)  # type: ignore[arg-type]
