"""The client has jobs made, watched, fetched and dropped, and knows a status when it sees one."""

from __future__ import annotations

import json
import threading

import pytest
from served import serving
from stand_in import reply, standing_in, stream

from fake_model import paint
from promptseg.client import Client
from promptseg.client import jobs as module
from promptseg.errors import ImageError, JobError, OverloadedError, ServiceError
from promptseg.io import images

RED = {"verb": "find", "text": "red"}
STATUS = {
    "id": "a1",
    "state": "running",
    "is_listed": True,
    "is_reported": False,
    "images": {"queued": 1, "running": 1, "done": 2, "failed": 0, "cancelled": 0, "total": 4},
    "submitted": 1.5,
    "started": 2,
    "ended": None,
    "problems": ["no image matches `a`"],
    "job": {"inputs": ["a"], "queries": []},
}


@pytest.fixture
def photos(tmp_path):
    """Three photos and what is none."""
    folder = tmp_path / "photos"
    for number in range(3):
        paint(folder / f"{number}.png", ("red", number, 0, number + 4, 4))
    (folder / "3.png").write_bytes(b"nothing")
    return folder


@pytest.fixture
def served(tmp_path, photos):
    """A service that works on jobs about these photos, of which a caller may have two."""
    places = {"jobs": str(tmp_path / "jobs"), "job_inputs": (str(photos),)}
    with serving(**places, max_jobs=2) as served:
        yield served


@pytest.fixture
def client(served):
    with Client(served.url, retries=0) as client:
        yield client


def test_a_job_is_what_the_model_would_find(client, served, photos):
    """Watched to its end, every image has the library's masks, or why it has none."""
    job = client.jobs.submit({"inputs": [str(photos)], "queries": [RED]})
    assert job.state in ("queued", "running")
    *told, last = client.jobs.watch(job.id)
    assert all(not each.is_reported for each in told)
    assert last == client.jobs.status(job.id)
    assert last.has_ended
    assert last.is_reported
    assert (last.images["done"], last.images["failed"], last.images["total"]) == (3, 1, 4)
    assert last.job["queries"] == [RED]
    answers = list(client.jobs.results(job.id))
    assert [each.image for each in answers] == [f"{photos}/{number}.png" for number in range(4)]
    for each in answers[:3]:
        assert each.verb == "find"
        assert each.outcome.runs == served.model.find(images.read(each.image), "red").runs
    assert isinstance(answers[3].outcome, ImageError)
    (photos / "3.png").write_bytes((photos / "0.png").read_bytes())
    assert client.jobs.retry(job.id).images["queued"] == 1
    *_, last = client.jobs.watch(job.id)
    assert last.images["done"] == 4
    client.jobs.forget(job.id)
    with pytest.raises(JobError, match="no such job"):
        client.jobs.status(job.id)


def test_a_job_is_cancelled(client, photos):
    """Its status says so at once."""
    job = client.jobs.submit({"inputs": [str(photos)], "queries": [RED] * 200, "attempts": 1})
    cancelled = client.jobs.cancel(job.id)
    assert cancelled.state in ("cancelled", "done", "failed")
    assert cancelled.has_ended


def test_one_key_makes_one_job(client, photos):
    """And for another job it is refused."""
    job = {"inputs": [str(photos)], "queries": [RED], "key": "a"}
    assert client.jobs.submit(job).id == client.jobs.submit(job).id
    with pytest.raises(JobError, match="another job"):
        client.jobs.submit({**job, "priority": 1})


def test_what_is_refused_is_an_error_of_the_library(client, photos, tmp_path):
    """With the service's sentence, or one's own where nothing needs to be sent."""
    with pytest.raises(JobError, match="may be read"):
        client.jobs.submit({"inputs": [str(tmp_path)], "queries": [RED]})
    with pytest.raises(JobError, match="object of JSON"):
        client.jobs.submit({"inputs": {photos}})
    for name in ("", "a/b", "../sessions", "a?b", 3):
        with pytest.raises(JobError, match="letters and digits"):
            client.jobs.status(name)
    with pytest.raises(JobError, match="no such job"):
        list(client.jobs.results("a"))


def test_one_job_too_many_is_not_waited_for(served, photos):
    """The service says a minute, which is longer than the client has."""
    job = {"inputs": [str(photos)], "queries": [RED]}
    jobs = served.service.jobs
    jobs.stop()
    with Client(served.url, timeout=30) as client:
        client.jobs.submit(job)
        client.jobs.submit(job)
        with pytest.raises(OverloadedError, match="2 are allowed"):
            client.jobs.submit(job)


def test_who_watches_comes_back_when_the_service_does(monkeypatch):
    """A stream that ends without a result is no end."""
    monkeypatch.setattr(module, "AGAIN_SECONDS", 0.01)
    done = {**STATUS, "state": "done", "is_reported": True, "ended": 3.5}
    with standing_in(stream(("progress", STATUS)), stream(("result", done))) as service:
        with Client(service.url) as client:
            first, last = client.jobs.watch("a1")
        assert [each.path for each in service.got] == ["/v1/jobs/a1/events"] * 2
    assert first.images["done"] == 2
    assert first.problems == ("no image matches `a`",)
    assert (last.state, last.ended, last.is_reported) == ("done", 3.5, True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": 3},
        {"id": "a/b"},
        {"images": []},
        {"started": "now"},
        {"job": None},
        {"is_listed": 1},
        {"problems": "none"},
    ],
)
def test_a_status_that_is_none_is_named_so(wrong):
    """In place of an error of Python's."""
    with (
        standing_in(reply(200, {**STATUS, **wrong})) as service,
        Client(service.url) as client,
        pytest.raises(ServiceError, match="how a job stands"),
    ):
        client.jobs.status("a1")


def test_lines_that_are_no_answers_are_named_so():
    """Those before are handed out."""
    error = {"kind": "ImageError", "message": "no", "hint": None}
    good = {"image": "a", "id": "b", "verb": "find", "key": "", "error": error}
    said = "".join(f"{json.dumps(each)}\n" for each in (good, {"image": 3})).encode()
    with standing_in(reply(200, said)) as service, Client(service.url) as client:
        answers = client.jobs.results("a1")
        assert isinstance(next(answers).outcome, ImageError)
        with pytest.raises(ServiceError, match="no answer to a query"):
            next(answers)


def test_results_that_break_off_are_an_error():
    """So that nobody takes a part for all."""
    whole = reply(200, b"x" * 1000)
    with (
        standing_in(whole[:-500]) as service,
        Client(service.url) as client,
        pytest.raises(ServiceError, match="broke off"),
    ):
        list(client.jobs.results("a1"))


def test_threads_share_jobs(client, photos):
    """Each gets what it asked for."""
    job = client.jobs.submit({"inputs": [str(photos)], "queries": [RED]})
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(list(client.jobs.watch(job.id))[-1]))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len({each.ended for each in found}) == 1
