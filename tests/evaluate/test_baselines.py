"""The classical methods: where none of them can go wrong, and where they are fragile."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from skimage.segmentation import random_walker

from promptseg.evaluate import baselines
from promptseg.evaluate.baselines import Seeds, all_baselines, draw_markers
from promptseg.evaluate.clicks import Click
from promptseg.evaluate.metrics import iou
from promptseg.evaluate.predictor import Question
from promptseg.geometry import Box, PixelBox

EVERY = pytest.mark.parametrize("baseline", all_baselines(), ids=lambda each: each.name)
LOOKING = pytest.mark.parametrize("baseline", all_baselines()[1:], ids=lambda each: each.name)


@pytest.fixture
def scene():
    """A bright square on a dark noisy ground, 149 x 127 pixels, and its mask."""
    random = np.random.default_rng(3)
    mask = np.zeros((127, 149), bool)
    mask[41:83, 53:101] = True
    shade = np.where(mask, 190, 70)[..., None] + random.normal(0, 6, (127, 149, 3))
    return shade.clip(0, 255).astype(np.uint8), mask


@LOOKING
def test_one_click_finds_a_bright_square(baseline, scene):
    """What differs clearly from its ground is found from its middle."""
    image, mask = scene
    [answer] = baseline.start(image).answer([Question(clicks=(Click(77, 62, 1),))])
    assert iou(answer.mask, mask) > 0.9


@LOOKING
def test_a_tight_box_finds_a_bright_square(baseline, scene):
    """A box that is the square gives the square."""
    image, mask = scene
    [answer] = baseline.start(image).answer([Question(box=Box(53, 41, 101, 83))])
    assert iou(answer.mask, mask) > 0.9


@EVERY
def test_answers_repeat(baseline, scene):
    """The same questions get the same masks, alone or together, in any order."""
    image, _ = scene
    questions = [
        Question(clicks=(Click(77, 62, 1), Click(20, 20, 0))),
        Question(box=Box(53, 41, 101, 83)),
        Question(clicks=(Click(10, 10, 1),)),
    ]
    together = baseline.start(image).answer(questions)
    alone = [baseline.start(image).answer([each])[0] for each in reversed(questions)][::-1]
    for one, other in zip(together, alone, strict=True):
        assert (one.mask == other.mask).all()
        assert one.mask.shape == image.shape[:2]


@EVERY
@pytest.mark.parametrize(
    "question",
    [
        Question(clicks=(Click(0, 0, 1),)),
        Question(clicks=(Click(36, 30, 1), Click(36, 30, 0))),
        Question(clicks=(Click(5, 5, 1), Click(6, 6, 1), Click(30, 3, 0), Click(0, 30, 0))),
        Question(box=Box(0, 0, 37, 31)),
        Question(box=Box(36, 30, 37, 31)),
    ],
    ids=["corner", "contradiction", "many", "whole image", "one pixel"],
)
def test_no_question_is_too_odd(baseline, question):
    """Clicks in corners, on each other, and boxes of the image or a pixel get some answer."""
    image = np.random.default_rng(7).integers(100, 156, (31, 37, 3)).astype(np.uint8)
    [answer] = baseline.start(image).answer([question])
    assert answer.mask.shape == (31, 37)


def test_markers_by_hand():
    """The border is background; a click is a disc; outside a box is background, its core object."""
    markers = draw_markers(Seeds((Click(5, 5, 1), Click(8, 2, 0)), None), 11, radius=0.1, core=0.5)
    assert markers[0].tolist() == [2] * 11
    assert (markers[5, 5], markers[5, 6], markers[5, 7]) == (1, 1, 0)
    assert markers[2, 8] == 2
    boxed = draw_markers(Seeds((), PixelBox(2, 2, 9, 9)), 11, radius=0.1, core=0.5)
    assert (boxed[0, 0], boxed[2, 2], boxed[5, 5]) == (2, 0, 1)


def test_the_random_walker_is_scikit_images():
    """Made once an image and solved from a warm start, it is the walk that scikit-image makes."""
    random = np.random.default_rng(5)
    noise = random.integers(0, 256, (29, 29, 3)).astype(np.uint8)
    image = cv2.GaussianBlur(noise, (0, 0), 2)
    seeds = Seeds((Click(14, 13, 1), Click(5, 23, 0)), None)
    cover, _ = baselines.prepare_random_walker(image, beta=130.0)(seeds, None)
    markers = draw_markers(seeds, 29, radius=0.013, core=0.7)
    slow = random_walker(
        image / 255, markers, beta=130, mode="bf", channel_axis=-1, return_full_prob=True
    )
    assert np.abs(cover - slow[0]).max() < 0.01


def test_the_shapes_do_not_look():
    """A disc round the click, and the ellipse in the box, whatever the image shows."""
    shapes = all_baselines()[0]
    view = shapes.start(np.zeros((160, 160, 3), np.uint8))
    disc, ellipse = view.answer(
        [Question(clicks=(Click(80, 80, 1),)), Question(box=Box(40, 60, 120, 100))]
    )
    assert disc.mask[80, 80 - 19 : 80 + 20].all()
    assert not disc.mask[80, 80 + 21]
    assert ellipse.mask.sum() == pytest.approx(np.pi * 40 * 20, rel=0.01)
