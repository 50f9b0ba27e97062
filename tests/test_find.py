"""The public front of `find` and of batches, on a network whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import promptseg as ps
from fake_finder import FakeBoth, FakeFinder, painted
from fake_network import FakeNetwork
from promptseg.api import Model
from promptseg.engine.cache import FeatureCache
from promptseg.engine.runtime import Runtime
from promptseg.io import windows

# Red blobs of sixteen and eight pixels, scored 4/5 and 2/3, and a blue one, scored 6/7.
SCENE = painted(("red", 0, 0, 4, 4), ("red", 8, 0, 12, 2), ("blue", 0, 8, 6, 12))
RED, BLUE = (1, 1, 3, 3), (1, 9, 3, 11)
POINT = ps.Points([(2, 2)])
COARSE = ps.EverythingOptions(points_per_side=2)


def model_of(network, *, cache_bytes=2**20):
    """Put a network behind the front, on a CPU."""
    runtime = Runtime.choose("cpu", "float32")
    return Model("fake", network, runtime, cache=FeatureCache(cache_bytes))


@pytest.fixture
def network():
    """Finds and is clicked, counting its calls."""
    return FakeBoth()


@pytest.fixture
def model(network):
    """A model of it."""
    return model_of(network)


def test_one_phrase_and_a_list_of_one_are_the_same(model):
    """And so are a phrase and a concept of it."""
    masks = model.find(SCENE, "red")
    assert masks.areas.tolist() == [16, 8]
    for same in (["red"], ("red",), ps.Concept("red"), [ps.Concept("red")], "  red "):
        assert model.find(SCENE, same).runs == masks.runs


def test_examples_go_with_a_phrase_or_alone(model):
    """Included, excluded, and both."""
    assert model.find(SCENE, include=[BLUE]).labels.tolist() == ["example"]
    assert model.find(SCENE, include=ps.Box(*BLUE)).areas.tolist() == [24]
    assert model.find(SCENE, "red blue", exclude=np.array([RED])).areas.tolist() == [24]
    assert model.find(SCENE, "red", include=[BLUE]).labels.tolist() == ["red"] * 3
    assert model.find(SCENE, exclude=[RED]).areas.tolist() == [24]


def test_several_phrases_come_in_the_order_asked(model):
    """Labelled, best first within each."""
    masks = model.find(SCENE, ["red", "green", "blue"])
    assert masks.labels.tolist() == ["red", "red", "blue"]
    assert masks.areas.tolist() == [16, 8, 24]


def test_no_concepts_are_no_masks(model, network):
    """And no work."""
    assert len(model.find(SCENE, [])) == 0
    assert network.encoded == []


@pytest.mark.parametrize("kind", ["path", "text", "picture", "windows", "grey", "clear"])
def test_an_image_may_come_in_any_way(model, tmp_path, kind):
    """As a path, a picture or an array; what is grey or transparent is converted by the rules."""
    picture = Image.fromarray(SCENE)
    picture.save(tmp_path / "x.png")
    grey, clear = picture.convert("L"), picture.convert("RGBA")
    image = {
        "path": tmp_path / "x.png",
        "text": str(tmp_path / "x.png"),
        "picture": picture,
        "windows": windows.open_image(SCENE),
        "grey": grey,
        "clear": clear,
    }[kind]
    assert len(model.find(image, "red")) == (0 if kind == "grey" else 2)


def test_tensors_are_what_find_finds(model):
    """On the model's device, for one concept."""
    found = model.find_tensors(SCENE, "red", exclude=[BLUE])
    masks = model.find(SCENE, "red", exclude=[BLUE])
    assert found.masks.device == model.runtime.device
    np.testing.assert_array_equal(found.masks.numpy(), masks.to_numpy())
    np.testing.assert_array_equal(found.scores.numpy(), masks.scores)
    assert len(model.find_tensors(SCENE, "green", options=None).masks) == 0


@pytest.mark.parametrize(
    ("ask", "kind", "part"),
    [
        (lambda model: model.find(SCENE), ps.PromptError, "got neither"),
        (lambda model: model.find(SCENE, ""), ps.PromptError, "got an empty one"),
        (lambda model: model.find(SCENE, "red " * 400), ps.PromptError, "at most 1000 letters"),
        (lambda model: model.find(SCENE, "red\x07"), ps.PromptError, "no control characters"),
        (lambda model: model.find(SCENE, ["red", ""]), ps.PromptError, "^concept 1: a phrase"),
        (lambda model: model.find(SCENE, ["red", None]), ps.PromptError, "^concept 1: a concept"),
        (lambda model: model.find(SCENE, POINT), ps.PromptError, "examples, got Points"),
        (lambda model: model.find(SCENE, [POINT]), ps.PromptError, "examples, got Points"),
        (lambda model: model.find(SCENE, ps.Box(*RED)), ps.PromptError, "a box shows a thing"),
        (lambda model: model.find(SCENE, RED), ps.PromptError, "^concept 0: .* got int"),
        (lambda model: model.find(SCENE, 7), ps.PromptError, "got int"),
        (lambda model: model.find(SCENE, include=[(4, 1, 2, 3)]), ps.PromptError, "x0 < x1"),
        (lambda model: model.find(SCENE, include=RED), ps.PromptError, "4 numbers, got int"),
        (lambda model: model.find(SCENE, include=7), ps.PromptError, "list of boxes, got int"),
        (lambda model: model.find(SCENE, ["red"], include=7), ps.PromptError, "got int"),
        (
            lambda model: model.find(SCENE, exclude=[(20, 1, 22, 3)]),
            ps.PromptError,
            r"the box \(20, 1, 22, 3\) lies outside",
        ),
        (
            lambda model: model.find(SCENE, ["red"], include=[RED]),
            ps.PromptError,
            "examples of one concept",
        ),
        (
            lambda model: model.find(SCENE, ps.Concept("red"), exclude=[RED]),
            ps.PromptError,
            "has its own examples",
        ),
        (
            lambda model: model.find(SCENE, "red", options=ps.SegmentOptions()),
            ps.ConfigError,
            "`options` must be `FindOptions`, got SegmentOptions",
        ),
        (lambda model: model.find(SCENE, "red", tiling=64), ps.ConfigError, "Tiling"),
        (
            lambda model: model.find(SCENE, "red", tiling=ps.Tiling(), options={}),
            ps.ConfigError,
            "FindOptions",
        ),
        (lambda model: model.find("nothing.png", "red"), ps.ImageError, r"nothing\.png"),
        (lambda model: model.find(None, "red"), ps.ImageError, "NoneType"),
        (lambda model: model.find_tensors(SCENE), ps.PromptError, "got neither"),
        (lambda model: model.find_tensors(SCENE, ["red"]), ps.PromptError, "got list"),
        (
            lambda model: model.find_tensors(
                SCENE, "red", options=ps.FindOptions(tidy=ps.TidyOptions(smooth=1))
            ),
            ps.ConfigError,
            "tensors are not tidied",
        ),
        (lambda model: model.segment(SCENE, "cat"), ps.PromptError, "SAM 3 does"),
        (lambda model: model.segment(SCENE, ["cat"]), ps.PromptError, "SAM 3 does"),
        (lambda model: model.run(7), ps.PromptError, "a list of requests, got int"),
        (lambda model: model.run(["red"]), ps.PromptError, "a list of requests, got str"),
        (
            lambda model: model.run(ps.SegmentRequest.of(SCENE, POINT)),
            ps.PromptError,
            "a list of requests, got SegmentRequest",
        ),
        (lambda model: model.stream([]), ps.ConfigError, "`batch` must be `Batch`, got list"),
    ],
)
def test_bad_input_is_one_sentence(model, ask, kind, part):
    """What is wrong, and what came; at the line that is wrong."""
    with pytest.raises(kind, match=part):
        ask(model)


def test_a_model_that_only_finds_says_so():
    """`segment`, `everything` and sessions are refused with what to do."""
    model = model_of(FakeFinder())
    assert len(model.find(SCENE, "red")) == 2
    for ask in (
        lambda: model.segment(SCENE, POINT),
        lambda: model.everything(SCENE),
        lambda: model.session(SCENE),
        lambda: model.answer(model.encode(SCENE), [ps.Prompt(points=POINT)]),
    ):
        with pytest.raises(ps.PromptError, match="answers no points or boxes") as caught:
            ask()
        assert caught.value.hint


def test_a_model_without_words_says_so():
    """However `find` is asked."""
    model = model_of(FakeNetwork())
    tiling = ps.Tiling(side=8)
    for ask in (
        lambda: model.find(SCENE, "red"),
        lambda: model.find(SCENE, include=[RED]),
        lambda: model.find(SCENE, []),
        lambda: model.find(SCENE, "red", tiling=tiling),
        lambda: model.find_tensors(SCENE, "red"),
    ):
        with pytest.raises(ps.PromptError, match="this model knows no words") as caught:
            ask()
        assert "`sam3`" in caught.value.hint


def test_a_list_of_mixed_requests_is_answered_in_order(model):
    """The first error that is met is raised, with the number of its request."""
    find = ps.FindRequest.of(SCENE, ["red", "blue"])
    segment = ps.SegmentRequest.of(SCENE, POINT)
    everything = ps.EverythingRequest(SCENE, COARSE)
    found = model.run([everything, find, segment, find])
    assert [len(masks) for masks in found[1:]] == [3, 1, 3]
    refused = ps.FindRequest.of(SCENE, "one two three four five six seven")
    with pytest.raises(ps.PromptError, match=r"^request 1: a phrase has at most 6 words"):
        model.run([find, refused])
    with pytest.raises(ps.PromptError, match=r"^a phrase has at most 6 words"):
        model.run([refused])
    assert model.run([]) == []


def test_a_batch_is_answered_by_id(model, network, tmp_path):
    """Images of any size and kind, queries of any verb; equal to each asked by itself."""
    wide = painted(("red", 2, 0, 20, 6), height=17, width=29)
    path = tmp_path / "wide.png"
    Image.fromarray(wide).save(path)
    batch = ps.Batch()
    first, second = batch.image(SCENE), batch.image(path)
    ids = [
        first.find("red"),
        second.segment([POINT, ps.Box(2, 0, 20, 6)]),
        first.everything(options=COARSE),
        second.find("red", exclude=[(3, 1, 5, 3)]),
        batch.image(str(path)).find("red", options=ps.FindOptions(max_masks=1)),
    ]
    answers = model.run(batch)
    assert network.encoded == [1, 1]
    expected = [
        model.find(SCENE, "red"),
        model.segment(wide, [POINT, ps.Box(2, 0, 20, 6)]),
        model.everything(SCENE, options=COARSE),
        model.find(wide, "red", exclude=[(3, 1, 5, 3)]),
        model.find(wide, "red", options=ps.FindOptions(max_masks=1)),
    ]
    assert [answers[name].runs for name in ids] == [masks.runs for masks in expected]
    assert [answers[name].scores.tolist() for name in ids] == [
        masks.scores.tolist() for masks in expected
    ]
    assert list(answers) == [query.id for query in batch.queries]
    assert repr(answers) == "Answers(5 queries)"


def test_a_batch_may_be_added_to_and_run_again(model, network):
    """New answers have all ids; those of before have only theirs, and say so."""
    batch = ps.Batch()
    red = batch.image(SCENE).find("red")
    before = model.run(batch)
    blue = batch.image(SCENE).find("blue")
    after = model.run(batch)
    assert len(after[red]) == 2
    assert len(after[blue]) == 1
    assert network.encoded == [1]
    with pytest.raises(ps.QueryError, match=f"no query of this run has the id '{blue}'"):
        before[blue]
    other = ps.Batch()
    stranger = other.image(SCENE).find("red")
    with pytest.raises(KeyError):
        after[stranger]


def test_what_is_added_meanwhile_is_for_the_next_run(model):
    """A stream answers what was asked when it began."""
    batch = ps.Batch()
    first = batch.image(SCENE).find("red")
    stream = model.stream(batch)
    batch.image(SCENE).find("blue")
    batch.image(SCENE.copy()).find("blue")
    assert [name for name, _ in stream] == [first]
    assert len(model.run(batch)) == 3


def test_an_empty_batch_has_no_answers(model, network):
    """Nor has an image that nothing is asked of; it is not looked at."""
    batch = ps.Batch()
    assert len(model.run(batch)) == 0
    batch.image("nothing.png")
    assert len(model.run(batch)) == 0
    assert network.encoded == []


def test_answers_come_before_the_next_image_is_read(model, network, tmp_path):
    """A few images at a time: on a CPU one for each core."""
    batch = ps.Batch()
    first = [batch.image(SCENE.copy()).find("red") for _ in range(model.usage().images)]
    second = batch.image(tmp_path / "later.png").find("red")
    stream = model.stream(batch)
    assert [next(stream).id for _ in first] == first
    Image.fromarray(SCENE).save(tmp_path / "later.png")
    name, outcome = next(stream)
    assert name == second
    assert len(outcome) == 2


def test_a_failed_image_fails_only_its_own_queries(model, tmp_path):
    """And a query that does not fit its image, or that is refused, only itself."""
    (tmp_path / "broken.png").write_bytes(b"no picture")
    batch = ps.Batch()
    missing, broken = batch.image(tmp_path / "missing.png"), batch.image(tmp_path / "broken.png")
    scene = batch.image(SCENE)
    lost = [missing.find("red"), missing.everything(), broken.segment(POINT)]
    outside = scene.find(include=[(20, 1, 22, 3)])
    long = scene.find("one two three four five six seven")
    away = scene.segment(ps.Points([(99, 1)]))
    good = [scene.find("red"), scene.segment(POINT), scene.find(exclude=[RED])]
    answers = model.run(batch)
    assert [len(answers[name]) for name in good] == [2, 1, 1]
    assert set(answers.errors) == {*lost, outside, long, away}
    for name in lost:
        with pytest.raises(ps.ImageError):
            answers[name]
    for name in (outside, long, away):
        with pytest.raises(ps.PromptError):
            answers[name]
    assert repr(answers) == "Answers(9 queries, 6 failed)"
    assert all(error.__traceback__ is None for error in model.run(batch).errors.values())


def test_usage_tells_of_concepts(model):
    """One at a time on a CPU."""
    assert model.usage().concepts == 1


def test_a_fault_in_a_batch_is_an_error_like_others(model, network, monkeypatch, caplog):
    """The answer raises a sentence, and the log has the fault; a call of one raises the fault."""

    def broken(features, detections, slots):
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr(network, "outline", broken)
    image = painted(("red", 0, 0, 6, 6))
    batch = ps.Batch()
    red = batch.image(image).find("red")
    answers = model.run(batch)
    assert str(answers.errors[red]) == "the query failed unexpectedly: ZeroDivisionError"
    assert "a fault" in caplog.text
    with pytest.raises(ZeroDivisionError):
        model.find(image, "red")
