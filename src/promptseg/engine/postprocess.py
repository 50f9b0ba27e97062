"""From a network's candidates to masks: which of them, above what, at image size."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from promptseg.engine.upsample import to_runs
from promptseg.geometry import Size
from promptseg.nn.outputs import MaskLogits
from promptseg.options import SegmentOptions
from promptseg.results import Masks
from promptseg.shapes import IndexArray, LogitStack, ScoreArray

# SAM 2 clamps the logits that it hands back and feeds in again to this range.
LOGIT_LIMIT = 32.0


class Candidates(NamedTuple):
    """What the network said about one object, on the CPU."""

    logits: LogitStack
    scores: ScoreArray
    presence: np.float32


class Choice(NamedTuple):
    """Which candidates of an object are kept, best first, and whether they pass the threshold."""

    kept: IndexArray
    confident: bool


def by_object(answers: MaskLogits) -> list[Candidates]:
    """Bring the answers for `n` objects to the CPU in float32, with presence as a probability."""
    logits, scores = (each.float().cpu().numpy() for each in (answers.logits, answers.scores))
    presence = torch.sigmoid(answers.presence.float()).cpu().numpy()
    return [Candidates(*each) for each in zip(logits, scores, presence, strict=True)]


def choose(scores: ScoreArray, options: SegmentOptions) -> Choice:
    """Rank candidates by predicted IoU and keep the best, or all, that reach the threshold.

    When none does, the best is kept all the same. Of equal scores the earlier candidate is better.
    """
    ranked = np.argsort(-scores, kind="stable")
    considered = ranked if options.all_candidates else ranked[:1]
    passing = considered[scores[considered] >= options.threshold]
    if passing.size:
        return Choice(passing, confident=True)
    return Choice(ranked[:1], confident=False)


def to_masks(candidates: Candidates, size: Size, options: SegmentOptions, *, place: int) -> Masks:
    """Make the masks of one object, the request's prompt number `place`, at image size."""
    kept, confident = choose(candidates.scores, options)
    logits = candidates.logits[kept]
    count = len(kept)
    return Masks(
        size=size,
        runs=tuple(to_runs(logits, size)),
        scores=candidates.scores[kept],
        objects=np.full(count, place, dtype=np.int64),
        candidates=kept,
        presence=np.full(count, candidates.presence, dtype=np.float32),
        confident=np.full(count, confident),
        logits=np.clip(logits, -LOGIT_LIMIT, LOGIT_LIMIT) if options.logits else None,
    )
