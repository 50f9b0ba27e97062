"""A batch in requests that a service takes: nothing lost, nothing twice, nothing too large."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stand_in import reply, standing_in, stream

import promptseg as ps
from fake_finder import painted
from promptseg.client import Client, Limits
from promptseg.client.batches import Part, body_of, fit_together, halves, outcomes, parts_of
from promptseg.client.events import Event

IMAGE = painted(("red", 0, 0, 6, 6))
EMPTY = {"size": {"height": 14, "width": 14}, "complete": True, "masks": []}


def some_queries(count):
    image = ps.Batch().image(IMAGE)
    for number in range(count):
        image.segment(ps.Points([(number, number)]), id=f"q{number}")
    return image.queries


def refusal(status, kind, message="too many"):
    return reply(status, {"error": {"kind": kind, "message": message, "hint": None}})


@given(
    st.integers(1, 9), st.integers(1, 9), st.integers(1, 2000), st.binary(min_size=1, max_size=99)
)
@settings(deadline=None)
def test_parts_have_every_query_once_and_fit(count, most, least_bytes, image):
    """However little may be sent at a time, a part has one query at least, and no more than fit."""
    limits = Limits(queries=most, bytes=least_bytes)
    queries = some_queries(count)
    parts = list(parts_of(image, queries, limits))
    assert [name for part in parts for name in part.queries] == [query.id for query in queries]
    assert all(part.image == image for part in parts)
    assert all(len(part.queries) == 1 or fit_together([part], limits) for part in parts)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=5))
@settings(deadline=None)
def test_halves_have_every_query_once(counts):
    """Cut again and again, a request becomes one for each query, in order."""
    parts = [
        Part(bytes([place]), {f"{place}-{number}": {} for number in range(count)})
        for place, count in enumerate(counts)
    ]

    def cut(parts):
        return [name for half in halves(parts) for name in cut(half)] or [
            name for part in parts for name in part.queries
        ]

    assert cut(parts) == [name for part in parts for name in part.queries]


def test_a_part_is_no_longer_than_it_is_said_to_be():
    """The bytes that are counted are those that are sent, or more."""
    parts = list(parts_of(b"x" * 50, some_queries(7), Limits(queries=3)))
    body = body_of(parts)
    sent = len(body.parts["batch"]) + sum(map(len, body.files.values()))
    assert sent <= sum(part.length for part in parts)


def test_queries_go_by_numbers_and_answers_by_ids():
    """Ids of any text are not sent; answers in any order find theirs."""
    parts = list(parts_of(b"x", some_queries(2), Limits()))
    said = json.loads(body_of(parts).parts["batch"])
    assert [query["id"] for query in said["images"][0]["queries"]] == ["0", "1"]
    told = [Event("answer", json.dumps({"id": name, **EMPTY}).encode()) for name in ("1", "0")]
    assert [name for name, _ in outcomes(told, parts)] == ["q1", "q0"]


@pytest.mark.parametrize("names", [[], ["0"], ["0", "0"], ["0", "2"], ["0", None]])
def test_answers_that_miss_or_repeat_are_nonsense(names):
    """Each query has one answer."""
    parts = list(parts_of(b"x", some_queries(2), Limits()))
    told = [Event("answer", json.dumps({"id": name, **EMPTY}).encode()) for name in names]
    with pytest.raises(ps.ServiceError):
        list(outcomes([*told, Event("done", b"{}")], parts))


def test_a_batch_is_cut_by_images_and_queries():
    """With two images and three queries to a request, five images take three requests."""
    batch = ps.Batch()
    for _ in range(5):
        batch.image(IMAGE.copy()).segment(ps.Box(0, 0, 4, 4))
    two = stream(("answer", {"id": "0", **EMPTY}), ("answer", {"id": "1", **EMPTY}))
    one = stream(("answer", {"id": "0", **EMPTY}))
    limits = Limits(images=2, queries=3)
    with standing_in(two, two, one) as service, Client(service.url, limits=limits) as client:
        answers = client.run(batch)
    assert len(answers) == 5
    assert not answers.errors
    assert len(service.got) == 3


def test_a_refused_request_is_asked_in_halves():
    """A service of lower limits refuses both together, and answers each."""
    batch = ps.Batch()
    first, second = (batch.image(IMAGE.copy()).segment(ps.Box(0, 0, 4, 4)) for _ in range(2))
    one = stream(("answer", {"id": "0", **EMPTY}))
    sent = [refusal(422, "PromptError"), one, refusal(413, "ImageSizeError")]
    with standing_in(*sent) as service, Client(service.url) as client:
        answers = client.run(batch)
    assert len(answers[first]) == 0
    assert type(answers.errors[second]) is ps.ImageSizeError
    assert len(service.got) == 3


def test_a_service_that_fails_ends_the_run():
    """What is no fault of a query is raised, after the answers that came."""
    batch = ps.Batch()
    first, _ = (batch.image(IMAGE.copy()).segment(ps.Box(0, 0, 4, 4)) for _ in range(2))
    sent = stream(("answer", {"id": "0", **EMPTY}))
    with standing_in(sent) as service, Client(service.url) as client:
        answered = client.stream(batch)
        assert next(answered).id == first
        with pytest.raises(ps.ServiceError, match="before all"):
            next(answered)


def test_what_no_service_can_do_is_refused_before_anything_is_sent():
    """A query for logits anywhere in a batch ends it at once."""
    batch = ps.Batch()
    batch.image(IMAGE).everything()
    batch.image(IMAGE).segment(ps.Box(0, 0, 4, 4), options=ps.SegmentOptions(logits=True))
    with standing_in(b"") as service, Client(service.url) as client:
        with pytest.raises(ps.ConfigError, match="logits"):
            client.stream(batch)
        with pytest.raises(ps.ConfigError, match="Batch"):
            client.run([])
    assert service.got == []


def test_an_empty_batch_asks_nothing():
    """Without queries there is nothing to send, also where there are images."""
    batch = ps.Batch()
    batch.image(IMAGE)
    with Client("http://127.0.0.1:1") as client:
        assert len(client.run(batch)) == 0
