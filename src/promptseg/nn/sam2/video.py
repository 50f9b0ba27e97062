"""SAM 2 through time: what a frame is told of other frames, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from promptseg.nn.outputs import ImageFeatures, Judgement, Past, PromptTensors
from promptseg.nn.parts.mask_decoder import DecoderFeatures
from promptseg.nn.parts.memory import Memory
from promptseg.nn.protocol import Reach
from promptseg.nn.sam2.config import Sam2Config
from promptseg.nn.sam2.model import Sam2Network
from promptseg.nn.sam2.neck import Pyramid

# How many pointers a frame reads at most beside those of prompted frames, itself counted (SAM 2,
# `max_obj_ptrs_in_encoder`).
POINTERS = 16


class Sam2Tracker(Sam2Network):
    """SAM 2 or SAM 2.1 with its memory (`Trackable`).

    The features of a frame are its maps without a word about memory; `begin` and `recall` make of
    them what prompts can be asked of.
    """

    memory: Memory

    @property
    def reach(self) -> Reach:
        """How far it looks back."""
        return Reach(slots=len(self.memory.ages), pointers=POINTERS)

    def watch(self, pixels: Float[Tensor, "b 3 H W"]) -> ImageFeatures:
        """Look at normalised frames once."""
        return ImageFeatures(tuple(self.look(pixels)))

    def begin(self, frame: ImageFeatures) -> ImageFeatures:
        """Tell a frame that nothing is remembered, as every image is told."""
        maps = Pyramid(*frame.grids)
        return self.prepare(maps._replace(stride16=maps.stride16 + self.no_memory[0, 0]))

    def recall(self, frame: ImageFeatures, pasts: Sequence[Past]) -> ImageFeatures:
        """Tell a frame what is known of `n` objects, each of which gets features of its own."""
        maps = Pyramid(*frame.grids)
        told = self.memory.recall(maps.stride16.permute(0, 3, 1, 2), pasts)
        return self.prepare(maps._replace(stride16=told.permute(0, 2, 3, 1)))

    def draw_chosen(
        self, features: ImageFeatures, judgement: Judgement, chosen: Int[Tensor, " n"]
    ) -> Float[Tensor, "n H W"]:
        """Make the logits of one candidate of every judged prompt, each of its own."""
        return self.mask_decoder.draw_chosen(DecoderFeatures(*features.grids), judgement, chosen)

    def point(self, judgement: Judgement, chosen: Int[Tensor, " n"]) -> Float[Tensor, "n c"]:
        """Make pointers to `n` objects of the candidates that were chosen."""
        rows = torch.arange(len(chosen), device=chosen.device)
        return self.memory.point(judgement.masks[rows, chosen], judgement.presence)

    def trace(self, frame: ImageFeatures, masks: Float[Tensor, "n H W"]) -> Float[Tensor, "n c"]:
        """Make pointers to objects whose masks are given, 0..1 at the side of the image.

        The decoder is shown them as hints, on a frame that is told nothing, and its one candidate
        for prompts that leave no doubt is pointed at, unless the mask is empty (SAM 2,
        `_use_mask_as_output`).
        """
        count, device = len(masks), masks.device
        silent = PromptTensors.silent(count, self.spec.mask_side, device)
        hints, hinted = self.memory.hint(masks).float(), torch.ones_like(silent.hinted)
        features = self.prepare(Pyramid(*frame.grids))
        judgement = self.judge(features, silent._replace(hints=hints, hinted=hinted))
        pointers = self.point(judgement, torch.full((count,), self.spec.sure or 0, device=device))
        return torch.where(masks.flatten(1).any(dim=1)[:, None], pointers, self.memory.no_pointer)

    def remember(
        self,
        frame: ImageFeatures,
        masks: Float[Tensor, "n H W"],
        presence: Float[Tensor, " n"],
    ) -> Float[Tensor, "n d h w"]:
        """Make memories of `n` objects in a frame, of masks 0..1 at the side of the image."""
        image = Pyramid(*frame.grids).stride16.permute(0, 3, 1, 2)
        return self.memory.remember(image, masks, presence)


def sam2_of(config: Sam2Config, *, digest: str = "") -> Sam2Network:
    """Make the network of a config: one that tracks, or one of images only."""
    kind = Sam2Network if config.memory is None else Sam2Tracker
    return kind(config, digest=digest)
