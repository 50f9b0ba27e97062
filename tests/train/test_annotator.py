"""The simulated annotator of training clicks where the mask is wrong."""

from __future__ import annotations

import numpy as np
import torch

from promptseg.train.annotator import Annotator

CPU = torch.device("cpu")


def truth() -> np.ndarray:
    """One square thing of 20 x 20 cells at (10, 10)."""
    masks = np.zeros((1, 48, 48), bool)
    masks[0, 10:30, 10:30] = True
    return masks


def test_the_first_prompt_lies_on_the_thing() -> None:
    """Whatever is drawn, a first point is inside, and a box overlaps the thing."""
    for seed in range(30):
        prompts = Annotator(np.random.default_rng(seed), truth(), scale=2).prompts(CPU)
        for (x, y), label in zip(prompts.points[0], prompts.labels[0], strict=True):
            if label == 1:
                assert 20 <= x < 60
                assert 20 <= y < 60
        left, top, right, bottom = prompts.boxes[0]
        if prompts.boxed[0]:
            assert min(right, 60) > max(left, 20)
            assert min(bottom, 60) > max(top, 20)
        assert prompts.boxed[0] or prompts.hinted[0] or (prompts.labels[0] == 1).any()


def test_a_correction_is_negative_where_there_is_too_much() -> None:
    """A mask that also holds a far square gets an excluding point on it."""
    annotator = Annotator(np.random.default_rng(0), truth(), scale=2)
    logits = torch.where(torch.from_numpy(truth()), 5.0, -5.0)
    logits[0, 35:47, 35:47] = 5.0

    annotator.correct(logits)
    prompts = annotator.prompts(CPU)

    x, y = prompts.points[0, (prompts.labels[0] == 0).nonzero()[0, 0]]
    assert 70 <= x < 94
    assert 70 <= y < 94
    assert prompts.hinted[0]


def test_a_right_mask_needs_no_correction() -> None:
    """Nothing is clicked when nothing is wrong."""
    annotator = Annotator(np.random.default_rng(0), truth(), scale=2)
    before = len(annotator.points[0])
    annotator.correct(torch.where(torch.from_numpy(truth()), 5.0, -5.0))
    assert len(annotator.points[0]) == before


def test_nothing_can_be_asked_for() -> None:
    """A box round nothing replaces the prompt and empties the truth."""
    annotator = Annotator(np.random.default_rng(0), truth(), scale=2)
    annotator.ask_nothing(0, np.array([1, 2, 30, 40], np.float32))
    prompts = annotator.prompts(CPU)

    assert not annotator.truths.any()
    assert (prompts.labels < 0).all()
    assert prompts.boxes[0].tolist() == [1, 2, 30, 40]
