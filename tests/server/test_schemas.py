"""Bodies say what the library's records say, and nothing else."""

from __future__ import annotations

import base64
import json
from dataclasses import fields, is_dataclass, replace
from typing import get_args, get_type_hints

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from promptseg.errors import ConfigError
from promptseg.masks import RunLength
from promptseg.options import EverythingOptions, FindOptions, SegmentOptions, TidyOptions, help_of
from promptseg.prompts import Points
from promptseg.server.option_words import LEFT_OUT, WIDEST, bounds, options_of
from promptseg.server.refusals import MOST_MISTAKES, MOST_VALUES, FieldError, parse
from promptseg.server.schemas import (
    EverythingBody,
    EverythingQuery,
    FindBody,
    FindQuery,
    SegmentBody,
    SegmentQuery,
)
from promptseg.server.settings import ServerSettings

RECORDS = {
    SegmentQuery: (SegmentOptions, '{"box": [1, 2, 3, 4]}'),
    FindQuery: (FindOptions, '{"text": "cat"}'),
    EverythingQuery: (EverythingOptions, "{}"),
}
NUMBERS = [
    (record, entry.name)
    for record in (SegmentOptions, FindOptions, EverythingOptions, TidyOptions)
    for entry in fields(record)
    if {int, float}
    & {get_type_hints(record)[entry.name], *get_args(get_type_hints(record)[entry.name])}
]


@pytest.mark.parametrize("model", RECORDS)
def test_words_that_say_no_option_mean_the_record_as_it_is_by_default(model):
    """Defaults are the library's own."""
    record, least = RECORDS[model]

    assert options_of(parse(model, least), record) == record()


@pytest.mark.parametrize("model", RECORDS)
def test_the_schema_has_every_option_with_its_help_and_its_default(model):
    """What is documented is what the records say."""
    record, _ = RECORDS[model]
    properties = model.model_json_schema()["properties"]

    for entry in fields(record):
        assert (entry.name in properties) == (entry.name not in LEFT_OUT)
        if entry.name not in LEFT_OUT:
            assert properties[entry.name]["description"] == help_of(record, entry.name)
        if entry.name not in LEFT_OUT and not is_dataclass(get_type_hints(record)[entry.name]):
            assert properties[entry.name]["default"] == entry.default


@pytest.mark.parametrize(("record", "name"), NUMBERS)
def test_bounds_are_where_the_record_begins_to_refuse(record, name):
    """At a bound a record takes the number, and beyond it refuses."""
    least, most = bounds(record, name, get_type_hints(record)[name])

    for bound, beyond in ((least, -1), (most, 1)):
        if bound is not None:
            record(**{name: bound})
        if bound is not None and abs(bound) != WIDEST:
            with pytest.raises(ConfigError):
                record(**{name: bound + beyond})
            if float in {get_type_hints(record)[name], *get_args(get_type_hints(record)[name])}:
                with pytest.raises(ConfigError):
                    record(**{name: bound + beyond * 1e-9})


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "points_per_side": st.integers(1, 512),
            "crop_layers": st.integers(0, 4),
            "threshold": st.floats(0, 1),
            "detail": st.sampled_from(["coarse", "normal", "fine"]),
            "refine": st.booleans(),
            "tidy": st.fixed_dictionaries(
                {}, optional={"smooth": st.integers(0, 127), "max_iou": st.floats(0, 1)}
            ),
        },
    )
)
def test_options_are_those_that_were_said(said):
    """What goes out as JSON is the record that the same words make in Python."""
    made = options_of(parse(EverythingQuery, json.dumps(said)), EverythingOptions)

    tidy = TidyOptions(**said.get("tidy", {}))
    assert made == replace(EverythingOptions(**{**said, "tidy": tidy}))


@given(
    st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e6), st.sampled_from([0, 1])), min_size=1)
)
def test_points_are_those_that_were_said(said):
    """Points keep their places and their labels."""
    points = [[x, y] for x, y, _ in said]
    labels = [label for *_, label in said]

    words = parse(SegmentBody, json.dumps({"points": points, "labels": labels}))

    assert words.as_points() == Points(points, labels)


@pytest.mark.parametrize(
    ("model", "said", "field", "message"),
    [
        (SegmentBody, "{", None, "the body is not JSON that can be read"),
        (SegmentBody, "[]", None, "the body is an object, got a list of 0"),
        (SegmentBody, "[" * 5000, None, "the body is not JSON that can be read"),
        (SegmentBody, "{}", None, "an object needs points, a box or a hint, got none"),
        (SegmentBody, '{"points": "a"}', "points", '`points` is a list, got "a"'),
        (
            SegmentBody,
            '{"points": []}',
            "points",
            "`points` is a list of at least 1, got a list of 0",
        ),
        (
            SegmentBody,
            '{"points": [[1, true]]}',
            "points.0.1",
            "`points.0.1` is a number, got true",
        ),
        (SegmentBody, '{"points": [[1, "2"]]}', "points.0.1", '`points.0.1` is a number, got "2"'),
        (
            SegmentBody,
            '{"points": [[1, 1e999]]}',
            "points.0.1",
            "`points.0.1` is a finite number, got a huge number or none",
        ),
        (
            SegmentBody,
            '{"points": [[1, NaN]]}',
            "points.0.1",
            "`points.0.1` is a finite number, got a huge number or none",
        ),
        (SegmentBody, '{"points": [[1]]}', "points.0.1", "`points.0.1` is missing"),
        (
            SegmentBody,
            '{"points": [[1, 2]], "labels": [2]}',
            "labels.0",
            "`labels.0` is at most 1, got 2",
        ),
        (
            SegmentBody,
            '{"points": [[1, 2]], "labels": [1, 0]}',
            "labels",
            "1 points need 1 labels, got 2",
        ),
        (
            SegmentBody,
            '{"box": [0, 0, 5, 5], "labels": [1]}',
            "labels",
            "`labels` are those of `points`, which are missing",
        ),
        (
            SegmentBody,
            '{"box": [5, 0, 5, 5]}',
            "box",
            "a box needs x0 < x1 and y0 < y1, got (5, 0, 5, 5)",
        ),
        (
            SegmentBody,
            '{"box": [0, 0, 1, 1e300]}',
            "box.3",
            "`box.3` is at most 2147483647, got a huge number or none",
        ),
        (SegmentBody, '{"boxes": []}', "boxes", "there is no `boxes` here"),
        (
            SegmentBody,
            '{"box": [0, 0, 5, 5], "logits": true}',
            "logits",
            "there is no `logits` here",
        ),
        (
            SegmentBody,
            '{"box": [0, 0, 5, 5], "tidy": {"smooth": 128}}',
            "tidy.smooth",
            "`tidy.smooth` is at most 127, got 128",
        ),
        (
            SegmentBody,
            '{"box": [0, 0, 5, 5], "threshold": null}',
            "threshold",
            "`threshold` is a number, got null",
        ),
        (SegmentBody, '{"box": [0, 0, 5, 5], "image": "a"}', "image", "this is not base64"),
        (SegmentBody, '{"box": [0, 0, 5, 5], "image": ""}', "image", "the image is empty"),
        (
            SegmentBody,
            '{"objects": [{"box": [0, 0, 5, 5]}, {}]}',
            "objects.1",
            "an object needs points, a box or a hint, got none",
        ),
        (
            SegmentBody,
            '{"objects": [], "box": [0, 0, 5, 5]}',
            "objects",
            "`objects` says all of it, so there are no points, box or hint beside it",
        ),
        (
            SegmentBody,
            '{"objects": [{"points": [[1, 2]], "labels": []}]}',
            "objects.0.labels",
            "1 points need 1 labels, got 0",
        ),
        (
            SegmentBody,
            '{"hint": {"size": [2, 2], "counts": [3]}}',
            "hint",
            "run lengths that cannot be read: "
            "the runs of a mask of 2 x 2 (width x height) must sum to 4, got 3",
        ),
        (
            SegmentBody,
            '{"hint": {"size": [2, 2], "counts": [4], "a": 1}}',
            "hint",
            "run lengths have `size` and `counts`, no `a`",
        ),
        (FindBody, "{}", None, "a concept needs a phrase or example boxes, got neither"),
        (FindBody, '{"text": " "}', None, "a phrase needs a word at least, got an empty one"),
        (
            FindBody,
            '{"text": "a", "max_masks": 0}',
            "max_masks",
            "`max_masks` is at least 1, got 0",
        ),
        (
            FindBody,
            '{"text": "a", "mask_size": "model"}',
            "mask_size",
            "there is no `mask_size` here",
        ),
        (
            FindBody,
            '{"text": "a", "format": "jpg"}',
            "format",
            '`format` is one of rle, png, polygons or labels, got "jpg"',
        ),
        (
            FindBody,
            '{"text": "a", "concepts": []}',
            "concepts",
            "`concepts` says all of it, so there is no text, include or exclude beside it",
        ),
        (
            EverythingBody,
            '{"detail": 3}',
            "detail",
            "`detail` is one of coarse, normal or fine, got 3",
        ),
        (
            EverythingBody,
            '{"crop_layers": 1.5}',
            "crop_layers",
            "`crop_layers` is a whole number, got 1.5",
        ),
        (
            EverythingBody,
            '{"edge_margin": 4294967296}',
            "edge_margin",
            "`edge_margin` is at most 2147483647, got 4.29497e+09",
        ),
    ],
)
def test_what_makes_no_sense_is_said_in_one_sentence_that_names_the_field(
    model, said, field, message
):
    """A refusal says which part, what was wanted, and what there was."""
    with pytest.raises(FieldError) as raised:
        parse(model, said)

    assert (str(raised.value), raised.value.field or None) == (message, field)


def test_lists_are_as_long_as_the_settings_allow():
    """A setting bounds objects, concepts, points and boxes; without settings nothing does."""
    limits = ServerSettings(max_points=2, max_objects=1)
    two, three = {"points": [[1, 2]] * 2}, {"points": [[1, 2]] * 3}
    boxes = {"include": [[0, 0, 1, 1]] * 3}

    assert parse(SegmentBody, json.dumps(three))
    assert parse(SegmentBody, json.dumps(two), limits=limits)
    for model, said, field in (
        (SegmentBody, three, "points"),
        (SegmentBody, {"objects": [two, two]}, "objects"),
        (SegmentBody, {"objects": [three]}, "objects.0.points"),
        (FindBody, boxes, "include"),
        (FindBody, {"concepts": [{"text": "a"}, {"text": "b"}]}, "concepts"),
    ):
        with pytest.raises(
            FieldError, match=r"is a list of at most \d, got a list of \d"
        ) as raised:
            parse(model, json.dumps(said), limits=limits)
        assert raised.value.field == field


def test_an_image_is_the_same_with_and_without_what_a_data_address_puts_before_it():
    """The prefix says nothing that counts."""
    text = base64.b64encode(b"pixels").decode()

    for said in (text, f"data:image/png;base64,{text}"):
        assert parse(EverythingBody, json.dumps({"image": said})).image == b"pixels"


def test_a_hint_is_run_lengths_or_a_picture():
    """Run lengths come as COCO's string or as a list."""
    run = RunLength.from_mask(np.eye(3, dtype=bool))
    for counts in (run.to_coco()["counts"], run.counts.tolist()):
        hint = {"size": [3, 3], "counts": counts}
        assert parse(SegmentBody, json.dumps({"hint": hint})).hint == run
    text = base64.b64encode(b"png").decode()
    assert parse(SegmentBody, json.dumps({"hint": text})).hint == b"png"


@pytest.mark.parametrize(
    "said",
    [
        '{"points": [' + "1," * MOST_VALUES + "1]}",
        '{"points": [' + "[1,1]," * (MOST_VALUES // 3) + "[1,1]]}",
        '{"points": [' + ",".join(["[" * 99 + "]" * 99] * (MOST_VALUES // 99)) + "]}",
        '{"points": [' + "{}" + ",{}" * (MOST_VALUES // 2) + "]}",
    ],
)
def test_what_would_take_gigabytes_to_read_is_refused_unread(said):
    """Each value takes many times its bytes, and nothing else goes on while they are read."""
    with pytest.raises(FieldError, match="at most 262144 values"):
        parse(SegmentBody, said)


@pytest.mark.parametrize(
    ("said", "place"),
    [
        ('{"points": [1, 2]}', "points.0"),
        ('{"objects": [1, 2]}', "objects.0"),
        ('{"points": [[1, 1]], "labels": [1, "a", "b"]}', "labels.1"),
    ],
)
def test_a_list_is_read_up_to_what_is_wrong(said, place):
    """However many mistakes follow, there is one to tell of."""
    with pytest.raises(ValidationError) as raised:
        SegmentBody.model_validate_json(said)

    assert raised.value.error_count() == 1
    with pytest.raises(FieldError) as refused:
        parse(SegmentBody, said)
    assert refused.value.field == place


def test_a_body_of_mistakes_alone_is_refused_as_a_whole():
    """They are counted, as to describe each takes long."""
    unknown = {f"word{i}": i for i in range(MOST_MISTAKES)}

    with pytest.raises(FieldError, match="there is no `word0` here"):
        parse(EverythingBody, json.dumps(unknown))
    with pytest.raises(FieldError, match=f"the body has {MOST_MISTAKES + 1} mistakes"):
        parse(EverythingBody, json.dumps({**unknown, "more": 1}))


@pytest.mark.parametrize("said", ["3.0", "3e0", "3"])
def test_a_whole_number_is_one_however_it_is_written(said):
    """JSON has one kind of number, and so have its schemas."""
    body = EverythingQuery.model_validate_json(f'{{"points_per_side": {said}}}')
    assert type(body.points_per_side) is int
    assert body.points_per_side == 3


@pytest.mark.parametrize("said", ["3.5", "true", '"3"', "1e300", "1e999"])
def test_what_is_no_whole_number_is_refused(said):
    """Neither part of one, nor text, nor beyond all bounds."""
    with pytest.raises(FieldError, match=r"`points_per_side` is "):
        parse(EverythingQuery, f'{{"points_per_side": {said}}}')
