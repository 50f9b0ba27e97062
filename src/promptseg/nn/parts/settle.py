"""Which of SAM 2's candidates stands for all of them, when one mask is wanted."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from promptseg.nn.outputs import MaskLogits

# SAM 2's settings of `dynamic_multimask_via_stability` (its `build_sam.py`).
MARGIN = 0.05
STABLE = 0.98


def single_mask(answers: MaskLogits) -> MaskLogits:
    """Keep one candidate of each of `n` prompts, with its score, as SAM 2 does.

    That is candidate 0 where its outline is sharp, and otherwise the best of the other three.
    """
    others = answers.scores[:, 1:].argmax(dim=1) + 1
    settled = stability(answers.logits[:, 0]) >= STABLE
    chosen = torch.where(settled, 0, others)
    rows = torch.arange(len(chosen), device=chosen.device)
    return MaskLogits(
        answers.logits[rows, chosen][:, None],
        answers.scores[rows, chosen][:, None],
        answers.presence,
    )


def stability(logits: Float[Tensor, "n h w"], *, margin: float = MARGIN) -> Float[Tensor, " n"]:
    """How much of a mask is left when its threshold is raised, beside when it is lowered.

    One for a mask that is empty even then.
    """
    core = (logits > margin).sum(dim=(1, 2))
    reach = (logits > -margin).sum(dim=(1, 2))
    return torch.where(reach > 0, core / reach, 1.0)
