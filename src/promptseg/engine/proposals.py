"""What a network answers to points that nobody chose: candidates, drawn where they are good."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from promptseg.engine import preprocess
from promptseg.engine.candidates import by_object, single
from promptseg.engine.postprocess import LOGIT_LIMIT
from promptseg.engine.runtime import Runtime
from promptseg.geometry import Placement
from promptseg.nn.outputs import ImageFeatures, MaskLogits, PromptTensors
from promptseg.nn.protocol import Judging, Promptable
from promptseg.prompts import MaskHint, Prompt
from promptseg.shapes import LogitArray


class Proposal(NamedTuple):
    """One candidate of one prompt, on the CPU; `place` says which of the prompts asked together.

    `presence` is the probability of there being an object.
    """

    place: int
    candidate: int
    logits: LogitArray
    score: float
    presence: float


class Proposer:
    """Asks a network about prompts of one image.

    With `fall_back` a candidate for prompts without doubt gives way where its outline wavers.
    """

    def __init__(
        self,
        network: Promptable,
        runtime: Runtime,
        features: ImageFeatures,
        placement: Placement,
        *,
        fall_back: bool = True,
    ) -> None:
        self.network = network
        self.runtime = runtime
        self.features = features
        self.placement = placement
        self.fall_back = fall_back

    @torch.inference_mode()
    def all(self, prompts: Sequence[Prompt], *, least: float) -> list[Proposal]:
        """Return the candidates of every prompt that promise an IoU above `least`, or all at 0.

        What a network makes for prompts that leave no doubt is none of them. A network that can
        judge draws only these.
        """
        network, sure = self.network, self.network.spec.sure
        if not isinstance(network, Judging):
            answer = self._decode(prompts)
            good = _good(answer.scores, least, sure)
            return list(_proposals(answer, good, range(good.shape[1])))
        tensors = self._tensors(prompts)
        with self.runtime.own_numbers():
            judgement = network.judge(self.features, tensors)
            good = _good(judgement.scores, least, sure)
            rows, columns = np.flatnonzero(good.any(axis=1)), np.flatnonzero(good.any(axis=0))
            if not rows.size:
                return []
            some = judgement.of(rows.tolist())
            logits = network.draw(self.features, some, columns.tolist())
        answer = MaskLogits(logits, some.scores[:, columns.tolist()], some.presence)
        found = _proposals(answer, good[np.ix_(rows, columns)], columns.tolist())
        return [each._replace(place=int(rows[each.place])) for each in found]

    @torch.inference_mode()
    def one(self, prompts: Sequence[Prompt], *, least: float) -> list[Proposal]:
        """Return the answer of every prompt that promises an IoU above `least`, or all at 0.

        It is the one that a network gives where a single mask is wanted (`candidates.single`).
        """
        sure = self.network.spec.sure
        found = []
        for place, answer in enumerate(by_object(self._decode(prompts))):
            if sure is None:
                chosen = int(answer.scores.argmax())
            elif self.fall_back:
                chosen = single(answer.logits, answer.scores, sure=sure)
            else:
                chosen = sure
            score = float(answer.scores[chosen])
            if score > least or not least:
                logits = answer.logits[chosen]
                found.append(Proposal(place, chosen, logits, score, float(answer.presence)))
        return found

    def refined(
        self, prompts: Sequence[Prompt], proposals: Sequence[Proposal], *, least: float
    ) -> list[Proposal]:
        """Ask once more with each proposal as a hint, one at a time, and return the answers."""
        found = []
        for each in proposals:
            hint = MaskHint(np.clip(each.logits, -LOGIT_LIMIT, LOGIT_LIMIT))
            again = self.one([replace(prompts[each.place], hint=hint)], least=least)
            found += [answer._replace(place=each.place) for answer in again]
        return found

    def _decode(self, prompts: Sequence[Prompt]) -> MaskLogits:
        tensors = self._tensors(prompts)
        with self.runtime.own_numbers():
            return self.network.decode(self.features, tensors)

    def _tensors(self, prompts: Sequence[Prompt]) -> PromptTensors:
        return preprocess.prompt_tensors(prompts, self.placement, self.network.spec, self.runtime)


def _good(scores: Float[Tensor, "n m"], least: float, sure: int | None) -> Bool[np.ndarray, "n m"]:
    """Say which candidates promise enough."""
    promised = scores.float().cpu().numpy()
    good: np.ndarray = promised > least if least else np.ones_like(promised, dtype=np.bool_)
    if sure is not None:
        good[:, sure] = False
    return good


def _proposals(
    answer: MaskLogits, good: Bool[np.ndarray, "n m"], candidates: Sequence[int]
) -> Iterator[Proposal]:
    for place, each in enumerate(by_object(answer)):
        for column in np.flatnonzero(good[place]).tolist():
            yield Proposal(
                place,
                int(candidates[column]),
                each.logits[column],
                float(each.scores[column]),
                float(each.presence),
            )
