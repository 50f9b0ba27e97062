"""What SAM 2 saves changes no answer: each saving beside the plain way (`plain_sam2`)."""

from __future__ import annotations

import pytest
import torch
from plain_sam2 import (
    plain_decode,
    plain_encode,
    plain_features,
    plain_positions,
    untiled,
)
from torch import nn
from torch.nn import functional
from torch.testing import assert_close

from promptseg.nn.parts import attention, products, upscale
from promptseg.nn.parts.attention import Attention, ImageToTokens, TokensToImage, attend
from promptseg.nn.parts.mask_decoder import Judgement
from promptseg.nn.parts.products import compare, gather, linear, spread
from promptseg.nn.sam2.neck import pointwise
from sam2_prompts import BOX, KINDS, POINT, POINTS, asked, together
from seeded import fill
from small_sam2 import FITTING, PADDED, small_sam2

# Float32 sums in another order, at logits of about 6.
ROUNDING = 2e-5


@pytest.fixture(scope="module", params=["fitting", "padded"])
def config(request):
    return {"fitting": FITTING, "padded": PADDED}[request.param]


@pytest.fixture(scope="module")
def network(config):
    return small_sam2(config)


@pytest.fixture(scope="module")
def pixels(config):
    side = config.image_side
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def features(network, pixels):
    with torch.inference_mode():
        return network.encode(pixels)


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.inference_mode():
        yield


def noise(*shape, seed=17):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def same(mine, theirs):
    for one, other in zip(mine, theirs, strict=True):
        assert_close(one, other, atol=ROUNDING, rtol=0)


def test_features_hold_what_the_plain_neck_makes(network, pixels, features):
    """Folded convolutions and tiles are the narrowed grids of both images, laid out otherwise."""
    same(plain_features(network, features), plain_encode(network, pixels))


@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_those_of_the_plain_decoder(network, features, config, kind):
    """Candidates, scores and presence of each kind of prompt, with a hint and without."""
    prompts = asked(config, **KINDS[kind])
    plain = plain_features(network, features.image(0))
    same(network.decode(features.image(0), prompts), plain_decode(network, plain, prompts))


def test_objects_together_are_those_of_the_plain_decoder(network, features, config):
    """With ragged points, and hints for some of them only."""
    prompts = together(*(asked(config, **kind) for kind in KINDS.values()))
    plain = plain_features(network, features.image(0))
    same(network.decode(features.image(0), prompts), plain_decode(network, plain, prompts))


def test_as_many_images_as_prompts_are_answered_each_on_its_own(network, features, config):
    """Two prompts on two images are two answers on one image each."""
    prompts = together(asked(config, **POINT), asked(config, **BOX))
    both = network.decode(features, prompts)
    for i in range(2):
        one = type(prompts)(*(each[i : i + 1] for each in prompts))
        same([each[i : i + 1] for each in both], network.decode(features.image(i), one))


def test_many_points_take_the_way_that_is_not_folded(network, features, config):
    """More tokens than folding pays for are answered alike."""
    labels = [i % 2 for i in range(attention.FEW + 3)]
    prompts = asked(config, points=noise(len(labels), 2).sigmoid().tolist(), labels=labels)
    plain = plain_features(network, features.image(0))
    same(network.decode(features.image(0), prompts), plain_decode(network, plain, prompts))


def test_what_is_judged_first_is_drawn_alike(network, features, config):
    """Candidates 3 and 1 of the second of two prompts, drawn after judging, are as in the whole."""
    prompts = together(asked(config, **POINTS), asked(config, **BOX))
    whole = network.decode(features.image(0), prompts)
    judged = network.judge(features.image(0), prompts)
    second = Judgement(*(each[1:] for each in judged))
    same([judged.scores, judged.presence], whole[1:])
    same([network.draw(features.image(0), second, (3, 1))], [whole.logits[1:, [3, 1]]])


@pytest.mark.parametrize("kind", [TokensToImage, ImageToTokens])
@pytest.mark.parametrize("count", [1, 3])
def test_folded_attention_is_attention(kind, count):
    """With one image for all prompts, and with a token that is not attended."""
    folded = fill(kind(12, heads=3, inner=6), 2)
    tokens, image = noise(count, 5, 12), noise(1, 35, 12, seed=18)
    own = image.expand(count, -1, -1)
    attended = torch.arange(5).expand(count, 5) < 4
    if kind is TokensToImage:
        same([folded(tokens, image + 1, image)], [Attention.forward(folded, tokens, own + 1, own)])
    else:
        expected = Attention.forward(folded, own, tokens + 1, tokens, attended)
        same([folded(image, tokens + 1, tokens, attended)], [expected])


@pytest.mark.parametrize("large", [0, 1 << 30])
@pytest.mark.parametrize("count", [1, 2])
def test_products_are_products(monkeypatch, large, count):
    """By either library, for one prompt and for several."""
    monkeypatch.setattr(products, "LARGE", large)
    cells, rows, bias = noise(count, 103, 7), noise(count, 5, 7, seed=18), noise(7, seed=19)
    shares, weight = noise(count, 5, 103, seed=20), noise(11, 7, seed=21)
    same(
        [
            linear(cells, weight),
            linear(cells[:, :, None], weight, bias=noise(11)),
            compare(rows, cells),
            gather(shares, cells),
            spread(shares, rows, bias),
        ],
        [
            cells @ weight.T,
            functional.linear(cells[:, :, None], weight, noise(11)),
            torch.einsum("nrc,nsc->nrs", rows, cells),
            torch.einsum("nrs,nsc->nrc", shares, cells),
            torch.einsum("nrs,nrc->nsc", shares, rows) + bias,
        ],
    )


def test_a_product_by_either_library_has_a_gradient(monkeypatch):
    """What is quick must not keep anyone from training."""
    with torch.inference_mode(mode=False):
        gradients = []
        for large in (0, 1 << 30):
            monkeypatch.setattr(products, "LARGE", large)
            weight = noise(5, 7).clone().requires_grad_()
            linear(noise(13, 7).clone(), weight).square().sum().backward()
            gradients.append(weight.grad)
        assert_close(*gradients, atol=1e-4, rtol=1e-5)


def test_attention_in_blocks_is_attention(monkeypatch):
    """Three blocks of queries, the last one short, in two images with three heads, in bfloat16."""
    queries, keys, values = (noise(2, 3, length, 5, seed=length) for length in (11, 23, 24))
    values = values[:, :, 1:]
    expected = functional.scaled_dot_product_attention(queries, keys, values)
    monkeypatch.setattr(attention, "MANY", 23)
    monkeypatch.setattr(attention, "AT_A_TIME", 4)
    assert torch.equal(attend(queries, keys, values), expected)
    rough = attend(queries.bfloat16(), keys.bfloat16(), values.bfloat16())
    assert_close(rough.float(), expected, atol=0.03, rtol=0)


def test_a_transposed_convolution_is_a_product():
    """Of a cell its four parts, in reading order, and of these theirs."""
    grid = noise(2, 6, 3, 5)
    first, second = fill(nn.ConvTranspose2d(6, 4, 2, 2), 1), fill(nn.ConvTranspose2d(4, 3, 2, 2), 2)
    parts = linear(grid.permute(0, 2, 3, 1), upscale.as_product(first))
    same([untiled(parts + first.bias.repeat(4), 2)], [first(grid)])
    parts = torch.unflatten(parts + first.bias.repeat(4), 3, (4, -1))
    finer = linear(parts, upscale.as_product(second)) + second.bias.repeat(4)
    same([untiled(finer.flatten(3), 4)], [second(first(grid))])


@pytest.mark.parametrize("side", [2, 4])
def test_tiles_are_taken_apart_again(side):
    """Tiling is the inverse of the plain way to lay tiles out."""
    grid = noise(2, 3 * side, 5 * side, 7)
    assert torch.equal(untiled(upscale.tile(grid, side), side), grid.permute(0, 3, 1, 2))


def test_logits_are_put_in_rows():
    """Four candidates on a map of 3 x 5 cells."""
    tiles = noise(2, 4, 3 * 5 * 16)
    cells = torch.unflatten(tiles, 2, (3, 5, 16)).permute(0, 2, 3, 4, 1)
    assert torch.equal(upscale.untile(tiles, 3), untiled(cells.flatten(3), 4))


def test_convolutions_with_nothing_between_them_are_one():
    """Two of 1 x 1, biases included."""
    cells, first, second = (
        noise(2, 3, 5, 6),
        fill(nn.Conv2d(6, 8, 1), 1),
        fill(nn.Conv2d(8, 3, 1), 2),
    )
    plain = second(first(cells.permute(0, 3, 1, 2))).permute(0, 2, 3, 1)
    same([pointwise(cells, first, second)], [plain])


def test_learned_positions_are_enlarged_as_torch_does(network):
    """Along one axis after the other, to the sides that maps have."""
    for side in (16, 24):
        mine = network.trunk._positions(side).permute(2, 0, 1)
        same([mine], [plain_positions(network.trunk, side)])


def test_a_prompt_brings_only_the_tokens_it_has(network, config):
    """A point is itself and the end; no box's corners, no padding, nothing for no prompt."""
    lengths = {kind: network.prompt_encoder(asked(config, **KINDS[kind])) for kind in KINDS}
    assert {kind: each.tokens.shape[1] for kind, each in lengths.items()} == {
        "point": 2,
        "three points": 4,
        "box": 3,
        "box and points": 6,
        "point and hint": 2,
        "hint alone": 0,
        "nothing": 0,
    }
