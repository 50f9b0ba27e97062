"""Example boxes as tokens of a question."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from promptseg.nn.parts import attention
from promptseg.nn.parts.positions import sines
from promptseg.nn.sam3.exemplars import ExemplarEncoder
from seeded import fill

CHANNELS, ROUNDING = 16, 1e-5
BOXES = torch.tensor([[0.1, 0.2, 0.5, 0.7], [0.3, -0.1, 0.4, 0.6], [0.0, 0.0, 1.0, 1.0]])


@pytest.fixture(scope="module")
def encoder():
    return fill(ExemplarEncoder(CHANNELS, heads=2, hidden=11, layers=2, roi=3), seed=5)


@pytest.fixture(scope="module")
def image():
    return noise(1, 5, 7, CHANNELS)


@pytest.fixture(scope="module")
def places():
    return noise(5, 7, CHANNELS, seed=3)


def noise(*shape, seed=17):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def encoded(encoder, image, places, boxes, labels):
    return encoder(image, places, boxes, torch.tensor(labels))


def test_a_share_is_told_in_waves_each_longer_than_the_last():
    """A quarter of the way is that of the first wave, and a hundredth of it in the second."""
    told = sines(torch.tensor([0.25]), 4)
    slow = torch.tensor(torch.pi / 200)
    assert_close(
        told[0], torch.stack([torch.tensor(1.0), torch.tensor(0.0), slow.sin(), slow.cos()])
    )


def test_without_a_box_there_is_a_token_of_the_image(encoder, image, places):
    """A question of a phrase alone has one token more, which knows the image."""
    boxes = torch.zeros(1, 1, 4)
    tokens, attended = encoded(encoder, image, places, boxes, [[-1]])
    others, _ = encoded(encoder, 2 * image, places, boxes, [[-1]])
    assert attended.tolist() == [[False, True]]
    assert not torch.allclose(tokens[0, 1], others[0, 1])


def test_padding_changes_nothing(encoder, image, places):
    """What is padded may be anything, anywhere, and as much as one likes."""
    alone, _ = encoded(encoder, image, places, BOXES[None, :2], [[1, 0]])
    nothing = torch.full((1, 2, 4), torch.nan)
    padded = torch.cat([BOXES[None, :1], nothing, BOXES[None, 1:2], BOXES[None, 2:]], dim=1)
    tokens, attended = encoded(encoder, image, places, padded, [[1, -1, -1, 0, -1]])
    assert attended.tolist() == [[True, False, False, True, False, True]]
    assert_close(tokens[attended], alone[0], atol=ROUNDING, rtol=0)


def test_labels_and_places_of_boxes_matter(encoder, image, places):
    """A box means another thing when it is no example, and so does another box."""
    tokens, _ = encoded(encoder, image, places, BOXES[[0, 0, 1], None], [[1], [0], [1]])
    assert not torch.allclose(tokens[0], tokens[1])
    assert not torch.allclose(tokens[0], tokens[2])


@pytest.mark.parametrize("few", [0, 1000])
def test_questions_on_an_image_are_asked_together(encoder, image, places, few, monkeypatch):
    """Many tokens get keys of the cells and few are folded; either way company changes nothing."""
    together, _ = encoded(encoder, image, places, BOXES[:, None], [[1], [0], [1]])
    monkeypatch.setattr(attention, "FEW", few)
    for row, label in enumerate([1, 0, 1]):
        alone, _ = encoded(encoder, image, places, BOXES[row, None, None], [[label]])
        assert_close(together[row], alone[0], atol=ROUNDING, rtol=0)


def test_each_question_may_have_an_image_of_its_own(encoder, places):
    """As many images as questions are looked at by one each."""
    images = noise(2, 5, 7, CHANNELS, seed=8)
    together, _ = encoded(encoder, images, places, BOXES[:2, None], [[1], [0]])
    for row, label in enumerate([1, 0]):
        one = images[row : row + 1]
        alone, _ = encoded(encoder, one, places, BOXES[row, None, None], [[label]])
        assert_close(together[row], alone[0], atol=ROUNDING, rtol=0)
