"""SAM 2 with random weights whose masks stay near their point, as those of trained weights do.

Random weights mark half of every image. A cone round the point, wider for each candidate, is taken
from their logits, which leaves blobs with ragged outlines.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from promptseg.nn.outputs import Judgement, MaskLogits

STEEPNESS = 24.0


class LocalJudgement(NamedTuple):
    judgement: Judgement
    points: Tensor

    @property
    def scores(self):
        return self.judgement.scores

    @property
    def presence(self):
        return self.judgement.presence

    def of(self, rows):
        return LocalJudgement(self.judgement.of(rows), self.points[list(rows)])


class LocalSam2:
    """Judges as the network does, and draws less."""

    def __init__(self, network):
        self.network = network
        self.spec = network.spec

    def encode(self, pixels):
        return self.network.encode(pixels)

    def decode(self, features, prompts):
        judged = self.judge(features, prompts)
        logits = self.draw(features, judged, range(judged.scores.shape[1]))
        return MaskLogits(logits, judged.scores, judged.presence)

    def judge(self, features, prompts):
        judgement = self.network.judge(features, prompts)
        return LocalJudgement(judgement, prompts.points)

    def draw(self, features, judged, candidates):
        logits = self.network.draw(features, judged.judgement, candidates)
        return local(logits, judged.points, self.spec.image_side, candidates)


def local(logits, points, side, candidates):
    """Take a cone round each first point from its candidates."""
    cells = (torch.arange(logits.shape[-1]) + 0.5) / logits.shape[-1]
    x, y = (points[:, 0] / side).unbind(dim=1)
    away = torch.hypot(
        cells[None, None] - x[:, None, None], cells[None, :, None] - y[:, None, None]
    )
    reach = torch.tensor([1.0 + 2 * each for each in candidates])[None, :, None, None]
    return logits + 3.0 - STEEPNESS * away[:, None] * 4 / reach
