"""Scenes with words: what is seen of a thing, what a phrase says, what an example means."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptseg.train.concepts.batches import mirrored
from promptseg.train.concepts.questions import (
    WORDS,
    Intent,
    absent,
    alike,
    all_but_example,
    ask,
    describes,
    like_example,
    meant,
    present,
    put,
)
from promptseg.train.concepts.scenes import (
    COLOURS,
    FILLS,
    SHAPES,
    Scene,
    Thing,
    boxes_of,
    random_scene,
)

seeds = st.integers(0, 2**32)
things = st.builds(
    Thing, st.sampled_from(tuple(COLOURS)), st.sampled_from(SHAPES), st.sampled_from(FILLS)
)

RED_CIRCLE = Thing("red", "circle", "plain")
RED_SQUARE = Thing("red", "square", "striped")
BLUE_SQUARE = Thing("blue", "square", "plain")
DOTTED_RED_SQUARE = Thing("red", "square", "dotted")
WORLD = (RED_CIRCLE, RED_SQUARE, BLUE_SQUARE, DOTTED_RED_SQUARE)


@given(seeds)
def test_a_scene_has_things_each_of_which_is_seen_and_none_shares_a_pixel(seed: int) -> None:
    """Two to seven things, none a speck, and every pixel belongs to one at most."""
    scene = random_scene(np.random.default_rng(seed), side=48)

    assert scene.image.shape == (48, 48, 3)
    assert scene.image.dtype == np.uint8
    assert 1 <= len(scene.things) == len(scene.masks) <= 7
    assert scene.masks.sum(axis=0).max() <= 1
    assert scene.masks.sum(axis=(1, 2)).min() >= 12


def test_the_same_seed_draws_the_same_scene() -> None:
    """Nothing but the source of chance decides what is drawn."""
    one, other = (random_scene(np.random.default_rng(5), side=48) for _ in range(2))

    assert np.array_equal(one.image, other.image)
    assert one.things == other.things


def test_a_thing_has_its_colour() -> None:
    """The most of a plain red thing is red, and of a plain blue one blue."""
    for seed in range(40):
        scene = random_scene(np.random.default_rng(seed), side=48)
        for thing, mask in zip(scene.things, scene.masks, strict=True):
            mean = scene.image[mask].mean(axis=0)
            if thing.fill == "plain" and thing.colour in ("red", "blue"):
                assert mean.argmax() == ("red", "green", "blue").index(thing.colour)


def test_stripes_and_dots_are_no_plain_colour() -> None:
    """Within a thing with a pattern pixels differ more than within a plain one."""
    spread: dict[str, list[float]] = {fill: [] for fill in FILLS}
    for seed in range(30):
        scene = random_scene(np.random.default_rng(seed), side=96)
        for thing, mask in zip(scene.things, scene.masks, strict=True):
            spread[thing.fill].append(float(scene.image[mask].std(axis=0).max()))

    assert np.median(spread["plain"]) < 0.5 * min(
        np.median(spread["striped"]), np.median(spread["dotted"])
    )


def test_a_box_is_tight() -> None:
    """A box ends where the mask does, the last pixel included."""
    mask = np.zeros((1, 7, 11), bool)
    mask[0, 2:5, 3:10] = True

    assert boxes_of(mask).tolist() == [[3, 2, 10, 5]]


@pytest.mark.parametrize(
    ("phrase", "numbers"),
    [
        ("visual", (0, 1, 2, 3)),
        ("shape", (0, 1, 2, 3)),
        ("square", (1, 2, 3)),
        ("red shape", (0, 1, 3)),
        ("red square", (1, 3)),
        ("striped red square", (1,)),
        ("red striped square", (1,)),
        ("blue circle", ()),
        ("unicorn", ()),
    ],
)
def test_every_word_of_a_phrase_must_hold(phrase: str, numbers: tuple[int, ...]) -> None:
    """A phrase means the things of which all its words are true."""
    assert meant(Intent(phrase), WORLD) == numbers


def test_an_example_means_what_has_its_colour_and_shape() -> None:
    """The fill of an example does not matter, and two examples mean what is like either."""
    assert meant(Intent("visual", (1,), (1,)), WORLD) == (1, 3)
    assert meant(Intent("visual", (0, 2), (1, 1)), WORLD) == (0, 2)


def test_a_counterexample_takes_away_what_is_like_it() -> None:
    """Squares but those like a red one are the blue one; like nothing there, nothing goes."""
    assert meant(Intent("square", (1,), (0,)), WORLD) == (2,)
    assert meant(Intent("square", (0,), (0,)), WORLD) == (1, 2, 3)
    assert meant(Intent("shape", (0, 2), (1, 0)), WORLD) == (0,)


def test_a_phrase_narrows_what_an_example_means() -> None:
    """Striped things like a red square are striped red squares."""
    assert meant(Intent("striped shape", (3,), (1,)), WORLD) == (1,)


@given(st.lists(things, min_size=1, max_size=7), seeds)
def test_questions_are_what_their_names_say(world: list[Thing], seed: int) -> None:
    """Something is meant, nothing is, the examples are, and nothing like a counterexample is."""
    rng = np.random.default_rng(seed)

    assert meant(present(rng, world), world)
    assert not meant(absent(rng, world), world)
    shown = like_example(rng, world)
    assert set(shown.examples) <= set(meant(shown, world))
    less = all_but_example(rng, world)
    for example in less.examples:
        assert not any(alike(world[i], world[example]) for i in meant(less, world))


@given(st.lists(things, min_size=1, max_size=7), seeds)
def test_phrases_are_made_of_known_words(world: list[Thing], seed: int) -> None:
    """But for the one word that nothing is, every word has a number of its own."""
    rng = np.random.default_rng(seed)

    for kind in (present, absent, like_example, all_but_example):
        assert set(kind(rng, world).phrase.split()) <= {*WORDS, "unicorn"}


@given(seeds)
def test_an_example_box_lies_about_its_thing(seed: int) -> None:
    """Boxes are drawn by an unsteady hand, but not by a wild one."""
    rng = np.random.default_rng(seed)
    scene = random_scene(rng, side=48)
    question = put(rng, Intent("shape", (0,), (1,)), scene)

    assert np.abs(question.boxes[0] - scene.boxes[0]).max() < 0.3 * 48
    assert question.labels.tolist() == [1]
    assert question.meant == meant(Intent("shape", (0,), (1,)), scene.things)


@given(seeds)
def test_mirroring_a_scene_moves_masks_with_the_image(seed: int) -> None:
    """What is seen within each mask stays as it is."""
    rng = np.random.default_rng(seed)
    scene = random_scene(rng, side=32)
    other = mirrored(rng, scene)

    assert isinstance(other, Scene)
    for mask, moved in zip(scene.masks, other.masks, strict=True):
        before, after = scene.image[mask], other.image[moved]
        assert sorted(map(tuple, before.tolist())) == sorted(map(tuple, after.tolist()))


def test_every_kind_of_question_is_asked() -> None:
    """With and without examples, of both labels, with answers and without."""
    rng = np.random.default_rng(0)
    scene = random_scene(rng, side=32)
    asked = [ask(rng, scene) for _ in range(200)]

    assert {tuple(question.labels) for question in asked} >= {(), (1,), (0,)}
    assert any(not question.meant for question in asked)
    assert describes("shape", scene.things[0])
