"""SAM 2 for images: encode an image once, answer prompts cheaply."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from promptseg.nn.outputs import ImageFeatures, Judgement, MaskLogits, PromptTensors
from promptseg.nn.parts.mask_decoder import CANDIDATES, DecoderFeatures, MaskDecoder
from promptseg.nn.parts.memory import memory_of
from promptseg.nn.parts.prompt_encoder import PromptEncoder
from promptseg.nn.protocol import NetworkSpec
from promptseg.nn.sam2.config import Sam2Config
from promptseg.nn.sam2.hiera import Hiera
from promptseg.nn.sam2.neck import Neck, Pyramid

# ImageNet's channel statistics (SAM 2, `SAM2Transforms`).
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


class Sam2Network(nn.Module):
    """SAM 2 or SAM 2.1, which differ in their memory only, on images (`Promptable`, `Judging`).

    Of the four candidates of each answer, 0 is the one for a prompt that leaves no doubt
    (`parts.mask_decoder`).
    """

    def __init__(self, config: Sam2Config, *, digest: str = "") -> None:
        super().__init__()
        self.config = config
        self.spec = NetworkSpec(
            image_side=config.image_side,
            mask_side=config.mask_side,
            mean=MEAN,
            std=STD,
            digest=digest,
            sure=0,
        )
        self.trunk = Hiera(config.trunk)
        self.neck = Neck(config.trunk.widths, config.channels)
        self.no_memory = nn.Parameter(torch.zeros(1, 1, config.channels))
        self.prompt_encoder = PromptEncoder(
            config.channels, image_side=config.image_side, grid_side=config.prompt_side
        )
        self.mask_decoder = MaskDecoder(config.channels, heads=config.heads, hidden=config.hidden)
        self.memory = memory_of(config.channels, config.memory)

    def encode(self, pixels: Float[Tensor, "b 3 H W"]) -> ImageFeatures:
        """Look at normalised images once, as at frames of which nothing is remembered."""
        pyramid = self.look(pixels)
        return self.prepare(pyramid._replace(stride16=pyramid.stride16 + self.no_memory[0, 0]))

    def look(self, pixels: Float[Tensor, "b 3 H W"]) -> Pyramid:
        """Make the maps of normalised images, without a word about memory."""
        decoder = self.mask_decoder
        pyramid: Pyramid = self.neck(self.trunk(pixels), decoder.narrow4, decoder.narrow8)
        return pyramid

    def prepare(self, pyramid: Pyramid) -> ImageFeatures:
        """Work out what no prompt changes of maps that know about memory."""
        prompts = self.prompt_encoder
        features = self.mask_decoder.prepare(
            pyramid.stride16,
            pyramid.stride4,
            pyramid.stride8,
            prompts.no_hint[0],
            prompts.image_places(),
        )
        return ImageFeatures(tuple(features))

    def decode(self, features: ImageFeatures, prompts: PromptTensors) -> MaskLogits:
        """Answer `n` prompts on the features of one image."""
        judgement = self.judge(features, prompts)
        return MaskLogits(self.draw(features, judgement), judgement.scores, judgement.presence)

    def judge(self, features: ImageFeatures, prompts: PromptTensors) -> Judgement:
        """Score the candidates of `n` prompts on the features of one image, and draw none."""
        return self.mask_decoder.judge(
            DecoderFeatures(*features.grids), self.prompt_encoder(prompts)
        )

    def draw(
        self,
        features: ImageFeatures,
        judgement: Judgement,
        candidates: Sequence[int] = range(CANDIDATES),
    ) -> Float[Tensor, "n _ H W"]:
        """Make the logits of some candidates of every judged prompt, in the order asked for."""
        return self.mask_decoder.draw(DecoderFeatures(*features.grids), judgement, candidates)
