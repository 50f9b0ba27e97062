"""The words of the wire mean what was asked, and what is read of them is what was found."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import promptseg as ps
from promptseg.client import Limits, wire
from promptseg.client.batches import body_of, parts_of
from promptseg.formats.records import outcome_to_json
from promptseg.masks import RunLength
from promptseg.options import EverythingOptions, FindOptions, SegmentOptions, TidyOptions
from promptseg.server.batches import BatchBody
from promptseg.server.option_words import options_of
from promptseg.server.refusals import parse
from promptseg.server.schemas import EverythingQuery, FindQuery, SegmentQuery

NUMBERS = st.floats(-1e6, 1e6)
SHARES = st.floats(0, 1)
POINTS = st.lists(st.tuples(NUMBERS, NUMBERS, st.integers(0, 1)), min_size=1, max_size=4).map(
    lambda rows: ps.Points([row[:2] for row in rows], [row[2] for row in rows])
)
BOXES = st.tuples(NUMBERS, NUMBERS, st.floats(1, 99), st.floats(1, 99)).map(
    lambda edges: ps.Box(edges[0], edges[1], edges[0] + edges[2], edges[1] + edges[3])
)
HINTS = st.lists(st.booleans(), min_size=15, max_size=15).map(
    lambda pixels: ps.MaskHint(np.array(pixels).reshape(3, 5))
)
PROMPTS = st.builds(
    ps.Prompt,
    points=st.none() | POINTS,
    box=BOXES,
    hint=st.none() | HINTS,
)
TEXTS = st.text("abc äß狗 ", min_size=1, max_size=9).filter(str.strip)
CONCEPTS = st.builds(
    ps.Concept,
    TEXTS,
    include=st.lists(BOXES, max_size=2),
    exclude=st.lists(BOXES, max_size=2),
)
TIDY = st.builds(
    TidyOptions,
    min_score=SHARES,
    keep_best=st.booleans(),
    fill_holes=st.integers(0, 99),
    max_iou=st.none() | SHARES,
    overlap=st.sampled_from(["allow", "score", "area", "order"]),
)
SEGMENT_OPTIONS = st.builds(
    SegmentOptions, threshold=SHARES, all_candidates=st.booleans(), tidy=TIDY
)
FIND_OPTIONS = st.builds(
    FindOptions, threshold=SHARES, max_masks=st.none() | st.integers(1, 9), tidy=TIDY
)
EVERYTHING_OPTIONS = st.builds(
    EverythingOptions,
    detail=st.sampled_from(["coarse", "normal", "fine"]),
    points_per_side=st.none() | st.integers(1, 9),
    threshold=st.none() | SHARES,
    tidy=TIDY,
)
OPTIONS = SEGMENT_OPTIONS | FIND_OPTIONS | EVERYTHING_OPTIONS


def over_the_wire(words):
    return json.loads(wire.written(words))


@given(OPTIONS)
@settings(deadline=None)
def test_options_read_back_are_equal(options):
    """The fields that are said, and the defaults of the others, are the same record."""
    said = over_the_wire(wire.option_words(options))
    if "tidy" in said:
        said["tidy"] = TidyOptions(**said["tidy"])
    assert type(options)(**said) == options


def test_options_as_by_default_are_not_said():
    """Only what was chosen goes out, also of the record within."""
    for kind in (SegmentOptions, FindOptions, EverythingOptions):
        assert wire.option_words(kind()) == {}
    chosen = SegmentOptions(threshold=0.5, tidy=TidyOptions(smooth=2))
    assert wire.option_words(chosen) == {"threshold": 0.5, "tidy": {"smooth": 2}}


def test_numbers_of_numpy_are_numbers_of_json():
    """An option may be a number of numpy, as a loop over `linspace` gives it."""
    chosen = FindOptions(threshold=np.float32(0.25), max_masks=np.int64(3))
    assert over_the_wire(wire.option_words(chosen)) == {"threshold": 0.25, "max_masks": 3}


@given(PROMPTS)
@settings(deadline=None)
def test_a_prompt_read_back_is_equal(prompt):
    """Points, labels, boxes and hints arrive to the last bit."""
    said = over_the_wire(wire.prompt_words(prompt))
    read = ps.Prompt(
        points=ps.Points(said["points"], said["labels"]) if "points" in said else None,
        box=ps.Box(*said["box"]),
        hint=ps.MaskHint(RunLength.from_coco(said["hint"]).to_mask()) if "hint" in said else None,
    )
    assert read == prompt


@given(CONCEPTS)
@settings(deadline=None)
def test_a_concept_read_back_is_equal(concept):
    """A phrase and its examples arrive as they were."""
    [said] = over_the_wire(wire.find_words([concept], FindOptions()))["concepts"]
    assert ps.Concept(**said) == concept


def prompt_read(words):
    hint = None if words.hint is None else ps.MaskHint(words.hint.to_mask())
    box = None if words.box is None else ps.Box(*words.box)
    return ps.Prompt(points=words.as_points(), box=box, hint=hint)


@given(st.lists(PROMPTS, max_size=3), SEGMENT_OPTIONS)
@settings(deadline=None)
def test_the_service_reads_what_segment_was_asked(prompts, options):
    """The service's own reader makes of the words the prompts and options that they were."""
    words = wire.written(wire.segment_words(prompts, options))
    read = parse(SegmentQuery, words)
    assert [prompt_read(each) for _, each in read.each()] == prompts
    assert options_of(read, SegmentOptions) == options


@given(st.lists(CONCEPTS, max_size=3), FIND_OPTIONS)
@settings(deadline=None)
def test_the_service_reads_what_find_was_asked(concepts, options):
    """The same of concepts."""
    read = parse(FindQuery, wire.written(wire.find_words(concepts, options)))
    assert [each.as_concept() for _, each in read.each()] == concepts
    assert options_of(read, FindOptions) == options


@given(EVERYTHING_OPTIONS)
@settings(deadline=None)
def test_the_service_reads_how_everything_was_asked(options):
    """The same of a search for all regions."""
    read = parse(EverythingQuery, wire.written(wire.option_words(options)))
    assert options_of(read, EverythingOptions) == options


def test_the_service_reads_a_batch():
    """A request of a batch has its images as parts, and its queries in their verbs' words."""
    batch = ps.Batch()
    image = batch.image(np.zeros((3, 5, 3), np.uint8))
    image.segment([ps.Box(0, 0, 2, 2), ps.Points([(1, 1)])])
    image.find("red", include=[(0, 0, 1, 1)])
    image.everything(options=EverythingOptions(points_per_side=2))
    parts = list(parts_of(b"png", image.queries, Limits()))
    read = parse(BatchBody, body_of(parts).parts["batch"])
    [words] = read.images
    assert words.image == "image-0"
    assert [query.verb for query in words.queries] == ["segment", "find", "everything"]
    assert [query.id for query in words.queries] == ["0", "1", "2"]
    assert [each.as_concept() for _, each in words.queries[1].each()] == [
        ps.Concept("red", include=[(0, 0, 1, 1)])
    ]


@given(st.data())
@settings(deadline=None)
def test_masks_read_back_are_equal(data):
    """Every column that JSON keeps is as it was, and run lengths are exact."""
    count = data.draw(st.integers(1, 3))
    pixels = data.draw(st.lists(st.booleans(), min_size=15 * count, max_size=15 * count))
    scores = np.array(data.draw(st.lists(SHARES, min_size=count, max_size=count)), np.float32)
    stack = np.array(pixels).reshape(count, 3, 5)
    masks = ps.Masks.from_numpy(stack, scores=scores)
    read = wire.masks_of(over_the_wire(outcome_to_json(masks)))
    assert read.runs == masks.runs
    assert read.complete == masks.complete
    for name in ("scores", "objects", "candidates", "presence", "confident"):
        assert np.array_equal(getattr(read, name), getattr(masks, name))


@pytest.mark.parametrize(
    ("kind", "option"), [(SegmentOptions, {"logits": True}), (FindOptions, {"mask_size": "model"})]
)
def test_options_that_the_wire_has_not_are_refused(kind, option):
    """An option that no answer could honour is an error, not left out."""
    [name] = option
    assert name in {entry.name for entry in fields(kind)}
    with pytest.raises(ps.ConfigError, match=name):
        wire.check(kind(**option))


def test_a_hint_of_logits_is_refused():
    """Logits stay where the network is."""
    prompt = ps.Prompt(hint=ps.MaskHint(np.array([[0.5, -1.5]])))
    with pytest.raises(ps.PromptError, match="logits"):
        wire.check(SegmentOptions(), [prompt])
    wire.check(SegmentOptions(), [ps.Prompt(hint=ps.MaskHint(np.array([[True, False]])))])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
RECORD = outcome_to_json(ps.Masks.from_numpy(np.ones((1, 2, 3), bool)))


@given(st.data(), JSON)
@settings(deadline=None)
def test_an_answer_with_anything_in_it_is_masks_or_nonsense(data, odd):
    """One value of a good answer, replaced by any JSON, is read or refused, never more."""
    said = json.loads(json.dumps(RECORD))
    place = data.draw(
        st.sampled_from([said, said["size"], said["masks"][0], said["masks"][0]["rle"]])
    )
    place[data.draw(st.sampled_from(sorted(place)))] = odd
    with suppress(ps.ServiceError):
        assert isinstance(wire.masks_of(said), ps.Masks)


@given(JSON)
@settings(deadline=None)
def test_any_json_is_an_error_or_tells_of_none(odd):
    """What is no error is none, and progress that is none is nonsense."""
    for said in ({"error": odd}, {"error": {"kind": odd, "message": odd, "hint": odd}}):
        error = wire.error_of(said)
        assert error is None or isinstance(error, ps.PromptsegError)
    with pytest.raises(ps.ServiceError):
        wire.progress_of({"done": 1, "total": odd if not isinstance(odd, int) else None})
    with pytest.raises(ps.ServiceError):
        wire.models_of({"models": odd if not isinstance(odd, list) else None})
