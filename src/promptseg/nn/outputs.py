"""Named tuples of tensors that cross the border of a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

# The label of a point that says that there is none, as a tracker asks of what nothing is said.
SILENT = -2


class ImageFeatures(NamedTuple):
    """What a network keeps of `b` encoded images: batch-first grids that only it understands."""

    grids: tuple[Float[Tensor, "b _ _ _"], ...]

    @property
    def bytes(self) -> int:
        """How much memory the grids take."""
        return sum(grid.numel() * grid.element_size() for grid in self.grids)

    @property
    def device(self) -> torch.device:
        """Where the grids are."""
        return self.grids[0].device

    def to(self, device: torch.device) -> ImageFeatures:
        """Return the same features with all grids on another device."""
        return ImageFeatures(tuple(grid.to(device) for grid in self.grids))

    def image(self, index: int) -> ImageFeatures:
        """Return the features of one image of the batch, as a batch of one that owns its memory."""
        return ImageFeatures(tuple(grid[index : index + 1].clone() for grid in self.grids))


class PromptTensors(NamedTuple):
    """The prompts of `n` objects of one image, in pixels of the network's square.

    Coordinates are continuous: the first pixel spans 0 to 1, its middle is 0.5. Labels are 1
    include, 0 exclude and -1 for padding, which must not change any answer; only a network that
    tracks knows `SILENT`. Rows of `boxes` and `hints` count only where `boxed` and `hinted` say so.
    Hints are logits at the network's `mask_side`.
    """

    points: Float[Tensor, "n p 2"]
    labels: Int[Tensor, "n p"]
    boxes: Float[Tensor, "n 4"]
    boxed: Bool[Tensor, " n"]
    hints: Float[Tensor, "n h w"]
    hinted: Bool[Tensor, " n"]

    @classmethod
    def silent(cls, count: int, mask_side: int, device: torch.device) -> PromptTensors:
        """Say nothing of `count` objects, as a tracker does."""
        return cls(
            points=torch.zeros(count, 1, 2, device=device),
            labels=torch.full((count, 1), SILENT, device=device),
            boxes=torch.zeros(count, 4, device=device),
            boxed=torch.zeros(count, dtype=torch.bool, device=device),
            hints=torch.zeros(count, mask_side, mask_side, device=device),
            hinted=torch.zeros(count, dtype=torch.bool, device=device),
        )


class MaskLogits(NamedTuple):
    """Every candidate a network sees for `n` prompts; the caller chooses.

    `logits` are positive inside the mask, `scores` the predicted IoU in 0..1, `presence` the logit
    of there being an object at all.
    """

    logits: Float[Tensor, "n m h w"]
    scores: Float[Tensor, "n m"]
    presence: Float[Tensor, " n"]


class Judgement(NamedTuple):
    """What is known of `n` prompts' candidates before a mask is drawn, and what drawing needs.

    `scores` are the predicted IoU in 0..1, `presence` the logit of there being an object at all.
    `masks` are the candidates' tokens, `image` is as each prompt has marked it.
    """

    scores: Float[Tensor, "n m"]
    presence: Float[Tensor, " n"]
    masks: Float[Tensor, "n m c"]
    image: Float[Tensor, "n s c"]

    def of(self, rows: Sequence[int]) -> Judgement:
        """Return what is known of some of the prompts."""
        return Judgement(*(column[list(rows)] for column in self))


class Past(NamedTuple):
    """What is known of one object from other frames.

    `grids` are what `remember` made of `t` frames; `ages` are how many frames ago that was, 1 for
    the neighbour and less than `Reach.slots`, or 0 for a frame that was prompted. `pointers` are
    those of `s` frames; `distances` say how many frames away these are, as a share of the most that
    it may be.
    """

    grids: Float[Tensor, "t d h w"]
    ages: Int[Tensor, " t"]
    pointers: Float[Tensor, "s c"]
    distances: Float[Tensor, " s"]


class Phrases(NamedTuple):
    """What `n` phrases mean, token by token; only `attended` ones count, the rest is padding."""

    features: Float[Tensor, "n l c"]
    attended: Bool[Tensor, "n l"]

    @property
    def bytes(self) -> int:
        """How much memory the features take."""
        return self.features.numel() * self.features.element_size()

    @property
    def device(self) -> torch.device:
        """Where the features are."""
        return self.features.device

    def to(self, device: torch.device) -> Phrases:
        """Return the same phrases on another device."""
        return Phrases(self.features.to(device), self.attended.to(device))


class Examples(NamedTuple):
    """Example boxes of `n` questions on one image, x0 y0 x1 y1 in pixels of the network's square.

    Labels are 1 for what is meant, 0 for what is not, and -1 for padding, which must not change any
    answer. There is always a place for a box.
    """

    boxes: Float[Tensor, "n p 4"]
    labels: Int[Tensor, "n p"]


class Detections(NamedTuple):
    """What a network finds of `n` questions on one image, in `q` slots each, before it is drawn.

    `logits` say that a slot holds such a thing if there is any, `presence` that there is any: the
    score of a slot is the product of both as probabilities. `boxes` are x0 y0 x1 y1 as shares of
    the network's square and may go beyond it; all three are float32. The rest is what drawing
    needs: the slots' tokens, the image as each question has marked it, and the question.
    """

    logits: Float[Tensor, "n q"]
    boxes: Float[Tensor, "n q 4"]
    presence: Float[Tensor, " n"]
    slots: Float[Tensor, "n q c"]
    image: Float[Tensor, "n s c"]
    question: Float[Tensor, "n l c"]
    attended: Bool[Tensor, "n l"]

    def of(self, rows: Sequence[int]) -> Detections:
        """Return what is found of some of the questions."""
        return Detections(*(column[list(rows)] for column in self))
