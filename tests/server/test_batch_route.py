from __future__ import annotations

import asyncio
import base64
import io
import json
import socket
import threading
import time
from contextlib import contextmanager

import httpx
import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from starlette.testclient import TestClient

import promptseg as ps
from fake_finder import FakeBoth, painted
from promptseg.engine.workers import AHEAD
from promptseg.errors import OverloadedError
from promptseg.formats.records import masks_from_json
from promptseg.requests import SegmentRequest
from promptseg.server import batches
from promptseg.server.app import make_app
from promptseg.server.batches import BatchBody, plan
from promptseg.server.drawing import State
from promptseg.server.guards import guarded
from promptseg.server.refusals import FieldError, parse

RED = painted(("red", 0, 0, 4, 4), ("red", 8, 8, 14, 14))
BLUE = painted(("blue", 2, 2, 8, 8))
# Every region that the network draws is good enough.
ALL = {"threshold": 0.0, "stability_threshold": 0.0}
STREAM = {"Accept": "text/event-stream"}


class Gated(FakeBoth):
    """Looks at pictures at once, and draws only once `may_go` is set; `begun` says that it would.

    The first `free` questions pass; a search begins `AHEAD` of them before one must be answered.
    """

    def __init__(self, free=0):
        super().__init__()
        self.free = free
        self.may_go, self.begun = threading.Event(), threading.Event()

    def decode(self, features, prompts):
        with self.lock:
            self.free -= 1
            is_free = self.free >= 0
        if not is_free:
            self.begun.set()
            assert self.may_go.wait(30)
        return super().decode(features, prompts)


def encoded(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def text(image):
    return base64.b64encode(encoded(image)).decode()


def point(x=1, y=1, **more):
    return {"verb": "segment", "points": [[x, y]], **more}


def asked(*images, **more):
    return {"images": list(images), **more}


def about(image, *queries, **more):
    return {"image": image, "queries": list(queries), **more}


@contextmanager
def served(service):
    """Answer at a real socket."""
    config = uvicorn.Config(guarded(make_app(service), service), log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{taken.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def until(true):
    """Wait for what comes soon."""
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def is_idle(service):
    load = service.scheduler.load()
    return load.waiting == load.working == 0


def events_of(lines):
    """Read events as they come."""
    name = None
    for line in lines:
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: "):
            yield name, json.loads(line[6:])


def test_a_mixed_batch_is_answered_in_the_order_asked(client, service):
    """Each answer is what the library gives for the same query, in its place, under its id."""
    said = asked(
        about(text(RED), {"verb": "find", "text": "red"}, point(id="corner"), id="reds"),
        about(text(RED), {"verb": "everything", "points_per_side": 2, **ALL}, point(3, 3)),
    )
    batch = ps.Batch()
    reds, again = batch.image(RED), batch.image(RED.copy())
    reds.find("red")
    reds.segment(ps.Points([(1, 1)]))
    again.everything(options=ps.EverythingOptions(points_per_side=2, **ALL))
    again.segment(ps.Points([(3, 3)]))

    response = client.post("/v1/batch", json=said)

    assert response.status_code == 200
    body = response.json()
    answers = body["answers"]
    assert [(each["image"], each["id"], each["verb"]) for each in answers] == [
        ("reds", "find-1", "find"),
        ("reds", "corner", "segment"),
        ("image-2", "everything-3", "everything"),
        ("image-2", "segment-4", "segment"),
    ]
    expected = service.model.run(batch)
    assert [masks_from_json(each).runs for each in answers] == [
        expected[query.id].runs for query in batch.queries
    ]
    assert all(len(each["masks"]) > 0 for each in answers)
    assert body["model"] == "fake"
    assert {"read", "total"} <= body["timings"].keys()
    assert all({"queue", "encode", "answer"} <= each["timings"].keys() for each in answers)
    assert "total" in response.headers["Server-Timing"]


def test_images_may_come_as_parts(client):
    """A form has the batch as JSON in one part, and an image in each part that it names."""
    said = asked(about("one", point()), about("two", point(3, 3)), about("one", point(9, 9)))
    files = {"one": ("1.png", encoded(RED)), "two": ("2.png", encoded(BLUE))}

    of_parts = client.post("/v1/batch", data={"batch": json.dumps(said)}, files=files)
    files["batch"] = ("batch.json", json.dumps(said), "application/json")
    of_files = client.post("/v1/batch", files=files)
    said["images"] = [
        {**each, "image": text(BLUE if each["image"] == "two" else RED)} for each in said["images"]
    ]
    of_json = client.post("/v1/batch", json=said)

    assert of_parts.status_code == of_files.status_code == 200
    masks = [
        [each["masks"] for each in response.json()["answers"]]
        for response in (of_parts, of_files, of_json)
    ]
    assert masks[0] == masks[1] == masks[2]
    assert len(masks[0]) == 3


def test_what_fails_fails_alone(client):
    """A damaged image, a point outside and a phrase too long have errors in place of masks."""
    said = asked(
        about(base64.b64encode(b"no image").decode(), point(id="a"), point(id="b")),
        about("not base64", point(id="c")),
        about(
            text(RED),
            point(999, 1, id="d"),
            point(id="e"),
            {"verb": "find", "text": "a b c d e f g", "id": "f"},
            {"verb": "segment", "hint": {"size": [1, 1], "counts": [1]}, "id": "g"},
        ),
        {"session": "nobody's", "queries": [point(id="h")]},
    )

    response = client.post("/v1/batch", json=said)

    assert response.status_code == 200
    answers = {each["id"]: each for each in response.json()["answers"]}
    assert list(answers) == list("abcdefgh")
    kinds = {name: each.get("error", {}).get("kind") for name, each in answers.items()}
    assert kinds == {
        "a": "ImageFormatError",
        "b": "ImageFormatError",
        "c": "PromptError",
        "d": "PromptError",
        "e": None,
        "f": "PromptError",
        "g": "PromptError",
        "h": "SessionError",
    }
    assert answers["c"]["error"]["field"] == "image"
    assert answers["d"]["error"]["field"] == "points"
    assert answers["g"]["error"]["field"] == "hint"
    assert len(answers["e"]["masks"]) == 1


def test_an_unexpected_failure_fails_alone_and_says_nothing(make_service, caplog):
    """What nobody expected is whole in the log, and constant for the caller."""

    class Broken(FakeBoth):
        def find(self, *_):
            raise RuntimeError("/secret/path")

    said = asked(about(text(RED), {"verb": "find", "text": "red"}, point()))
    with TestClient(make_app(make_service(Broken()))) as client:
        response = client.post("/v1/batch", json=said)

    failed, fine = response.json()["answers"]
    assert failed["error"]["kind"] == "InternalError"
    assert "secret" not in response.text
    assert "secret" in caplog.text
    assert len(fine["masks"]) == 1


QUERY = point()
MALFORMED = [
    ({}, "images"),
    ({"images": []}, "images"),
    (asked({"queries": [QUERY]}), "images.0"),
    (asked(about("aaaa")), "images.0.queries"),
    (asked(about("aaaa", QUERY, session="x")), "images.0"),
    (asked(about("aaaa", {"text": "cat"})), "images.0.queries.0.verb"),
    (asked(about("aaaa", {"verb": "track"})), "images.0.queries.0.verb"),
    (asked(about("aaaa", QUERY, 3)), "images.0.queries.1"),
    (asked(about("aaaa", {"verb": "find"})), "images.0.queries.0"),
    (asked(about("aaaa", {**QUERY, "text": "cat"})), "images.0.queries.0.text"),
    (asked(about("aaaa", {**QUERY, "threshold": 2})), "images.0.queries.0.threshold"),
    (asked(about("aaaa", {**QUERY, "id": ""})), "images.0.queries.0.id"),
    (asked(about("aaaa", {**QUERY, "id": 7})), "images.0.queries.0.id"),
    (asked(about("aaaa", QUERY), format="gif"), "format"),
    (asked(about("aaaa", point(id="x"), point(id="x"))), "images.0.queries.1.id"),
    (asked(about("aaaa", point(id="x")), about("bbbb", point(id="x"))), "images.1.queries.0.id"),
    (asked(about("aaaa", QUERY, id="x"), about("bbbb", QUERY, id="x")), "images.1.id"),
    (asked(*[about("aaaa", QUERY)] * 4), "images"),
    (asked(about("aaaa", *[QUERY] * 6)), "images.0.queries"),
    (asked(about("aaaa", *[QUERY] * 3), about("aaaa", *[QUERY] * 3)), "images"),
]


@pytest.mark.parametrize(("said", "where"), MALFORMED)
def test_a_malformed_batch_is_refused_whole(make_service, said, where):
    """What has no sense as a batch is one error that names the field, and nothing is asked."""
    network = FakeBoth()
    service = make_service(network, max_images=3, max_queries=5)
    with TestClient(make_app(service)) as client:
        response = client.post("/v1/batch", json=said)

    assert response.status_code == 422
    assert response.json()["error"]["field"] == where
    assert network.encoded == []


@pytest.mark.parametrize(
    ("batch", "files", "where"),
    [
        (asked(about("one", QUERY)), ["two"], "images.0.image"),
        (asked(about("one", QUERY)), ["one", "two"], "two"),
        (None, ["one"], "batch"),
        (asked(about("a" * 300, QUERY)), ["one"], "images.0.image"),
    ],
)
def test_parts_and_images_fit(client, batch, files, where):
    """Each image has its part, and each part its image; what does not fit is named."""
    sent = {name: (f"{name}.png", encoded(RED)) for name in files}
    data = {} if batch is None else {"batch": json.dumps(batch)}

    response = client.post("/v1/batch", data=data, files=sent)

    assert response.status_code == 422
    assert response.json()["error"]["field"] == where


def test_text_in_place_of_a_file_is_refused(client):
    """A part for an image that came as a field is told apart from a file."""
    form = {"batch": (None, json.dumps(asked(about("one", QUERY)))), "one": (None, "pixels")}

    response = client.post("/v1/batch", files=form)

    assert response.status_code == 422


def test_other_kinds_of_bodies_are_refused(client):
    """Neither JSON nor a form is 415, as everywhere."""
    assert client.post("/v1/batch", content=b"x").status_code == 415
    response = client.post("/v1/batch", content=b"x", headers={"Content-Type": "text/csv"})
    assert response.status_code == 415


def test_each_query_may_have_a_format_of_its_own(client):
    """The format of the batch is for those queries that do not say."""
    said = asked(about(text(RED), point(), point(format="rle")), format="polygons")

    first, second = client.post("/v1/batch", json=said).json()["answers"]

    assert "polygons" in first["masks"][0]
    assert "rle" in second["masks"][0]


def test_a_session_may_be_the_image(client, service):
    """Instead of an image a batch may name an open session, and asks about its image."""
    picture = client.portal.call(lambda: service.pictures.picture(encoded(BLUE), owner=""))
    session = service.sessions.open("", State(picture=picture))

    body = client.post("/v1/batch", json=asked({"session": session, "queries": [point(3, 3)]}))

    assert len(body.json()["answers"][0]["masks"]) == 1


@pytest.mark.parametrize(("waiting", "waiting_each"), [(4, 32), (32, 4), (1, 1)])
def test_a_large_batch_fits_a_small_queue(make_service, waiting, waiting_each):
    """200 queries pass a queue of 4, and of 1, and never fill more than half of a larger one."""
    service = make_service(waiting=waiting, waiting_each=waiting_each)
    most = max(min(waiting, waiting_each) // 2, 1)
    seen, submit = [], service.scheduler.submit

    def noticed(*args, **kwargs):
        load = service.scheduler.load()
        seen.append(load.waiting + load.working + 1)
        return submit(*args, **kwargs)

    service.scheduler.submit = noticed
    said = asked(*(about(text(RED), *[point(i, j) for j in range(10)]) for i in range(10)))
    said["images"] += said["images"]
    with TestClient(make_app(service)) as client:
        answers = client.post("/v1/batch", json=said).json()["answers"]

    assert [len(each["masks"]) for each in answers] == [1] * 200
    assert [each["id"] for each in answers] == [f"segment-{i}" for i in range(1, 201)]
    assert max(seen) <= most


def test_a_batch_waits_for_room(make_service):
    """Where others have filled the queue, a batch waits and is answered when there is room."""
    network = Gated()
    service = make_service(network, waiting=2)
    others = [
        service.scheduler.submit(SegmentRequest.of(RED, ps.Points([(1, 1)]))) for _ in range(2)
    ]
    assert network.begun.wait(30)
    submit, refused = service.scheduler.submit, threading.Event()

    def noticed(*args, **kwargs):
        try:
            return submit(*args, **kwargs)
        except OverloadedError:
            refused.set()
            network.may_go.set()
            raise

    service.scheduler.submit = noticed
    with TestClient(make_app(service)) as client:
        answers = client.post("/v1/batch", json=asked(about(text(BLUE), QUERY))).json()["answers"]

    assert refused.is_set()
    assert len(answers[0]["masks"]) == 1
    assert all(len(other.result(30).masks) == 1 for other in others)


def test_what_is_not_answered_in_time_says_so(make_service):
    """A batch ends when its time is over: what is known is there, the rest has an error."""
    network = Gated()
    service = make_service(network, max_seconds=0.3, waiting_each=2)
    said = asked(about(text(RED), {"verb": "find", "text": "red"}, *[QUERY] * 3))
    with TestClient(make_app(service)) as client:
        response = client.post("/v1/batch", json=said)
    network.may_go.set()

    assert response.status_code == 200
    found, *late = response.json()["answers"]
    assert len(found["masks"]) == 2
    assert [each["error"]["kind"] for each in late] == ["DeadlineError"] * 3


def test_few_images_are_open_at_a_time(make_service, monkeypatch):
    """However many images a batch has, few are decoded before the first are answered."""
    service = make_service()
    opened, answered, most = 0, set(), 0
    picture, answer_body = service.pictures.picture, batches.answer_body

    async def opening(*args, **kwargs):
        nonlocal opened, most
        opened += 1
        most = max(most, opened - len(answered))
        return await picture(*args, **kwargs)

    def answering(*args, **kwargs):
        answered.add(kwargs["id"])
        return answer_body(*args, **kwargs)

    monkeypatch.setattr(service.pictures, "picture", opening)
    monkeypatch.setattr(batches, "answer_body", answering)
    said = asked(*(about(text(painted(("red", i, i, i + 2, i + 2))), QUERY) for i in range(10)))
    with TestClient(make_app(service)) as client:
        assert len(client.post("/v1/batch", json=said).json()["answers"]) == 10

    assert most <= batches.IMAGES_AT_A_TIME


def test_each_answer_comes_as_soon_as_it_is_known(make_service):
    """A stream has what is known while the rest is still worked on, and at last says so."""
    network = Gated()
    service = make_service(network)
    said = asked(about(text(RED), point(id="slow"), {"verb": "find", "text": "red", "id": "quick"}))

    with (
        served(service) as address,
        httpx.stream("POST", f"{address}/v1/batch", json=said, headers=STREAM) as response,
    ):
        events = events_of(response.iter_lines())
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        name, first = next(events)
        assert (name, first["id"], len(first["masks"])) == ("answer", "quick", 2)
        network.may_go.set()
        name, second = next(events)
        assert (name, second["id"], len(second["masks"])) == ("answer", "slow", 1)
        [(name, done)] = events
        assert name == "done"
        assert done["model"] == "fake"
        assert "total" in done["timings"]


def test_a_stream_tells_what_fails_too(client):
    """In a stream a query that fails has an answer as well, with its error."""
    said = asked(about(text(RED), point(999, 1, id="bad"), point(id="good")))

    response = client.post("/v1/batch", json=said, headers=STREAM)

    *answers, (last, _) = events_of(response.text.splitlines())
    assert {body["id"]: "error" in body for _, body in answers} == {"bad": True, "good": False}
    assert last == "done"


def test_a_malformed_batch_has_a_status_also_where_a_stream_is_wanted(client):
    """What is refused before the stream begins is refused as anywhere."""
    response = client.post("/v1/batch", json={"images": []}, headers=STREAM)

    assert response.status_code == 422
    assert response.json()["error"]["field"] == "images"


@pytest.mark.parametrize("headers", [{}, STREAM])
def test_who_leaves_takes_all_of_a_batch_back(make_service, headers):
    """When the caller has gone, what waits is dropped, and the queue is free for others."""
    network = Gated()
    service = make_service(network, waiting_each=16)
    said = asked(*(about(text(RED), *[point(i, 1)] * 5) for i in range(10)))
    with served(service) as address:
        leaving = threading.Event()

        async def ask_and_leave():
            async with httpx.AsyncClient(timeout=30) as client:
                asking = asyncio.ensure_future(
                    client.post(f"{address}/v1/batch", json=said, headers=headers)
                )
                await asyncio.to_thread(network.begun.wait, 30)
                asking.cancel()
                leaving.set()
                await asyncio.wait({asking})

        asyncio.run(ask_and_leave())
        assert leaving.is_set()
        until(lambda: is_idle(service))
        asked_of = len(network.decoded)
        network.may_go.set()
        response = httpx.post(
            f"{address}/v1/segment", json={"image": text(BLUE), "points": [[3, 3]]}, timeout=30
        )
        assert response.status_code == 200
        # What was being worked on may have ended, and the one that was asked since.
        assert len(network.decoded) <= asked_of + 8 + 1


def test_a_search_tells_how_far_it_is_before_it_has_ended(make_service):
    """Progress comes while points are still being asked; then comes the same body as without it."""
    network = Gated(free=AHEAD + 8)
    service = make_service(network)
    said = {"image": text(RED), "points_per_side": 10, **ALL}
    with served(service) as address:
        url = f"{address}/v1/everything"
        with httpx.stream("POST", url, json=said, headers=STREAM, timeout=30) as response:
            events = events_of(response.iter_lines())
            name, first = next(events)
            assert name == "progress"
            assert first["total"] == 100
            assert 0 < first["done"] < 100
            network.may_go.set()
            *steps, (last, result) = events
        assert {name for name, _ in steps} <= {"progress"}
        told = [first["done"], *(step["done"] for _, step in steps)]
        assert told == sorted(set(told))
        assert last == "result"
        whole = httpx.post(url, json=said, timeout=30).json()

    assert result["masks"] == whole["masks"]
    assert result.keys() == whole.keys()
    assert len(whole["masks"]) > 0


def test_who_leaves_ends_a_search(make_service):
    """A search that nobody listens to is ended between two of its steps."""
    network = Gated(free=AHEAD + 8)
    service = make_service(network)
    said = {"image": text(RED), "points_per_side": 30}
    with served(service) as address:
        url = f"{address}/v1/everything"
        with httpx.stream("POST", url, json=said, headers=STREAM, timeout=30) as response:
            assert next(events_of(response.iter_lines()))[0] == "progress"
        until(lambda: is_idle(service))
        network.may_go.set()
        httpx.post(
            f"{address}/v1/segment", json={"image": text(BLUE), "points": [[3, 3]]}, timeout=30
        ).raise_for_status()

    assert len(network.decoded) < 100


def test_a_search_that_is_refused_has_a_status(make_service):
    """A stream that cannot begin is answered like any request: here the queue is full."""
    network = Gated()
    service = make_service(network, waiting=1)
    service.scheduler.submit(SegmentRequest.of(RED, ps.Points([(1, 1)])))
    with TestClient(make_app(service)) as client:
        response = client.post("/v1/everything", json={"image": text(RED)}, headers=STREAM)
    network.may_go.set()

    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) >= 1


def test_the_document_has_streams_and_the_form(client):
    """The document of the API says what a batch takes and that both routes can stream."""
    document = client.get("/openapi.json").json()

    batch = document["paths"]["/v1/batch"]["post"]
    assert set(batch["requestBody"]["content"]) == {"application/json", "multipart/form-data"}
    for path in ("/v1/batch", "/v1/everything"):
        content = document["paths"][path]["post"]["responses"]["200"]["content"]
        assert set(content) == {"application/json", "text/event-stream"}
    schemas = document["components"]["schemas"]
    assert schemas["BatchBody"]["properties"]["images"]["maxItems"] == 32
    assert schemas["BatchImage"]["properties"]["queries"]["maxItems"] == 256
    queries = schemas["BatchImage"]["properties"]["queries"]["items"]["oneOf"]
    assert len(queries) == 3
    assert "$defs" not in json.dumps(document)


NAMES = (
    st.none()
    | st.text("ab-123", min_size=1, max_size=3)
    | st.sampled_from(["segment-1", "segment-2", "segment-1-2", "image-1", "image-2"])
)


@given(st.lists(st.tuples(NAMES, st.lists(NAMES, min_size=1, max_size=4)), min_size=1, max_size=4))
def test_ids_are_those_given_or_new_and_none_is_there_twice(named):
    """Every image and query has an id of its own; one that is given twice is refused."""
    said = asked(
        *(
            about("aaaa", *(point(id=query) for query in queries), id=image)
            for image, queries in named
        )
    )
    images = [image for image, _ in named if image]
    queries = [query for _, some in named for query in some if query]
    body = parse(BatchBody, json.dumps(said))
    if len(set(images)) < len(images) or len(set(queries)) < len(queries):
        with pytest.raises(FieldError, match="is the id of two"):
            plan(body, max_queries=99)
        return

    subjects = plan(body, max_queries=99)

    every = [query for subject in subjects for query in subject.queries]
    assert len({query.id for query in every}) == len(every)
    assert [query.place for query in every] == list(range(len(every)))
    assert {query.id for query in every} >= set(queries)
    assert len({subject.queries[0].image for subject in subjects}) == len(named)
    for subject, (image, some) in zip(subjects, named, strict=True):
        assert image in (None, subject.queries[0].image)
        for query, name in zip(subject.queries, some, strict=True):
            assert name in (None, query.id)
            assert query.verb == query.words.verb == "segment"
