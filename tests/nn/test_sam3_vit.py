"""The trunk of SAM 3: it gives transformers' numbers, and its savings change nothing."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional
from torch.testing import assert_close

from promptseg.nn.parts import attention, products, windows
from promptseg.nn.parts.attention import attend
from promptseg.nn.parts.rotary import axial_turns, turned, turned_heads
from promptseg.nn.parts.windows import Window
from promptseg.nn.sam3 import vit
from promptseg.nn.sam3.config import TrunkConfig
from promptseg.nn.sam3.neck import Neck
from promptseg.nn.sam3.vit import Trunk
from seeded import fill

# Three by three windows and two by two tiles of learned positions; two global blocks, of which one
# is the last, and windowed ones beside each other.
SMALL = TrunkConfig(
    patch=5,
    width=24,
    depth=6,
    heads=3,
    hidden=29,
    window=2,
    global_blocks=(2, 5),
    background=3,
)
SIDE = 6
# Float32 sums in another order.
ROUNDING = 1e-5


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.inference_mode():
        yield


def noise(*shape, seed=17):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def small(config=SMALL, seed=3):
    with torch.device("meta"):
        trunk = Trunk(config, side=SIDE)
    return fill(trunk, seed)


def images(count):
    side = SMALL.patch * SIDE
    return noise(count, 3, side, side)


def plain(trunk, pixels):
    """What a trunk does, block by block on whole maps."""
    config = trunk.config
    cells = functional.conv2d(pixels, trunk.patches.weight, stride=config.patch)
    cells = cells + trunk.background.permute(0, 3, 1, 2).tile(1, 1, 2, 2)
    cells = trunk.norm(cells.permute(0, 2, 3, 1))
    for i, block in enumerate(trunk.blocks):
        side = SIDE if i in config.global_blocks else config.window
        turns = axial_turns(8, side, side, cells.device, scale=config.window / side)
        looked = windows.split(block.norm1(cells), Window(side, side))
        looked = windows.join(plain_attention(block, looked, turns), height=SIDE, width=SIDE)
        cells = cells + looked
        inside, outside = block.mlp.layers
        cells = cells + outside(functional.gelu(inside(block.norm2(cells))))
    return cells


def plain_attention(block, cells, turns):
    """Attention head by head."""
    layer = block.attention
    heads = layer.qkv(cells.flatten(1, 2)).chunk(3 * layer.heads, dim=2)
    mixed = []
    for i in range(layer.heads):
        queries, keys, values = heads[i :: layer.heads]
        likeness = turned(queries, turns) @ turned(keys, turns).transpose(1, 2)
        mixed.append((likeness / queries.shape[2] ** 0.5).softmax(dim=2) @ values)
    return layer.out(torch.cat(mixed, dim=2)).reshape(cells.shape)


def test_a_trunk_gives_the_numbers_of_transformers():
    """On two images, with windows, global blocks and tiled positions."""
    pytest.importorskip("transformers")
    from reference_sam3_encoders import reference_vision

    trunk = small()
    reference = reference_vision(trunk, fill(Neck(SMALL.width, 8), 5))
    theirs = reference.backbone(images(2)).last_hidden_state
    assert theirs.abs().max() > 1
    assert_close(trunk(images(2)).flatten(1, 2), theirs, atol=ROUNDING, rtol=ROUNDING)


def test_windows_that_stay_are_windows_cut_for_each_block():
    """The trunk beside the plain way, which puts the map together after every block."""
    trunk = small()
    assert_close(trunk(images(2)), plain(trunk, images(2)), atol=ROUNDING, rtol=ROUNDING)


def test_windows_in_groups_are_windows_at_once(monkeypatch):
    """Two windows at a time of nine, and rows of the perceptron in three portions."""
    expected = small()(images(2))
    monkeypatch.setattr(vit, "CELLS", 8)
    assert_close(small()(images(2)), expected, atol=ROUNDING, rtol=ROUNDING)


def test_company_does_not_change_an_image():
    """Each of three images alone is what it is beside the others."""
    trunk = small()
    alone = torch.cat([trunk(each[None]) for each in images(3)])
    assert_close(alone, trunk(images(3)), atol=ROUNDING, rtol=ROUNDING)


def test_a_trunk_of_one_window_is_a_trunk_of_global_blocks():
    """Where a window is as wide as the map nothing is cut."""
    wide = TrunkConfig(**{**vars(SMALL), "window": SIDE})
    everywhere = TrunkConfig(**{**vars(wide), "global_blocks": tuple(range(SMALL.depth))})
    assert torch.equal(small(wide)(images(1)), small(everywhere)(images(1)))


def test_a_trunk_in_bfloat16_says_roughly_the_same():
    """Its angles stay float32, and its map is bfloat16."""
    expected = small()(images(2))
    rough = small().bfloat16()(images(2).bfloat16())
    assert rough.dtype == torch.bfloat16
    assert_close(rough.float(), expected, atol=0.15, rtol=0.05)


def test_a_trunk_can_learn():
    """Every weight has a gradient."""
    with torch.inference_mode(mode=False):
        trunk = small().requires_grad_()
        trunk(images(1).clone()).square().sum().backward()
        assert all(each.grad.abs().sum() > 0 for each in trunk.parameters())


def test_heads_are_turned_as_one_head_is():
    """Each by the same angles, in float32."""
    turns = axial_turns(8, 3, 5, torch.device("cpu"), scale=1 / 3)
    tokens = noise(2, 3, 15, 8)
    expected = torch.stack([turned(head, turns) for head in tokens.unbind(1)], dim=1)
    assert_close(turned_heads(tokens, turns), expected)
    assert turned_heads(tokens.bfloat16(), turns).dtype == torch.bfloat16


def test_a_scale_moves_cells_together():
    """Every third cell of a map whose cells are a third apart is one of a map a third as wide."""
    near = axial_turns(8, 6, 9, torch.device("cpu"), scale=1 / 3)
    far = axial_turns(8, 2, 3, torch.device("cpu"))
    for one, other in zip(near, far, strict=True):
        assert_close(torch.unflatten(one, 0, (6, 9))[::3, ::3].flatten(0, 1), other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_by_products_is_attention(monkeypatch, dtype):
    """In portions of four queries, of which the last is short, from heads that are not in a row."""
    monkeypatch.setattr(attention, "MANY", 11)
    monkeypatch.setattr(attention, "AT_A_TIME", 4)
    monkeypatch.setattr(products, "LARGE", 0)
    mixed = noise(2, 11, 3, 5, 7).to(dtype).transpose(1, 3)  # n k 3 l d
    queries, keys, values = mixed.unbind(dim=2)
    expected = functional.scaled_dot_product_attention(*(each.float() for each in mixed.unbind(2)))
    tolerance = {torch.float32: ROUNDING, torch.bfloat16: 0.03}[dtype]
    assert_close(attend(queries, keys, values).float(), expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_by_products_has_a_gradient(monkeypatch, dtype):
    """What is quick must not keep anyone from training."""
    monkeypatch.setattr(products, "LARGE", 0)
    with torch.inference_mode(mode=False):
        gradients = []
        for many in (11, 12):
            monkeypatch.setattr(attention, "MANY", many)
            given = noise(3, 1, 2, 11, 5).to(dtype).clone().requires_grad_()
            attend(*given).float().square().sum().backward()
            gradients.append(given.grad.float())
        assert_close(*gradients, atol={torch.float32: 1e-4, torch.bfloat16: 0.1}[dtype], rtol=0.01)
