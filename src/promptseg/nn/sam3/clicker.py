"""The half of SAM 3 that answers points, boxes and hints: SAM 2's decoder on a neck of its own."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from promptseg.nn.outputs import Judgement, PromptTensors
from promptseg.nn.parts.mask_decoder import DecoderFeatures, MaskDecoder
from promptseg.nn.parts.memory import memory_of
from promptseg.nn.parts.prompt_encoder import PromptEncoder
from promptseg.nn.sam3.config import ClickerConfig, Sam3Config
from promptseg.nn.sam3.neck import Levels, Neck


class Clicker(nn.Module):
    """What becomes of the trunk's map for one object at a time.

    A cell of the map has 14 pixels a side, where SAM 2's has 16; all else is as there.
    """

    def __init__(self, config: Sam3Config, own: ClickerConfig) -> None:
        super().__init__()
        channels = config.channels
        self.neck = Neck(config.trunk.width, channels)
        self.no_memory = nn.Parameter(torch.zeros(1, 1, channels))
        self.prompt_encoder = PromptEncoder(
            channels, image_side=config.image_side, grid_side=config.grid_side
        )
        self.mask_decoder = MaskDecoder(channels, heads=config.heads, hidden=config.hidden)
        self.memory = memory_of(channels, own.memory)

    def prepare(self, cells: Float[Tensor, "b h w width"]) -> DecoderFeatures:
        """Work out what no prompt changes, as of images of which nothing is remembered.

        The convolutions that end the neck and those that narrow its maps for the decoder have
        nothing between them, so each two are one.
        """
        decoder, prompts = self.mask_decoder, self.prompt_encoder
        levels: Levels = self.neck(cells, fine=decoder.narrow4, middle=decoder.narrow8)
        return decoder.prepare(
            levels.coarse + self.no_memory[0, 0],
            levels.fine,
            levels.middle,
            prompts.no_hint[0],
            prompts.image_places(),
        )

    def judge(self, features: DecoderFeatures, prompts: PromptTensors) -> Judgement:
        """Score the candidates of `n` prompts on the features of one image, and draw none."""
        return self.mask_decoder.judge(features, self.prompt_encoder(prompts))
