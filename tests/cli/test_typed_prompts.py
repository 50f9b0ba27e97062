"""Prompts as they are typed become prompts as they are meant, or one clear sentence."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from promptseg.cli import prompts as typed
from promptseg.concepts import Concept
from promptseg.errors import ImageError, PromptError
from promptseg.geometry import Box
from promptseg.prompts import Points, Prompt


def test_points_and_exclusions_are_one_object():
    """Included points come first with label 1, excluded ones follow with 0."""
    assert typed.parse(points=["3,5", "7.5,11"], exclude=["13,17"]) == [
        Prompt(points=Points([(3, 5), (7.5, 11), (13, 17)], [1, 1, 0]))
    ]


def test_each_box_alone_is_an_object():
    """Two boxes and nothing else are two objects, in order."""
    assert typed.parse(boxes=["3,5,7,11", "2,3,5,7"]) == [
        Prompt(box=Box(3, 5, 7, 11)),
        Prompt(box=Box(2, 3, 5, 7)),
    ]


def test_one_box_joins_the_points():
    """A box with points is one object that has both."""
    assert typed.parse(points=["3,5"], boxes=["2,3,5,7"]) == [
        Prompt(points=Points([(3, 5)]), box=Box(2, 3, 5, 7))
    ]


def test_a_mask_is_read(tmp_path):
    """The hint is what is white in the file."""
    mask = np.zeros((5, 7), np.uint8)
    mask[2:4, 3:5] = 255
    Image.fromarray(mask).save(tmp_path / "hint.png")
    (prompt,) = typed.parse(mask=tmp_path / "hint.png")
    np.testing.assert_array_equal(prompt.hint.mask, mask > 0)


def test_a_missing_mask_is_named(tmp_path):
    """A hint that is not there is an image error."""
    with pytest.raises(ImageError, match="there is no file"):
        typed.parse(mask=tmp_path / "none.png")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "no prompt was given"),
        ({"text": "a cup", "points": ["3,5"]}, "text is no prompt of `segment`: SAM 2"),
        ({"points": ["3"]}, "`--point` takes 2 numbers as X,Y, got `3`"),
        ({"points": ["3,5,7"]}, "`--point` takes 2 numbers as X,Y, got `3,5,7`"),
        ({"points": ["a,b"]}, "got `a,b`"),
        ({"points": [""]}, "got ``"),
        ({"points": ["nan,5"]}, "finite"),
        ({"exclude": ["inf,5"]}, "finite"),
        ({"exclude": ["3;5"]}, "`--exclude` takes 2 numbers"),
        ({"boxes": ["1,2,3"]}, "`--box` takes 4 numbers as X0,Y0,X1,Y1, got `1,2,3`"),
        ({"boxes": ["1,2,3,4,5"]}, "`--box` takes 4 numbers"),
        ({"boxes": ["7,2,3,11"]}, "x0 < x1"),
        ({"boxes": ["nan,2,3,11"]}, "nan"),
        ({"boxes": ["1,2,3,4", "2,3,5,7"], "points": ["3,5"]}, "belong to one object"),
    ],
)
def test_a_malformed_prompt_is_one_sentence(given, words):
    """What is wrong, and what was typed, is in the message."""
    with pytest.raises(PromptError) as caught:
        typed.parse(**given)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_hint_shows_the_form():
    """The fix is an example that could be typed."""
    with pytest.raises(PromptError) as caught:
        typed.parse(boxes=["1 2 3 4"])
    assert "--box 320,200,410,310" in caught.value.hint


def test_texts_are_concepts_and_examples_belong_to_the_only_one():
    """Each text is asked by itself; boxes without a text are a concept of their own."""
    assert typed.parse_concepts(texts=["cat", "red car"]) == [Concept("cat"), Concept("red car")]
    boxes = {"examples": ["1,2,3,4", "5,6,7,8"], "counterexamples": ["2,3,5,7"]}
    examples = {"include": [(1, 2, 3, 4), (5, 6, 7, 8)], "exclude": [(2, 3, 5, 7)]}
    assert typed.parse_concepts(texts=["cat"], **boxes) == [Concept("cat", **examples)]
    assert typed.parse_concepts(**boxes) == [Concept(**examples)]


def test_a_text_typed_twice_counts_once():
    """Also with other spaces, and beside examples."""
    texts = ["cat", "red  car", "cat", " red car"]
    assert typed.parse_concepts(texts=texts) == [Concept("cat"), Concept("red car")]
    [one] = typed.parse_concepts(texts=["cat", "cat"], examples=["1,2,3,4"])
    assert one == Concept("cat", include=[(1, 2, 3, 4)])


def test_what_belongs_to_segment_is_sent_there():
    """The hint has the command, and what to say for things like one that is shown."""
    with pytest.raises(PromptError, match="`find` takes no `--point`") as caught:
        typed.parse_concepts(texts=["cat"], points=["3,5"])
    assert "promptseg segment --point" in caught.value.hint
    with pytest.raises(PromptError, match="`find` takes no `--box`") as caught:
        typed.parse_concepts(boxes=["1,2,3,4"])
    assert "--example" in caught.value.hint
