"""From words to masks, on weights that know a small world: a SAM 3 of nano size.

How it was taught, and how good it is on more scenes: `README.md` beside this file.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scoring import asked_of

import promptseg
from promptseg import Model
from promptseg.train.concepts.questions import Intent, Question, meant, put
from promptseg.train.concepts.quiz import Finds, grade, overlaps, unseen_scenes
from promptseg.train.concepts.scenes import Scene

WEIGHTS = Path(__file__).with_name("nano.safetensors")
SIDE = 96
# Training counts its seeds from 0, and draws by steps, not by scenes.
SEED = 20_261


@pytest.fixture(scope="module")
def model() -> Model:
    """The nano network, loaded as any other."""
    return promptseg.load(WEIGHTS, device="cpu")


@pytest.fixture(scope="module")
def find(model: Model) -> Finds:
    """The nano network, asked as any other."""
    return asked_of(model)


def test_the_weights_are_small() -> None:
    """They are a fixture, not a download: under 3 MB."""
    assert WEIGHTS.stat().st_size < 3e6


def test_words_matter(find: Finds) -> None:
    """What is promised of unseen scenes holds: words, examples, counterexamples, absence."""
    grades = grade(find, scenes=30, side=SIDE, seed=SEED)

    assert grades.text > 0.85
    assert grades.removed >= 0.8
    assert grades.rejected >= 0.95
    assert grades.examples > 0.8
    assert grades.counterexamples > 0.8


def test_one_image_answers_each_phrase_in_its_own_way(model: Model) -> None:
    """Several phrases at once find, each under its label, what it finds alone."""
    scene, _ = next(unseen_scenes(1, side=SIDE, seed=SEED))
    phrases = [" ".join((thing.colour, thing.shape)) for thing in scene.things]
    distinct = list(dict.fromkeys(phrases))
    together = model.find(scene.image, distinct)

    assert together.labels is not None
    for phrase in distinct:
        alone = model.find(scene.image, phrase)
        assert np.array_equal(together[together.labels == phrase].to_numpy(), alone.to_numpy())


def test_boxes_go_round_masks(model: Model) -> None:
    """What the network says of a thing's box mostly agrees with its mask, within two pixels."""
    apart = []
    for scene, _ in unseen_scenes(8, side=SIDE, seed=SEED):
        found = model.find(scene.image, "shape")
        assert found.predicted_boxes is not None
        assert (np.diff(found.scores) <= 0).all()
        apart += np.abs(found.predicted_boxes - found.boxes).flatten().tolist()

    assert len(apart) > 4 * 8
    assert np.median(apart) < 2


def test_an_unknown_word_finds_nothing(model: Model) -> None:
    """No thing of this world is a bicycle, red or not."""
    for scene, _ in unseen_scenes(5, side=SIDE, seed=SEED):
        assert not len(model.find(scene.image, "bicycle"))


def test_a_counterexample_takes_its_likes_with_it(find: Finds) -> None:
    """Pointing at one thing of two alike takes both away, and leaves one that is unlike."""
    tried = taken = left = 0
    for scene, rng in unseen_scenes(40, side=SIDE, seed=SEED):
        pair = _alike_and_another(scene)
        if pair is None:
            continue
        first, second, other = pair
        question = put(rng, Intent("shape", (first,), (0,)), scene)
        iou = _best(find, scene, question)
        tried += 1
        taken += iou[first] < 0.5 and iou[second] < 0.5
        left += iou[other] >= 0.5

    assert tried >= 10
    assert taken / tried >= 0.8
    assert left / tried >= 0.8


def test_a_larger_photo_is_answered_at_its_size(model: Model) -> None:
    """The image is squashed into the network's square, and masks come back at image size."""
    scene, _ = next(unseen_scenes(1, side=SIDE, seed=SEED))
    wide = scene.image.repeat(2, axis=0).repeat(3, axis=1)
    found = model.find(wide, "shape")
    masks = found.to_numpy()[:, ::2, ::3]

    assert found.size == (2 * SIDE, 3 * SIDE)
    everything = tuple(range(len(scene.things)))
    assert meant(Intent("shape"), scene.things) == everything
    assert overlaps(masks, scene.masks)[: len(masks)].max(axis=1).min() > 0.5


def _alike_and_another(scene: Scene) -> tuple[int, int, int] | None:
    """The numbers of two things alike and of one that is like neither in shape or colour."""
    things = scene.things
    for i, one in enumerate(things):
        twins = [j for j, two in enumerate(things) if j > i and two[:2] == one[:2]]
        others = [j for j, two in enumerate(things) if two[:2] != one[:2]]
        if twins and others:
            return i, twins[0], others[0]
    return None


def _best(find: Finds, scene: Scene, question: Question) -> np.ndarray:
    """The IoU of each thing with the mask that fits it best."""
    return overlaps(find(scene.image, question), scene.masks).max(axis=0)
