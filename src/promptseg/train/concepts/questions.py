"""What is asked of a scene, and what the right answer is.

What is meant is said by a phrase and examples. A phrase has one noun, a shape or "shape" for any of
them, and before it up to one colour and one fill in either order: "circle", "striped red square".
"visual" says nothing, and is asked where examples stand alone.

Two things are *alike* when they share colour and shape; the fill does not matter. Meant is every
thing that the phrase describes, that is like at least one positive example where there are any, and
that is like no negative example.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from promptseg.nn.protocol import VISUAL
from promptseg.shapes import BoxArray, LabelArray
from promptseg.train.concepts.scenes import COLOURS, FILLS, SHAPES, Scene, Thing

ANY_SHAPE = "shape"
# Said of nothing that is ever drawn.
STRANGE = "unicorn"
ATTRIBUTES = (*COLOURS, *SHAPES, *FILLS)
WORDS = (VISUAL, ANY_SHAPE, *ATTRIBUTES)

# How often each kind of question is asked.
PRESENT_SHARE, ABSENT_SHARE, ALIKE_SHARE, EXCEPT_SHARE = 0.25, 0.20, 0.22, 0.26
# How far a side of an example box is drawn off, as a share of the box.
CARELESS = 0.04


class Intent(NamedTuple):
    """A phrase, the numbers of the things that stand as examples, and their labels, 1 or 0."""

    phrase: str
    examples: tuple[int, ...] = ()
    labels: tuple[int, ...] = ()


class Question(NamedTuple):
    """An intent put to a scene, with boxes in pixels, and the numbers of the things it means."""

    phrase: str
    boxes: BoxArray
    labels: LabelArray
    meant: tuple[int, ...]


def describes(phrase: str, thing: Thing) -> bool:
    """Whether every word of a phrase holds for a thing."""
    return all(word in (VISUAL, ANY_SHAPE) or word in thing for word in phrase.split())


def alike(one: Thing, other: Thing) -> bool:
    """Whether two things share colour and shape."""
    return (one.colour, one.shape) == (other.colour, other.shape)


def meant(intent: Intent, things: Sequence[Thing]) -> tuple[int, ...]:
    """Return the numbers of the things that are meant, in order."""
    shown = list(zip(intent.examples, intent.labels, strict=True))
    wanted = [things[i] for i, label in shown if label == 1]
    unwanted = [things[i] for i, label in shown if label == 0]
    return tuple(
        i
        for i, thing in enumerate(things)
        if describes(intent.phrase, thing)
        and (not wanted or any(alike(thing, example) for example in wanted))
        and not any(alike(thing, example) for example in unwanted)
    )


def ask(rng: np.random.Generator, scene: Scene) -> Question:
    """Ask a question of any kind."""
    kinds = (present, absent, like_example, all_but_example, both)
    shares = [PRESENT_SHARE, ABSENT_SHARE, ALIKE_SHARE, EXCEPT_SHARE]
    kind = kinds[rng.choice(len(kinds), p=[*shares, 1 - sum(shares)])]
    return put(rng, kind(rng, scene.things), scene)


def put(rng: np.random.Generator, intent: Intent, scene: Scene) -> Question:
    """Put an intent to a scene, with its example boxes drawn by an unsteady hand."""
    boxes = scene.boxes[list(intent.examples)]
    sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    shaken = boxes + rng.normal(0, CARELESS, boxes.shape) * sides
    return Question(
        intent.phrase,
        shaken,
        np.array(intent.labels, np.int64),
        meant(intent, scene.things),
    )


def present(rng: np.random.Generator, things: Sequence[Thing]) -> Intent:
    """Describe some thing that is there."""
    return Intent(_phrase(rng, _any(rng, things)))


def absent(rng: np.random.Generator, things: Sequence[Thing]) -> Intent:
    """Describe nothing that is there, mostly by changing one word for something that is."""
    if rng.random() < 0.04:
        return Intent(STRANGE)
    while True:
        thing = _any(rng, things)
        if rng.random() < 0.6:
            field = str(rng.choice(Thing._fields))
            words = {"colour": tuple(COLOURS), "shape": SHAPES, "fill": FILLS}[field]
            thing = thing._replace(**{field: str(rng.choice(words))})
        else:
            thing = Thing(*(str(rng.choice(words)) for words in (tuple(COLOURS), SHAPES, FILLS)))
        phrase = _phrase(rng, thing)
        if not any(describes(phrase, other) for other in things):
            return Intent(phrase)


def like_example(rng: np.random.Generator, things: Sequence[Thing]) -> Intent:
    """Show one or two things and no phrase."""
    count = 1 if rng.random() < 0.8 else 2
    chosen = rng.choice(len(things), min(count, len(things)), replace=False)
    return Intent(VISUAL, tuple(int(i) for i in chosen), (1,) * len(chosen))


def all_but_example(rng: np.random.Generator, things: Sequence[Thing]) -> Intent:
    """Describe what is there, with a thing or two, mostly of those described, as what is not."""
    example = _any(rng, things)
    phrase = _broad(rng, example)
    described = [i for i, thing in enumerate(things) if describes(phrase, thing)]
    pool = described if rng.random() < 0.85 else range(len(things))
    count = 1 if rng.random() < 0.85 else 2
    chosen = rng.choice(list(pool), min(count, len(pool)), replace=False)
    return Intent(phrase, tuple(int(i) for i in chosen), (0,) * len(chosen))


def both(rng: np.random.Generator, things: Sequence[Thing]) -> Intent:
    """Show a thing, with a phrase that holds for it or with another thing as what is not."""
    example = int(rng.integers(len(things)))
    if rng.random() < 0.5:
        return Intent(_phrase(rng, things[example]), (example,), (1,))
    other = int(rng.integers(len(things)))
    if other == example:
        return Intent(VISUAL, (example,), (1,))
    return Intent(VISUAL, (example, other), (1, 0))


def _any(rng: np.random.Generator, things: Sequence[Thing]) -> Thing:
    return things[int(rng.integers(len(things)))]


def _phrase(rng: np.random.Generator, thing: Thing) -> str:
    """Say some of what holds for a thing."""
    noun = thing.shape if rng.random() < 0.75 else ANY_SHAPE
    words = [
        word for word, share in ((thing.colour, 0.6), (thing.fill, 0.4)) if rng.random() < share
    ]
    if rng.random() < 0.3:
        words.reverse()
    return " ".join([*words, noun])


def _broad(rng: np.random.Generator, thing: Thing) -> str:
    """Say one thing at most of what holds for a thing."""
    draw = rng.random()
    if draw < 0.45:
        return thing.shape
    return f"{thing.colour} {ANY_SHAPE}" if draw < 0.7 else ANY_SHAPE
