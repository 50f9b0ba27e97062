"""Questions about images, their ids, and the answers by id."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from promptseg.batch import Answers, Batch
from promptseg.concepts import Concept
from promptseg.errors import ConfigError, ImageError, PromptError, QueryError
from promptseg.options import EverythingOptions, FindOptions, SegmentOptions
from promptseg.prompts import Points, Prompt
from promptseg.requests import EverythingRequest, FindRequest, SegmentRequest
from promptseg.results import Masks

IMAGE = np.zeros((3, 5, 3), np.uint8)
POINT = Points([(1, 1)])


def test_each_query_has_an_id_of_its_own():
    """Made up or given; the verb and the count can be read from those made up."""
    batch = Batch()
    image = batch.image(IMAGE)
    ids = [image.find("cat"), image.find("cat"), image.segment(POINT), image.everything()]
    assert [each.split("-")[:2] for each in ids] == [
        ["find", "1"],
        ["find", "2"],
        ["segment", "3"],
        ["everything", "4"],
    ]
    assert image.find("dog", id="mine") == "mine"
    assert len(batch) == 5
    assert [query.id for query in batch.queries] == [*ids, "mine"]


def test_ids_of_two_batches_differ():
    """So that one is never taken for the other."""
    assert Batch().image(IMAGE).find("cat") != Batch().image(IMAGE).find("cat")


def test_an_id_given_twice_is_refused_and_leaves_no_trace():
    """On another image too; the first stays."""
    batch = Batch()
    batch.image(IMAGE).find("cat", id="pet")
    with pytest.raises(PromptError, match="two queries of one batch have the id `pet`") as caught:
        batch.image("other.jpg").segment(POINT, id="pet")
    assert caught.value.hint
    assert [query.verb for query in batch.queries] == ["find"]


@pytest.mark.parametrize("name", ["", 7, b"x", ["x"]])
def test_an_id_is_text(name):
    """Whatever else comes is shown."""
    with pytest.raises(PromptError, match="an id is some text, got"):
        Batch().image(IMAGE).everything(id=name)


@pytest.mark.parametrize(
    ("ask", "kind", "part"),
    [
        (lambda image: image.find(), PromptError, "got neither"),
        (lambda image: image.find(" "), PromptError, "got an empty one"),
        (lambda image: image.find(POINT), PromptError, "phrases and examples, got Points"),
        (lambda image: image.find(["a", "b"]), PromptError, "phrases and examples, got list"),
        (lambda image: image.find(exclude=[(3, 3, 1, 1)]), PromptError, "x0 < x1"),
        (lambda image: image.segment("cat"), PromptError, "text is no prompt of `segment`"),
        (lambda image: image.segment([(1, 1)]), PromptError, "not a prompt: tuple"),
        (
            lambda image: image.find("cat", options=SegmentOptions()),
            ConfigError,
            "`options` must be `FindOptions`, got SegmentOptions",
        ),
        (
            lambda image: image.segment(POINT, options={}),
            ConfigError,
            "`options` must be `SegmentOptions`, got dict",
        ),
        (
            lambda image: image.everything(options=FindOptions()),
            ConfigError,
            "`options` must be `EverythingOptions`, got FindOptions",
        ),
    ],
)
def test_a_query_without_sense_is_refused_when_it_is_asked(ask, kind, part):
    """At the line that is wrong, and the batch is as it was."""
    batch = Batch()
    with pytest.raises(kind, match=part):
        ask(batch.image(IMAGE))
    assert len(batch) == 0
    assert batch.queries == []


@pytest.mark.parametrize("same", ["a/b.jpg", Path("a/b.jpg"), IMAGE, Image.new("L", (5, 3))])
def test_the_same_image_is_one_image(same):
    """By its path, or as the same object; another one that looks the same is not."""
    batch = Batch()
    assert batch.image(same) is batch.image(same)
    assert batch.image("./a/b.jpg") is batch.image(Path("a/b.jpg"))
    assert batch.image(IMAGE) is not batch.image(IMAGE.copy())


@pytest.mark.parametrize("image", [None, 7, [[1, 2]], b"photo.jpg"])
def test_what_is_no_image_is_refused(image):
    """By its kind."""
    with pytest.raises(ImageError, match=f"or an array, got {type(image).__name__}"):
        Batch().image(image)


def test_a_query_becomes_a_request():
    """Once the pixels are there; what was asked goes along."""
    batch = Batch()
    image = batch.image("later.jpg")
    image.find("cat", include=[(0, 0, 1, 1)], options=FindOptions(threshold=0.25))
    image.segment([POINT, POINT], options=SegmentOptions(logits=True))
    image.everything(options=EverythingOptions(detail="coarse"))
    find, segment, everything = (query.of(IMAGE) for query in batch.queries)
    assert isinstance(find, FindRequest)
    assert find.concepts == (Concept("cat", include=[(0, 0, 1, 1)]),)
    assert find.options.threshold == 0.25
    assert isinstance(segment, SegmentRequest)
    assert segment.prompts == (Prompt(points=POINT),) * 2
    assert segment.options.logits
    assert isinstance(everything, EverythingRequest)
    assert everything.options.detail == "coarse"


def test_a_batch_describes_itself():
    """By how much there is; an image that nothing is asked of counts too."""
    batch = Batch()
    batch.image(IMAGE).find("cat")
    batch.image("other.jpg")
    assert repr(batch) == "Batch(1 queries, 2 images)"


def test_ten_thousand_images_are_added_quickly():
    """The work for one does not grow with the others: a second is many times what it takes."""
    batch = Batch()
    begin = time.perf_counter()
    for number in range(10_000):
        batch.image(f"{number}.jpg").find("cat")
    assert time.perf_counter() - begin < 5
    assert len(batch) == len(batch.queries) == len(batch.images) == 10_000


@pytest.fixture
def answers():
    """One that was found, and one that failed."""
    none = Masks.empty((3, 5))
    return Answers({"good": none, "bad": ImageError("no such file", hint="Look for it")})


def test_answers_are_found_by_id(answers):
    """Each is masks, or the error that it failed with, raised when it is asked for."""
    assert len(answers["good"]) == 0
    with pytest.raises(ImageError, match="no such file"):
        answers["bad"]
    assert list(answers) == ["good", "bad"]
    assert len(answers) == 2
    assert "good" in answers
    assert "other" not in answers
    assert {name: str(error) for name, error in answers.errors.items()} == {"bad": "no such file"}
    assert repr(answers) == "Answers(2 queries, 1 failed)"
    assert repr(Answers({})) == "Answers(0 queries)"


@pytest.mark.parametrize("name", ["stale", 7, None, ["good"]])
def test_an_id_of_another_run_is_explained(answers, name):
    """It is a `KeyError`, without its quotes, so that `get` has its default."""
    with pytest.raises(QueryError) as caught:
        answers[name]
    assert isinstance(caught.value, KeyError)
    assert str(caught.value) == f"no query of this run has the id {name!r}"
    assert "after adding a query run it again" in caught.value.hint
    assert answers.get(name) is None
    assert answers.get(name, 7) == 7
