"""An image is told what is asked of it."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from plain_sam3_finder import plain_fusion
from promptseg.nn.sam3 import fusion as fusion_module
from promptseg.nn.sam3.exemplars import Question
from promptseg.nn.sam3.fusion import Fusion
from seeded import fill

HEIGHT, WIDTH, CHANNELS, ROUNDING = 5, 7, 16, 1e-5


@pytest.fixture(scope="module")
def fusion():
    return fill(Fusion(CHANNELS, heads=2, hidden=11, layers=3), seed=5)


@pytest.fixture(scope="module")
def places():
    return noise(HEIGHT, WIDTH, CHANNELS, seed=3)


def noise(*shape, seed=17):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def question_of(count, length):
    attended = torch.arange(length) >= torch.arange(count)[:, None]
    return Question(noise(count, length, CHANNELS, seed=length), attended)


def fused(fusion, image, places, question):
    mixed = fusion.mix(image, places)
    return fusion(mixed.flatten(1, 2), places.flatten(0, 1), question)


@pytest.mark.parametrize("length", [5, 23])
@pytest.mark.parametrize("cells", [11, 1000])
def test_the_first_look_is_shared_by_all_questions(fusion, places, length, cells, monkeypatch):
    """Every layer in full for every question gives the same, with few tokens and with many."""
    monkeypatch.setattr(fusion_module, "CELLS", cells)
    image, question = noise(1, HEIGHT, WIDTH, CHANNELS), question_of(3, length)
    plain = plain_fusion(fusion, image.flatten(1, 2), places.flatten(0, 1), question)
    assert_close(fused(fusion, image, places, question), plain, atol=ROUNDING, rtol=0)


def test_each_question_may_have_an_image_of_its_own(fusion, places):
    """As many images as questions are told one each."""
    images, question = noise(2, HEIGHT, WIDTH, CHANNELS), question_of(2, 5)
    plain = plain_fusion(fusion, images.flatten(1, 2), places.flatten(0, 1), question)
    assert_close(fused(fusion, images, places, question), plain, atol=ROUNDING, rtol=0)


def test_what_is_not_attended_is_not_heard(fusion, places):
    """Padded tokens may be anything."""
    image, question = noise(1, HEIGHT, WIDTH, CHANNELS), question_of(3, 5)
    loud = torch.where(question.attended[..., None], question.tokens, 1e4)
    told = fused(fusion, image, places, question)
    again = fused(fusion, image, places, Question(loud, question.attended))
    assert_close(again, told, atol=ROUNDING, rtol=0)
