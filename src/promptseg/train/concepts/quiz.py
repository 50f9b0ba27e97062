"""How well something finds what phrases and examples mean, on scenes that it has not seen."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch.nn import functional

from promptseg.nn.sam3.model import Sam3Finder
from promptseg.shapes import ImageArray, MaskStack
from promptseg.train.concepts.batches import examples_of
from promptseg.train.concepts.loop import normalised
from promptseg.train.concepts.questions import (
    Intent,
    Question,
    absent,
    describes,
    like_example,
    present,
    put,
)
from promptseg.train.concepts.scenes import Scene, random_scene

Finds = Callable[[ImageArray, Question], MaskStack]
"""Answers a question on an image with the masks of what is found, best first."""

LEAST_IOU = 0.5
LEAST_SCORE = 0.5


class Grades(NamedTuple):
    """What is reached, each from 0 to 1.

    `text`, `examples` and `counterexamples` are F1 of masks at an IoU of 0.5 over all questions of
    a kind. `removed` is the share of things found by a phrase alone that are found no more when one
    of those alike is shown as what is not meant. `rejected` is the share of phrases for nothing
    that is there to which nothing is found.
    """

    text: float
    examples: float
    counterexamples: float
    removed: float
    rejected: float


class Count(NamedTuple):
    """How many things were found, how many were meant, and how many of them are the same."""

    found: int = 0
    meant: int = 0
    right: int = 0

    def __add__(self, other: object) -> Count:
        """Return both together."""
        assert isinstance(other, Count)
        return Count(*(one + two for one, two in zip(self, other, strict=True)))

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        return 2 * self.right / max(1, self.found + self.meant)


def unseen_scenes(
    count: int, *, side: int, seed: int
) -> Iterator[tuple[Scene, np.random.Generator]]:
    """Draw scenes of a seed, each with a source of chance for what is asked of it."""
    for index in range(count):
        rng = np.random.default_rng((seed, index, 1))
        yield random_scene(rng, side=side), rng


def grade(find: Finds, *, scenes: int, side: int, seed: int) -> Grades:
    """Put to each scene a question of every kind."""
    text, examples, counterexamples = Count(), Count(), Count()
    removed = shown = rejected = 0
    for scene, rng in unseen_scenes(scenes, side=side, seed=seed):
        phrase = put(rng, present(rng, scene.things), scene)
        text += counted(find(scene.image, phrase), scene, phrase)
        example = put(rng, like_example(rng, scene.things), scene)
        examples += counted(find(scene.image, example), scene, example)
        nothing = put(rng, absent(rng, scene.things), scene)
        rejected += not len(find(scene.image, nothing))
        plain, less = narrowed(rng, scene)
        before, after = find(scene.image, plain), find(scene.image, less)
        counterexamples += counted(after, scene, less)
        gone = scene.masks[sorted(set(plain.meant) - set(less.meant))]
        there = overlaps(before, gone).max(axis=0) >= LEAST_IOU
        left = overlaps(after, gone).max(axis=0) >= LEAST_IOU
        shown += int(there.sum())
        removed += int((there & ~left).sum())
    return Grades(
        text.f1, examples.f1, counterexamples.f1, removed / max(1, shown), rejected / scenes
    )


def narrowed(rng: np.random.Generator, scene: Scene) -> tuple[Question, Question]:
    """Ask for a shape, or any shape, without and with one of those meant as what is not."""
    noun = str(rng.choice(["shape", scene.things[0].shape]))
    described = [i for i, thing in enumerate(scene.things) if describes(noun, thing)]
    example = int(rng.choice(described))
    with_it = put(rng, Intent(noun, (example,), (0,)), scene)
    return put(rng, Intent(noun), scene), with_it


def counted(masks: MaskStack, scene: Scene, question: Question) -> Count:
    """Count what is right: each thing that is meant is found by one mask, the best first."""
    iou = overlaps(masks, scene.masks[list(question.meant)])[: len(masks)]
    right = 0
    for row in iou:
        if row.size and row.max() >= LEAST_IOU:
            iou[:, row.argmax()] = 0
            right += 1
    return Count(len(masks), len(question.meant), right)


def overlaps(
    masks: Bool[np.ndarray, "n H W"], others: Bool[np.ndarray, "m H W"]
) -> Float[np.ndarray, "_ m"]:
    """IoU of every mask with every other, with a row of noughts below."""
    pixels = math.prod(masks.shape[1:])
    flat, other = (stack.reshape(-1, pixels).astype(np.float32) for stack in (masks, others))
    shared = flat @ other.T
    union = flat.sum(axis=1)[:, None] + other.sum(axis=1) - shared
    return np.concatenate([shared / np.maximum(union, 1), np.zeros((1, len(others)))])


def answered_by(network: Sam3Finder) -> Finds:
    """Ask a network itself, of images that have its side already."""

    @torch.inference_mode()
    def find(image: ImageArray, question: Question) -> MaskStack:
        pixels = torch.from_numpy(image.transpose(2, 0, 1).copy())[None]
        features = network.encode(normalised(pixels))
        phrases = network.read([question.phrase])
        found = network.find(features, phrases, examples_of([question]))
        scores = (found.logits.sigmoid() * found.presence.sigmoid()[:, None])[0]
        order = scores.argsort(descending=True)
        slots = order[scores[order] > LEAST_SCORE].tolist()
        logits = network.outline(features, found, [slots])[0]
        if not slots:
            return np.zeros((0, *image.shape[:2]), bool)
        wide = functional.interpolate(logits[None].float(), image.shape[:2], mode="bilinear")[0]
        return (wide > 0).numpy()

    return find
