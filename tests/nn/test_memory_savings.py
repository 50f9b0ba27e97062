"""What the memory of SAM 2 saves changes no answer: each saving beside the plain way."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional
from torch.testing import assert_close

from promptseg.nn.outputs import Past
from promptseg.nn.parts import memory_attention
from promptseg.nn.parts.memory_attention import PLACED, gather_values
from promptseg.nn.parts.positions import sine_positions
from promptseg.nn.parts.rotary import axial_turns, turned
from small_sam2 import FITTING, PADDED, small_sam2

# Float32 sums in another order, at values of about 4.
ROUNDING = 1e-5


def noise(*shape, seed=3):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def past_of(config, frames, pointers, seed):
    narrow, side = config.memory.channels, config.prompt_side
    return Past(
        noise(frames, narrow, side, side, seed=seed).bfloat16(),
        torch.arange(frames) % config.memory.slots,
        noise(pointers, config.channels, seed=seed + 1),
        torch.arange(pointers) / 15,
    )


def plain_turned(tokens, turns):
    """Pair by pair, grid by grid."""
    cells = len(turns.cosines)
    whole = torch.empty_like(tokens)
    for s in range(tokens.shape[1]):
        for pair in range(tokens.shape[2] // 2):
            even, odd = tokens[:, s, 2 * pair], tokens[:, s, 2 * pair + 1]
            cosine, sine = turns.cosines[s % cells, pair], turns.sines[s % cells, pair]
            whole[:, s, 2 * pair] = even * cosine - odd * sine
            whole[:, s, 2 * pair + 1] = even * sine + odd * cosine
    return whole


def plain_recall(memory, image, past):
    """One object, with values as wide as the image and attention in one piece."""
    remembered = memory._remembered(past, image)
    channels, height, width = image.shape[1:]
    turns = axial_turns(channels, height, width, image.device)
    placed = image + PLACED * sine_positions(channels, height, width)
    cells = placed.flatten(2).transpose(1, 2)
    for layer in memory.attention.layers:
        normed = layer.mixing_norm(cells)
        mixing, recall = layer.mixing, layer.recall
        cells = cells + mixing.out(
            functional.scaled_dot_product_attention(
                turned(mixing.queries(normed), turns),
                turned(mixing.keys(normed), turns),
                mixing.values(normed),
            )
        )
        keys = recall.keys(remembered.tokens + remembered.places)[None]
        grids = keys.shape[1] - remembered.loose
        keys = torch.cat([turned(keys[:, :grids], turns), keys[:, grids:]], dim=1)
        cells = cells + recall.out(
            functional.scaled_dot_product_attention(
                turned(recall.queries(layer.recall_norm(cells)), turns),
                keys,
                recall.values(remembered.tokens)[None],
            )
        )
        cells = cells + layer.mlp(layer.mlp_norm(cells))
    return memory.attention.norm(cells).transpose(1, 2).unflatten(2, (height, width))


@pytest.mark.parametrize("config", [FITTING, PADDED], ids=["2.1", "2"])
@pytest.mark.parametrize("block", [3, 256])
def test_recalling_is_plain_attention(config, block, monkeypatch):
    """Narrow values, blocks of queries, and one first look for objects with unlike pasts."""
    monkeypatch.setattr(memory_attention, "AT_A_TIME", block)
    memory = small_sam2(config).memory
    image = noise(1, config.channels, config.prompt_side, config.prompt_side)
    pasts = [past_of(config, 4, 6, 11), past_of(config, 1, 0, 21), past_of(config, 2, 3, 31)]
    with torch.inference_mode():
        told = memory.recall(image, pasts)
        for mine, past in zip(told, pasts, strict=True):
            expected = plain_recall(memory, image, past)[0]
            assert expected.abs().max() > 1
            assert_close(mine, expected, atol=ROUNDING, rtol=0)


def test_the_first_look_at_an_image_is_made_once(monkeypatch):
    """Of five objects, the first layer mixes the cells of one image, the others of five."""
    memory = small_sam2(FITTING).memory
    mixed = []
    mixing = memory_attention.Mixing.forward

    def counted(self, cells, turns):
        mixed.append(len(cells))
        return mixing(self, cells, turns)

    monkeypatch.setattr(memory_attention.Mixing, "forward", counted)
    with torch.inference_mode():
        memory.recall(noise(1, 32, 4, 4), [past_of(FITTING, 2, 1, seed) for seed in range(5)])
    assert mixed == [1, 5, 5]


@pytest.mark.parametrize("width", [5, 12, 19])
def test_gathered_values_are_those_of_attention(width):
    """Values narrower than keys, as wide and wider."""
    queries, keys, values = noise(7, 12), noise(23, 12, seed=4), noise(23, width, seed=5)
    shares = (queries @ keys.T / 12**0.5).softmax(dim=1)
    assert_close(gather_values(queries, keys, values), shares @ values, atol=ROUNDING, rtol=0)


def test_pairs_are_turned_all_at_once():
    """As complex numbers, what is turned pair by pair; two grids of 2 x 3 cells."""
    turns = axial_turns(8, 2, 3, torch.device("cpu"))
    tokens = noise(2, 12, 8)
    assert_close(turned(tokens, turns), plain_turned(tokens, turns), atol=1e-6, rtol=0)
