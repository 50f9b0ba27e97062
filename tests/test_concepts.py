"""What may be said about every such thing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptseg.concepts import MOST_LETTERS, Concept, as_concept
from promptseg.errors import PromptError
from promptseg.geometry import Box, Size
from promptseg.prompts import MaskHint, Points, Prompt


def test_a_concept_is_a_phrase_examples_or_both():
    """Boxes come as boxes, as four numbers, or as rows of an array; one alone is a list of one."""
    box = Box(2, 3, 5, 7)
    assert Concept("red car").text == "red car"
    assert Concept(include=box) == Concept(include=[(2, 3, 5, 7)])
    assert Concept("car", exclude=np.array([[2.0, 3, 5, 7]])).exclude == (box,)
    both = Concept("car", include=[box], exclude=[(0, 0, 1, 1)])
    assert (both.text, both.include, both.exclude) == ("car", (box,), (Box(0, 0, 1, 1),))


def test_concepts_are_values():
    """Equal ones are equal, and can be counted."""
    one, same = Concept("car", include=[(2, 3, 5, 7)]), Concept("car", include=[Box(2, 3, 5, 7)])
    assert one == same
    assert len({one, same, Concept("car")}) == 2


def test_spaces_of_a_phrase_do_not_matter():
    """So that one phrase is read once, however it is set."""
    assert Concept("  red\n\tcar ").text == "red car"


@pytest.mark.parametrize(
    "phrase",
    ["Köttbullar", "猫", "red-wheel's #2!", "👩\u200d🚀", "\u200fقط", "a" * MOST_LETTERS],
)
def test_any_word_is_a_phrase(phrase):
    """Of any script, with joiners and marks of direction, up to a thousand letters."""
    assert Concept(phrase).text == phrase


def test_what_masks_are_labelled():
    """The phrase, or that it was an example."""
    assert Concept("car", include=[(2, 3, 5, 7)]).label == "car"
    assert Concept(exclude=[(2, 3, 5, 7)]).label == "example"


def test_only_what_is_not_meant_is_legal_and_known():
    """It leaves open what is meant."""
    assert Concept(exclude=[(2, 3, 5, 7)]).says_only_what_not
    assert not Concept("car", exclude=[(2, 3, 5, 7)]).says_only_what_not
    assert not Concept(include=[(2, 3, 5, 7)]).says_only_what_not


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (None, "a concept needs a phrase or example boxes, got neither"),
        ("", "a phrase needs a word at least, got an empty one"),
        (" \n\t\u3000", "a phrase needs a word at least, got an empty one"),
        ("\u200b\u200d", "a phrase needs a word at least, got an empty one"),
        ("a" * 1001, "a phrase has at most 1000 letters, got 1001: `aaaa"),
        ("red\x00car", r"a phrase holds no control characters, got '\x00' in 'red\x00car'"),
        ("red\x1bcar", r"a phrase holds no control characters, got '\x1b'"),
        ("\ud83d", r"a phrase holds no control characters, got '\ud83d'"),
        (7, "a phrase must be text, got int"),
        (b"car", "a phrase must be text, got bytes"),
    ],
)
def test_another_phrase_is_refused(text, part):
    """The sentence shows what came, and the hint says how to ask."""
    with pytest.raises(PromptError) as caught:
        Concept(text)
    assert str(caught.value).startswith(part)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("boxes", "part"),
    [
        ([(5, 3, 2, 7)], "a box needs x0 < x1 and y0 < y1, got (5, 3, 2, 7)"),
        ([(2, 3, 2, 7)], "a box needs x0 < x1 and y0 < y1, got (2, 3, 2, 7)"),
        ([(2, 3, 5)], "a box needs 4 numbers, got 3"),
        ((2, 3, 5, 7), "a box needs 4 numbers, got int"),
        (np.array([2.0, 3, 5, 7]), "a box needs 4 numbers, got float64"),
        ([(2, 3, 5, float("nan"))], "a box needs finite numbers, got y1 = nan"),
        ([(2, 3, 5, "7")], "a box needs numbers, got y1 = '7'"),
        (["2357"], "a box needs 4 numbers, got str"),
        ([np.array(5)], "a box needs 4 numbers, got ndarray"),
        (np.array(5), "`include` must be a list of boxes, got ndarray"),
        ("2,3,5,7", "`include` must be a list of boxes, got str"),
        (None, "`include` must be a list of boxes, got NoneType"),
        (5, "`include` must be a list of boxes, got int"),
        ({"x0": 5}, "`include` must be a list of boxes, got dict"),
    ],
)
def test_another_box_is_refused(boxes, part):
    """Inverted, empty, unfinished or no box at all; beside a concept too."""
    with pytest.raises(PromptError) as caught:
        Concept("car", include=boxes)
    assert str(caught.value) == part
    with pytest.raises(PromptError, match="box"):
        as_concept(Concept("car"), include=boxes)


def test_a_box_may_stick_out_of_the_image_but_not_lie_outside():
    """As for `segment`."""
    size = Size(7, 11)
    Concept(include=[(-3, -3, 5, 99)]).check(size)
    for name in ("include", "exclude"):
        with pytest.raises(PromptError, match=r"the box \(11, 0, 13, 5\) lies outside the image"):
            Concept("car", **{name: [(11, 0, 13, 5)]}).check(size)


def test_a_phrase_and_examples_make_a_concept():
    """And one that is a concept already stays what it is."""
    concept = Concept("car")
    assert as_concept(concept) is concept
    assert as_concept("car", include=[(2, 3, 5, 7)]) == Concept("car", include=[(2, 3, 5, 7)])
    assert as_concept(None, exclude=Box(2, 3, 5, 7)) == Concept(exclude=[(2, 3, 5, 7)])
    with pytest.raises(PromptError, match="a `Concept` has its own examples"):
        as_concept(concept, include=Box(2, 3, 5, 7))


@pytest.mark.parametrize(
    "value",
    [
        Points([(3, 4)]),
        Prompt(points=Points([(3, 4)])),
        MaskHint(np.ones((3, 5), bool)),
        7,
        (2, 3, 5, 7),
        b"car",
    ],
)
def test_prompts_of_segment_are_no_concept(value):
    """The hint says how to ask `find`, and that points are for `segment`."""
    with pytest.raises(PromptError, match=f"phrases and examples, got {type(value).__name__}") as e:
        as_concept(value)
    assert "`include=[(x0, y0, x1, y1)]`" in e.value.hint
    assert "points are prompts of `segment`" in e.value.hint


def test_a_box_is_an_example_and_no_name():
    """The hint is what to write."""
    with pytest.raises(PromptError, match="a box shows a thing and does not name it") as caught:
        as_concept(Box(2, 3, 5, 7))
    assert "`include=[(2, 3, 5, 7)]`" in caught.value.hint


@given(st.text(max_size=30))
def test_text_is_a_phrase_or_a_sentence_why_not(text):
    """Whatever the letters; a phrase that is taken stays as it is when it is asked again."""
    try:
        phrase = Concept(text).text
    except PromptError:
        return
    assert phrase.strip()
    assert Concept(phrase).text == phrase
