"""From chosen candidates to masks at image size."""

from __future__ import annotations

import numpy as np

from promptseg.engine.candidates import Candidates, Choice, stability
from promptseg.engine.upsample import to_runs
from promptseg.geometry import Size
from promptseg.options import SegmentOptions
from promptseg.results import Masks

# SAM 2 clamps the logits that it hands back and feeds in again to this range.
LOGIT_LIMIT = 32.0


def to_masks(
    candidates: Candidates,
    choice: Choice,
    size: Size,
    options: SegmentOptions,
    *,
    place: int,
    offset: float,
) -> Masks:
    """Make the masks of one object, the request's prompt number `place`, at image size.

    Their stability is that of the low-resolution logits under a threshold moved by `offset`.
    """
    logits = candidates.logits[choice.kept]
    count = len(choice.kept)
    return Masks(
        size=size,
        runs=tuple(to_runs(logits, size)),
        scores=candidates.scores[choice.kept],
        objects=np.full(count, place, dtype=np.int64),
        candidates=choice.kept,
        presence=np.full(count, candidates.presence, dtype=np.float32),
        confident=np.full(count, choice.confident),
        stability=np.array([stability(each, margin=offset) for each in logits], dtype=np.float32),
        logits=np.clip(logits, -LOGIT_LIMIT, LOGIT_LIMIT) if options.logits else None,
    )
