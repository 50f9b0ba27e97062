"""Scenes and questions on their way to the network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from promptseg.nn.outputs import Examples
from promptseg.train.concepts.losses import Truth
from promptseg.train.concepts.questions import ATTRIBUTES, Question, ask
from promptseg.train.concepts.scenes import MOST_THINGS, Scene, random_scene


class ConceptBatch(NamedTuple):
    """`b` images and as many questions for each, `n` in all, those of an image side by side.

    `words` are the share of each cell that is covered by things for which a word holds, word by
    word of `ATTRIBUTES`.
    """

    images: UInt8[Tensor, "b 3 H W"]
    words: Float[Tensor, "b k h w"]
    phrases: list[str]
    examples: Examples
    truth: Truth


def concept_batches(
    *,
    side: int,
    mask_side: int,
    scenes: int,
    questions: int,
    seed: int,
    start: int = 0,
    pool: int = 2000,
    showings: int = 4,
) -> Iterator[ConceptBatch]:
    """Hand out batches for ever, of `scenes` images with `questions` questions each.

    A scene is drawn anew once in `showings` times, else one of the `pool` last drawn is shown
    again, at times mirrored, with new questions. `start` sets off a stream that goes on from one
    that was stopped there: its scenes are others.
    """
    rng = np.random.default_rng((seed, start))
    kept: list[Scene] = []
    while True:
        shown = []
        for _ in range(scenes):
            if len(kept) < scenes or rng.random() < 1 / showings:
                scene = random_scene(rng, side=side)
                if len(kept) < pool:
                    kept.append(scene)
                else:
                    kept[rng.integers(pool)] = scene
            else:
                scene = kept[rng.integers(len(kept))]
            shown.append(mirrored(rng, scene))
        asked = [[ask(rng, scene) for _ in range(questions)] for scene in shown]
        yield batch_of(shown, asked, mask_side=mask_side)


def mirrored(rng: np.random.Generator, scene: Scene) -> Scene:
    """Swap left and right half of the time."""
    if rng.random() < 0.5:
        return scene
    image, masks = scene.image[:, ::-1], scene.masks[:, :, ::-1]
    return Scene(np.ascontiguousarray(image), scene.things, np.ascontiguousarray(masks))


def batch_of(
    scenes: Sequence[Scene], asked: Sequence[Sequence[Question]], *, mask_side: int
) -> ConceptBatch:
    """Stack scenes of one side, and their questions, of which each scene has as many."""
    images = np.stack([scene.image.transpose(2, 0, 1) for scene in scenes])
    flat = [(scene, q) for scene, questions in zip(scenes, asked, strict=True) for q in questions]
    side = images.shape[-1]
    masks = torch.zeros(len(flat), MOST_THINGS, side, side)
    boxes = torch.zeros(len(flat), MOST_THINGS, 4)
    there = torch.zeros(len(flat), MOST_THINGS, dtype=torch.bool)
    for i, (scene, question) in enumerate(flat):
        chosen = list(question.meant)
        masks[i, : len(chosen)] = torch.from_numpy(scene.masks[chosen]).float()
        boxes[i, : len(chosen)] = torch.from_numpy(scene.boxes[chosen] / side).float()
        there[i, : len(chosen)] = True
    cover = functional.adaptive_avg_pool2d(masks, mask_side)
    questions = [question for _, question in flat]
    words = torch.from_numpy(np.stack([_covers(scene) for scene in scenes]))
    return ConceptBatch(
        torch.from_numpy(images),
        functional.adaptive_avg_pool2d(words, mask_side),
        [question.phrase for question in questions],
        examples_of(questions),
        Truth(boxes, cover, there),
    )


def _covers(scene: Scene) -> Float[np.ndarray, "k H W"]:
    """Say where each word holds."""
    covers = np.zeros((len(ATTRIBUTES), *scene.masks.shape[1:]), np.float32)
    for thing, mask in zip(scene.things, scene.masks, strict=True):
        covers[[ATTRIBUTES.index(word) for word in thing]] += mask
    return covers


def examples_of(questions: Sequence[Question]) -> Examples:
    """Stack example boxes, ragged ones padded with label -1."""
    longest = max(1, *(len(question.labels) for question in questions))
    boxes = torch.zeros(len(questions), longest, 4)
    labels = torch.full((len(questions), longest), -1)
    for i, question in enumerate(questions):
        count = len(question.labels)
        boxes[i, :count] = torch.from_numpy(question.boxes).float()
        labels[i, :count] = torch.from_numpy(question.labels)
    return Examples(boxes, labels)
