"""The built-in network on random weights: shapes, independence of prompts, no hidden state."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from promptseg.errors import ConfigError
from promptseg.nn.outputs import PromptTensors
from promptseg.nn.protocol import Promptable
from promptseg.nn.tiny.config import TinyConfig
from promptseg.nn.tiny.decoder import blended
from promptseg.nn.tiny.model import TinyNetwork

SMALL = replace(
    TinyConfig(),
    image_side=96,
    widths=(8, 8, 16, 16, 24),
    decoder_widths=(8, 8, 16, 16),
    embedding=8,
    heads=2,
)


@pytest.fixture(scope="module")
def network() -> TinyNetwork:
    torch.manual_seed(0)
    return TinyNetwork(SMALL).eval()


@pytest.fixture(scope="module")
def features(network: TinyNetwork):
    with torch.inference_mode():
        return network.encode(torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(1)))


def prompts(count: int = 3, *, padding: int = 0) -> PromptTensors:
    """Prompts of every kind: two points, a box, a hint; one more of them in each further row."""
    generator = torch.Generator().manual_seed(2)
    points = torch.rand(count, 2 + padding, 2, generator=generator) * 96
    points[:, :2] = torch.rand(count, 2, 2, generator=torch.Generator().manual_seed(3)) * 96
    labels = torch.tensor([[1, 0] + [-1] * padding] * count)
    boxes = torch.tensor([[10.0, 20.0, 60.0, 80.0]]).expand(count, 4).clone()
    hints = torch.randn(count, 48, 48, generator=torch.Generator().manual_seed(4)) * 4
    rows = torch.arange(count)
    return PromptTensors(points, labels, boxes, rows % 3 == 1, hints, rows % 3 == 2)


def row(tensors: PromptTensors, i: int) -> PromptTensors:
    return PromptTensors(*(tensor[i : i + 1] for tensor in tensors))


def test_the_network_is_promptable(network: TinyNetwork) -> None:
    """The engine's protocol is what the network offers."""
    assert isinstance(network, Promptable)
    assert (network.spec.image_side, network.spec.mask_side) == (96, 48)


def test_every_prompt_gets_three_scored_candidates(network: TinyNetwork, features) -> None:
    """Logits come at the mask side, scores lie in 0..1, presence is one number each."""
    with torch.inference_mode():
        answer = network.decode(features, prompts(5))

    assert answer.logits.shape == (5, 3, 48, 48)
    assert answer.scores.shape == (5, 3)
    assert answer.presence.shape == (5,)
    assert ((answer.scores > 0) & (answer.scores < 1)).all()
    assert answer.logits.isfinite().all()


def test_neighbours_do_not_change_an_answer(network: TinyNetwork, features) -> None:
    """A prompt decoded among others is answered as alone."""
    together = prompts(3)
    with torch.inference_mode():
        all_three = network.decode(features, together)
        alone = [network.decode(features, row(together, i)) for i in range(3)]

    for i, one in enumerate(alone):
        torch.testing.assert_close(all_three.logits[i : i + 1], one.logits, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(all_three.scores[i : i + 1], one.scores, rtol=1e-4, atol=1e-4)


def test_padding_points_change_nothing(network: TinyNetwork, features) -> None:
    """Points with label -1 may lie anywhere."""
    with torch.inference_mode():
        bare = network.decode(features, prompts(3))
        padded = network.decode(features, prompts(3, padding=4))

    torch.testing.assert_close(bare.logits, padded.logits, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(bare.scores, padded.scores, rtol=1e-5, atol=1e-5)


def test_unused_boxes_and_hints_change_nothing(network: TinyNetwork, features) -> None:
    """What `boxed` and `hinted` switch off is not looked at, be it not a number."""
    asked = row(prompts(3), 0)
    other = asked._replace(boxes=torch.full((1, 4), torch.nan), hints=torch.full((1, 48, 48), 7.0))
    with torch.inference_mode():
        first, second = network.decode(features, asked), network.decode(features, other)

    assert torch.equal(first.logits, second.logits)


def test_a_box_ends_where_the_image_does(network: TinyNetwork, features) -> None:
    """What sticks out of the square says nothing."""
    given = prompts()
    beyond = given._replace(
        boxes=torch.tensor([[-40.0, 8, 56, 200]] * 3), boxed=torch.ones(3, dtype=torch.bool)
    )
    inside = beyond._replace(boxes=torch.tensor([[0.0, 8, 56, 96]] * 3))
    with torch.inference_mode():
        one, other = network.decode(features, beyond), network.decode(features, inside)
    assert torch.equal(one.logits, other.logits)


def test_each_kind_of_prompt_matters(network: TinyNetwork, features) -> None:
    """Moving a point, switching its label, the box or the hint changes the answer."""
    asked = row(prompts(3), 0)
    changed = [
        asked._replace(points=asked.points.flip(2)),
        asked._replace(labels=1 - asked.labels),
        asked._replace(boxed=~asked.boxed),
        asked._replace(hinted=~asked.hinted),
    ]
    with torch.inference_mode():
        first = network.decode(features, asked).logits
        others = [network.decode(features, prompt).logits for prompt in changed]

    assert all((first - other).abs().max() > 1e-3 for other in others)


def test_images_of_a_batch_do_not_mix(network: TinyNetwork) -> None:
    """An image is encoded among others as alone."""
    images = torch.randn(3, 3, 96, 96, generator=torch.Generator().manual_seed(5))
    with torch.inference_mode():
        together = network.encode(images)
        alone = network.encode(images[1:2])

    for many, one in zip(together.image(1).grids, alone.grids, strict=True):
        torch.testing.assert_close(many, one, rtol=1e-4, atol=1e-4)


def test_blending_stays_between_its_cells() -> None:
    """A blended pixel is never above the highest of its nine cells nor below the lowest."""
    generator = torch.Generator().manual_seed(6)
    logits = torch.randn(2, 3, 5, 7, generator=generator)
    shares = torch.randn(2, 9, 4, 5, 7, generator=generator).softmax(dim=1).flatten(1, 2)

    doubled = blended(logits, shares)

    assert doubled.shape == (2, 3, 10, 14)
    highest = torch.nn.functional.max_pool2d(logits, 3, stride=1, padding=1)
    assert (doubled <= highest.repeat_interleave(2, 2).repeat_interleave(2, 3) + 1e-6).all()


def test_blending_a_constant_gives_the_constant() -> None:
    """Shares that sum to one keep a flat mask flat."""
    shares = torch.full((1, 36, 3, 3), 1 / 9)
    assert torch.allclose(blended(torch.full((1, 1, 3, 3), 2.0), shares), torch.tensor(2.0))


def test_a_side_that_does_not_divide_is_refused() -> None:
    """The trunk halves five times."""
    with pytest.raises(ConfigError, match="multiple of 32, got 100"):
        TinyConfig(image_side=100)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_answers_alike(dtype: torch.dtype) -> None:
    """Weights, pixels and features in half precision give nearly the answers of float32."""
    torch.manual_seed(0)
    exact, half = TinyNetwork(SMALL).eval(), TinyNetwork(SMALL).eval()
    half.load_state_dict(exact.state_dict())
    half.to(dtype)
    pixels = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        one = exact.decode(exact.encode(pixels), prompts(3))
        other = half.decode(half.encode(pixels.to(dtype)), prompts(3))

    assert (one.logits - other.logits.float()).abs().mean() < 0.05 * one.logits.abs().mean()
    torch.testing.assert_close(one.scores, other.scores, atol=0.03, rtol=0)


def test_many_points_are_taken_a_few_at_a_time(network: TinyNetwork, features) -> None:
    """A point said forty times answers as the point said once, whatever slice it falls into."""
    once = row(prompts(3), 0)
    often = once._replace(points=once.points.repeat(1, 20, 1), labels=once.labels.repeat(1, 20))
    with torch.inference_mode():
        first, second = network.decode(features, once), network.decode(features, often)

    torch.testing.assert_close(first.logits, second.logits, rtol=1e-5, atol=1e-5)
