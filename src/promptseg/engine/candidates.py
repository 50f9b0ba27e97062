"""What a network said about an object, and which of its candidates are kept."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from promptseg.nn.outputs import MaskLogits
from promptseg.options import SegmentOptions
from promptseg.prompts import Prompt
from promptseg.shapes import IndexArray, LogitArray, LogitStack, ScoreArray

# SAM 2's settings of `dynamic_multimask_via_stability` (its `build_sam.py`).
MARGIN = 0.05
STABLE = 0.98


class Candidates(NamedTuple):
    """What the network said about one object, on the CPU; presence is a probability."""

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


def choose(
    candidates: Candidates, prompt: Prompt, options: SegmentOptions, *, sure: int | None
) -> Choice:
    """Keep the best candidate, or all, as far as predicted IoU reaches the threshold.

    When none does, the best is kept all the same. `sure` is the candidate that the network makes
    for prompts that leave no doubt.
    """
    ranked = rank(candidates, prompt, sure=sure)
    considered = ranked if options.all_candidates else ranked[:1]
    passing = considered[candidates.scores[considered] >= options.threshold]
    if passing.size:
        return Choice(passing, confident=True)
    return Choice(ranked[:1], confident=False)


def rank(candidates: Candidates, prompt: Prompt, *, sure: int | None) -> IndexArray:
    """Order candidates, best first; of equal scores the earlier is better.

    Without a `sure` candidate predicted IoU decides. With one the rule is SAM 2's: a single point
    may mean a whole or a part, so the others come first by predicted IoU; all other prompts leave
    no doubt, and are answered by `single` (Ravi 2024, appendix D.1).
    """
    ranked: IndexArray = np.argsort(-candidates.scores, kind="stable")
    if sure is None:
        return ranked
    others = ranked[ranked != sure]
    if leaves_doubt(prompt) or single(candidates.logits, candidates.scores, sure=sure) != sure:
        return np.append(others, sure)
    return np.insert(others, 0, sure)


def single(logits: LogitStack, scores: ScoreArray, *, sure: int) -> int:
    """Return which candidate is the answer where only one is wanted.

    `sure` if its outline is sharp, else the best of the others by predicted IoU, as in SAM 2's
    `dynamic_multimask_via_stability`.
    """
    if stability(logits[sure]) >= STABLE:
        return sure
    ranked = np.argsort(-scores, kind="stable")
    return int(ranked[ranked != sure][0])


def leaves_doubt(prompt: Prompt) -> bool:
    """Whether a prompt is one point and nothing else."""
    lone = prompt.points is not None and len(prompt.points) == 1
    return lone and prompt.box is None and prompt.hint is None


def stability(logits: LogitArray, *, margin: float = MARGIN) -> float:
    """How much of a mask is left when its threshold is raised, beside when it is lowered.

    One for a mask that is empty even then.
    """
    reach = np.count_nonzero(logits > -margin)
    return float(np.count_nonzero(logits > margin) / reach) if reach else 1.0
