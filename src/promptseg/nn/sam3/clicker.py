"""The half of SAM 3 that answers points, boxes and hints: SAM 2's decoder on a neck of its own."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

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
        """Work out what no prompt changes, as of images of which nothing is remembered."""
        levels, prompts = self._narrowed(cells), self.prompt_encoder
        return self.mask_decoder.prepare(
            levels.coarse + self.no_memory[0, 0],
            levels.fine,
            levels.middle,
            prompts.no_hint[0],
            prompts.image_places(),
        )

    def judge(self, features: DecoderFeatures, prompts: PromptTensors) -> Judgement:
        """Score the candidates of `n` prompts on the features of one image, and draw none."""
        return self.mask_decoder.judge(features, self.prompt_encoder(prompts))

    def _narrowed(self, cells: Float[Tensor, "b h w width"]) -> Levels:
        """Make the neck's maps, the finer two as narrow as the decoder wants them.

        The convolutions that end the neck and those that narrow its maps have nothing between them,
        so each two are one.
        """
        neck, decoder = self.neck, self.mask_decoder
        ends = {"fine": (neck.fine, decoder.narrow4), "middle": (neck.middle, decoder.narrow8)}
        weights: dict[str, Tensor] = {}
        for name, (level, narrow) in ends.items():
            weight, bias = folded(level.mix, narrow)
            weights |= {f"{name}.mix.weight": weight, f"{name}.mix.bias": bias}
        levels: Levels = functional_call(neck, weights, (cells,))
        return levels


def folded(first: nn.Conv2d, second: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Return weight and bias of one convolution that does what two do, the second of 1 x 1."""
    assert first.bias is not None
    assert second.bias is not None
    matrix = second.weight[:, :, 0, 0].float()
    weight = torch.einsum("om,mikl->oikl", matrix, first.weight.float())
    bias = matrix @ first.bias.float() + second.bias.float()
    return weight.to(first.weight.dtype), bias.to(first.weight.dtype)
