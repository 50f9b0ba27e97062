"""SAM 2's neck and decoder as the paper draws them: the slow, obvious twins of the quick ones.

They read the weights of a `Sam2Network`, and keep every grid as `n c h w`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from promptseg.nn.outputs import ImageFeatures, MaskLogits, PromptTensors
from promptseg.nn.parts.attention import Attention
from promptseg.nn.parts.layers import enlarge
from promptseg.nn.parts.mask_decoder import CANDIDATES, DecoderFeatures
from promptseg.nn.sam2.model import Sam2Network


class PlainFeatures(NamedTuple):
    stride4: Tensor
    stride8: Tensor
    stride16: Tensor


def plain_positions(trunk, side: int) -> Tensor:
    """Learned positions, enlarged by torch in one go; channels first."""
    size = (side, side)
    smooth = functional.interpolate(trunk.background.float(), size=size, mode="bicubic")
    tiles = side // trunk.window.shape[-1]
    return (smooth + trunk.window.float().tile(1, 1, tiles, tiles))[0]


def plain_encode(network: Sam2Network, pixels: Tensor) -> PlainFeatures:
    """Every map at full width, and then narrowed."""
    levels = [level.permute(0, 3, 1, 2) for level in network.trunk(pixels)]
    laterals = reversed(network.neck.laterals)
    stride4, stride8, stride16, coarsest = (
        lateral(level) for lateral, level in zip(laterals, levels, strict=True)
    )
    decoder = network.mask_decoder
    fresh = stride16 + enlarge(coarsest) + network.no_memory[0, 0, :, None, None]
    return PlainFeatures(decoder.narrow4(stride4), decoder.narrow8(stride8), fresh)


def plain_features(network: Sam2Network, features: ImageFeatures) -> PlainFeatures:
    """What the decoder's layout holds, laid out plainly."""
    tiled, decoder = DecoderFeatures(*features.grids), network.mask_decoder
    stride4 = untiled(tiled.tiles4, 4) - decoder.upscale4.bias[:, None, None]
    stride8 = untiled(tiled.tiles8, 2) - decoder.upscale8.bias[:, None, None]
    return PlainFeatures(stride4, stride8, tiled.image.permute(0, 3, 1, 2))


def untiled(tiles: Tensor, side: int) -> Tensor:
    """Cell by cell, what `upscale.tile` put side by side."""
    height, width = tiles.shape[1:3]
    parts = torch.unflatten(tiles, 3, (side * side, -1))
    grid = tiles.new_empty(len(tiles), parts.shape[4], height * side, width * side)
    for part in range(side * side):
        y, x = (0, 0)
        # Base four: each digit is a part's place, a row and a column, the coarsest first.
        for digit in (part // 4, part % 4) if side == 4 else (part,):
            y, x = 2 * y + digit // 2, 2 * x + digit % 2
        grid[:, :, y::side, x::side] = parts[:, :, :, part].permute(0, 3, 1, 2)
    return grid


def plain_decode(
    network: Sam2Network, features: PlainFeatures, prompts: PromptTensors
) -> MaskLogits:
    """Answer `n` prompts on one image, with keys, queries and values for every cell."""
    decoder, encoder = network.mask_decoder, network.prompt_encoder
    embedded = encoder(prompts)
    own = torch.cat([decoder.presence_token, decoder.score_token, decoder.mask_tokens])
    count, side = len(embedded.tokens), features.stride16.shape[-1]
    tokens = torch.cat([own.expand(count, -1, -1), embedded.tokens], dim=1)
    attended = embedded.attended
    if attended is not None:
        attended = functional.pad(attended, (len(own), 0), value=True)
    image = features.stride16.permute(0, 2, 3, 1) + embedded.added
    image = image.expand(count, -1, -1, -1).flatten(1, 2)
    places = encoder.image_places().flatten(0, 1)

    marked, image = plain_exchange(decoder.transformer, tokens, image, places, attended)
    presence, score, masks = marked[:, : len(own)].split([1, 1, CANDIDATES], dim=1)

    grid = torch.unflatten(image.transpose(1, 2), 2, (-1, side))
    grid = (decoder.upscale8(grid) + features.stride8).permute(0, 2, 3, 1)
    grid = functional.gelu(decoder.norm8(grid)).permute(0, 3, 1, 2)
    grid = functional.gelu(decoder.upscale4(grid) + features.stride4)
    shapes = [head(masks[:, i]) for i, head in enumerate(decoder.mask_heads)]
    return MaskLogits(
        torch.einsum("nmc,nchw->nmhw", torch.stack(shapes, dim=1), grid),
        decoder.score_head(score[:, 0]).sigmoid(),
        decoder.presence_head(presence[:, 0])[:, 0],
    )


def plain_exchange(transformer, tokens, image, places, attended):
    start = tokens
    for number, layer in enumerate(transformer.layers):
        mix = layer.mixing.attention
        if number == 0:
            tokens = layer.mixing.norm(mix(tokens, tokens, tokens, attended))
        else:
            placed = tokens + start
            tokens = layer.mixing.norm(tokens + mix(placed, placed, tokens, attended))
        read = Attention.forward(layer.tokens_to_image, tokens + start, image + places, image)
        tokens = layer.read_norm(tokens + read)
        tokens = layer.mlp_norm(tokens + layer.mlp(tokens))
        written = Attention.forward(
            layer.image_to_tokens, image + places, tokens + start, tokens, attended
        )
        image = layer.write_norm(image + written)
    last = transformer.tokens_to_image
    tokens = tokens + Attention.forward(last, tokens + start, image + places, image)
    return transformer.norm(tokens), image
