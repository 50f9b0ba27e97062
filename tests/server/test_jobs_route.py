"""Jobs over HTTP: asked, watched, fetched and dropped by their owner, and by nobody else."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
import time
from itertools import pairwise

import pytest
from starlette.testclient import TestClient
from telling import require_nothing_told

from fake_finder import FakeBoth
from fake_model import paint
from promptseg.errors import ConfigError, JobError
from promptseg.jobs.clerk import Clerk
from promptseg.jobs.ledger import UnknownJobError
from promptseg.jobs.queue import Queue
from promptseg.server import keys as file_of_keys
from promptseg.server.app import make_app
from promptseg.server.decoder import Child
from promptseg.server.keys import Keys
from promptseg.server.settings import ServerSettings

RED = {"verb": "find", "text": "red"}
ENDED = ("done", "failed", "cancelled")


@pytest.fixture
def photos(tmp_path):
    """A folder of seven photos, each with one red square."""
    folder = tmp_path / "photos"
    for number in range(7):
        paint(folder / f"{number}.png", ("red", number, 0, number + 4, 4))
    return folder


@pytest.fixture
def make_client(make_service, tmp_path, photos):
    """Make clients of a service that keeps jobs in a folder, and may read the photos."""
    made = []

    def make(*, is_working=True, **settings):
        chosen = {"jobs": str(tmp_path / "jobs"), "job_inputs": (str(photos),), **settings}
        service = make_service(**chosen)
        if is_working and service.jobs is not None:
            service.jobs.start()
        client = TestClient(make_app(service), raise_server_exceptions=False)
        client.__enter__()
        made.append(client)
        return client

    yield make
    for client in made:
        client.__exit__(None, None, None)


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no process can be stopped here")
def test_an_image_that_its_decoder_hangs_at_fails_alone(make_client, photos, monkeypatch):
    """Uploads and images of jobs are decoded in processes that may be killed."""
    poison = (photos / "3.png").read_bytes()
    decode = Child.decode

    def hangs_at_poison(child, data, size, *, side=0):
        if data == poison:
            os.kill(child.start().process.pid, signal.SIGSTOP)
        return decode(child, data, size, side=side)

    monkeypatch.setattr(Child, "decode", hangs_at_poison)
    client = make_client(decoders=1, decode_seconds=1.0)
    job = client.post("/v1/jobs", json=asked(photos)).json()["id"]
    status = ended(client, job)
    assert (status["images"]["done"], status["images"]["failed"]) == (6, 1)
    [failed] = [
        json.loads(line)
        for line in client.get(f"/v1/jobs/{job}/manifest").text.splitlines()
        if '"failed"' in line
    ]
    assert failed["image"].endswith("3.png")


def asked(photos, **more):
    return {"inputs": [str(photos)], "queries": [RED], **more}


def submitted(client, job, **details):
    answer = client.post("/v1/jobs", json=job, **details)
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


def ended(client, name, **details):
    """Wait until a job has ended, and all about it is written."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        said = client.get(f"/v1/jobs/{name}", **details).json()
        if said["is_reported"]:
            return said
        time.sleep(0.02)
    raise AssertionError(said)


def refused(answer, status):
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    require_nothing_told(answer.content, sent=answer.request.content.decode(errors="replace"))
    return error


def lines(answer):
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/jsonl"
    return [json.loads(line) for line in answer.text.splitlines()]


def test_a_job_is_taken_on_answered_and_dropped(make_client, photos):
    """Every image has its answer in their order, and files by their names; then nothing is left."""
    client = make_client()
    answer = client.post("/v1/jobs", json=asked(photos, formats=["png", "geojson"]))
    said = answer.json()
    name = said["id"]
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/jobs/{name}"
    assert said["job"]["inputs"] == [str(photos)]
    assert "within" not in said["job"]

    said = ended(client, name)
    assert said["state"] == "done"
    assert said["images"] == {
        "queued": 0, "running": 0, "done": 7, "failed": 0, "cancelled": 0, "total": 7
    }  # fmt: skip
    assert [each["id"] for each in client.get("/v1/jobs").json()["jobs"]] == [name]
    results = lines(client.get(f"/v1/jobs/{name}/results"))
    assert [line["image"] for line in results] == [f"{photos}/{number}.png" for number in range(7)]
    assert all(len(line["masks"]) == 1 for line in results)
    manifest = lines(client.get(f"/v1/jobs/{name}/manifest"))
    assert [line["state"] for line in manifest] == ["done"] * 7
    report = client.get(f"/v1/jobs/{name}/report")
    assert report.text == f"job {name}: done; images: 7 done\n"
    assert report.headers["content-type"].startswith("text/plain")
    files = manifest[3]["files"]
    assert len(files) == 2
    for file in files:
        answer = client.get(f"/v1/jobs/{name}/images/3/files/{file}")
        assert answer.status_code == 200
        assert answer.content.startswith(b"\x89PNG" if file.endswith("png") else b"{")
        refused(client.get(f"/v1/jobs/{name}/images/2/files/{file}"), 404)

    assert client.delete(f"/v1/jobs/{name}").status_code == 204
    refused(client.get(f"/v1/jobs/{name}"), 404)
    assert client.get("/v1/jobs").json() == {"jobs": []}
    assert not list((photos.parent / "jobs").rglob("*.jsonl"))


def test_a_job_is_watched(make_client, photos):
    """Its status comes when it changes, and at last as a result."""
    client = make_client()
    name = submitted(client, asked(photos))
    events = client.get(f"/v1/jobs/{name}/events")
    assert events.headers["content-type"].startswith("text/event-stream")
    told = [each.splitlines() for each in events.text.split("\n\n") if each.startswith("event")]
    kinds = [each[0] for each in told]
    said = [json.loads(each[1].removeprefix("data: ")) for each in told]
    assert kinds == ["event: progress"] * (len(told) - 1) + ["event: result"]
    assert said[-1] == client.get(f"/v1/jobs/{name}").json()
    assert said[-1]["is_reported"]
    assert all(one != other for one, other in pairwise(said))
    refused(client.get("/v1/jobs/nobody/events"), 404)


def test_who_watches_hears_when_the_service_ends(make_client, photos):
    """The stream ends without a result, so that it does not keep the process."""
    client = make_client(is_working=False)
    name = submitted(client, asked(photos))
    service = client.app.state.service
    ending = threading.Timer(0.5, lambda: setattr(service, "phase", "draining"))
    ending.start()
    events = client.get(f"/v1/jobs/{name}/events").text
    assert events.count("event: ") == events.count("event: progress") == 1


def test_a_job_is_cancelled_and_tried_again(make_client, photos):
    """What waits ends at once; tried again all of it is answered."""
    client = make_client(is_working=False)
    name = submitted(client, asked(photos))
    error = refused(client.delete(f"/v1/jobs/{name}"), 409)
    assert error["kind"] == "JobError"
    assert client.post(f"/v1/jobs/{name}/cancel").json()["state"] == "cancelled"
    assert client.post(f"/v1/jobs/{name}/retry").json()["state"] == "queued"
    client.app.state.service.jobs.start()
    assert ended(client, name)["images"]["done"] == 7


def test_one_key_is_one_job(make_client, photos):
    """Whether it comes in the body or as a header; for another job it is refused."""
    client = make_client(is_working=False, max_jobs=1)
    header = {"Idempotency-Key": "night 1"}
    name = submitted(client, asked(photos), headers=header)
    assert submitted(client, asked(photos), headers=header) == name
    assert submitted(client, asked(photos, key="night 1"), headers={"Idempotency-Key": "2"}) == name
    other = asked(photos, priority=3)
    assert refused(client.post("/v1/jobs", json=other, headers=header), 409)["kind"] == "JobError"
    long = {"Idempotency-Key": 201 * "a"}
    error = refused(client.post("/v1/jobs", json=asked(photos), headers=long), 422)
    assert error["message"].startswith("`Idempotency-Key` has at most 200 letters")
    assert error["field"] == "Idempotency-Key"


def test_a_long_list_of_jobs_is_written_in_pieces(make_client, photos):
    """All of what each asks is in it, and no piece is much longer than one of them."""
    client = make_client(is_working=False)
    inputs = [f"{photos}/{number}{4000 * 'a'}" for number in range(50)]
    names = [submitted(client, asked(photos, inputs=inputs)) for _ in range(3)]

    async def written():
        return [piece async for piece in await client.app.state.service.jobs.latest("", 1000)]

    pieces = asyncio.run(written())
    assert all(piece.count(b'"id"') <= 1 for piece in pieces)
    listed = client.get("/v1/jobs")
    assert listed.headers["content-type"] == "application/json"
    assert listed.json() == json.loads(b"".join(pieces))
    assert [each["id"] for each in listed.json()["jobs"]] == names[::-1]
    assert listed.json()["jobs"][2] == client.get(f"/v1/jobs/{names[0]}").json()
    assert len(client.get("/v1/jobs?limit=2").json()["jobs"]) == 2


def test_a_caller_has_so_many_jobs(make_client, photos):
    """One more is refused until one has ended; it counts again when it is tried again."""
    client = make_client(is_working=False, max_jobs=2)
    first, _ = submitted(client, asked(photos)), submitted(client, asked(photos))
    answer = client.post("/v1/jobs", json=asked(photos))
    assert "2 are allowed" in refused(answer, 429)["message"]
    assert answer.headers["retry-after"] == "60"
    client.post(f"/v1/jobs/{first}/cancel")
    submitted(client, asked(photos))
    refused(client.post(f"/v1/jobs/{first}/retry"), 429)


@pytest.mark.parametrize(
    ("wrong", "field", "words"),
    [
        ({"inputs": ["photos"]}, "inputs.0", "whole"),
        ({"inputs": ["/etc/*"]}, None, "may be read"),
        ({"inputs": ["PHOTOS/../../../etc"]}, None, "may be read"),
        ({"inputs": ["PHOTOS", "s3://bucket/a"]}, None, "may be read"),
        ({"inputs": ["https://example.org/a.png"]}, None, "nothing is fetched"),
        ({"inputs": []}, "inputs", "at least 1"),
        ({"inputs": ["PHOTOS/" + 4000 * "a"] * 300}, None, "at most 1048576 bytes"),
        ({"within": ["/"]}, "within", "no `within`"),
        ({"queries": [{"verb": "segment", "mask": "a.png"}]}, "queries.0.mask", "whole"),
        ({"queries": [{"verb": "segment", "mask": "/etc/a.png"}]}, None, "may be read"),
        ({"queries": [{"verb": "look"}]}, None, "`verb` is one of"),
        ({"queries": [RED] * 5}, "queries", "at most 4"),
        ({"formats": ["sheet"]}, None, "no `sheet`"),
        ({"model": "another"}, None, "no worker has"),
        ({"webhook": "https://example.org"}, None, "not allowed"),
        ({"attempts": 0}, "attempts", "at least 1"),
        ({"seconds": 0}, "seconds", "is above 0, got 0"),
    ],
)
def test_what_makes_no_sense_is_refused(make_client, photos, wrong, field, words):
    """With a sentence, and what part of the body it is about where one alone is."""
    client = make_client(max_queries=4)
    said = json.loads(json.dumps(asked(photos, **wrong)).replace("PHOTOS", str(photos)))
    error = refused(client.post("/v1/jobs", json=said), 422)
    assert words in error["message"], error
    assert error["field"] == field
    assert client.get("/v1/jobs").json() == {"jobs": []}


def test_nothing_is_read_where_nothing_is_allowed(make_client, photos):
    """The hint is for who runs the service."""
    error = refused(make_client(job_inputs=()).post("/v1/jobs", json=asked(photos)), 422)
    assert "--job-inputs" in error["hint"]


def test_files_that_lead_elsewhere_are_not_read(make_client, photos, tmp_path):
    """Links, patterns through links, and lines and masks of a file of queries."""
    outside = paint(tmp_path / "outside" / "secret.png", ("red", 0, 0, 4, 4))
    (photos / "link.png").symlink_to(outside)
    (photos / "folder").symlink_to(outside.parent)
    segment = {"verb": "segment", "points": [[1, 1]]}
    said = [
        {"image": "0.png", "queries": [RED]},
        {"image": "../outside/secret.png", "queries": [RED]},
        {"image": str(outside), "queries": [RED]},
        {"image": "link.png", "queries": [RED]},
        {"image": "1.png", "queries": [{**segment, "mask": "../outside/secret.png"}]},
    ]
    (photos / "asked.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in said))
    client = make_client()
    inputs = [f"{photos}/asked.jsonl", f"{photos}/*.png", f"{photos}/*/*.png"]
    name = submitted(client, {"inputs": inputs, "queries": [RED]})
    said = ended(client, name)
    assert said["images"]["done"] == said["images"]["total"] == 8
    assert len(said["problems"]) == 7, said["problems"]
    assert sum("may be read" in each for each in said["problems"]) == 6
    assert "secret.png" not in client.get(f"/v1/jobs/{name}/results").text
    refused(client.post("/v1/jobs", json=asked(photos / "folder")), 422)


def test_a_link_that_comes_later_is_not_read(make_client, photos, tmp_path):
    """What lies elsewhere when its turn comes fails, whatever it was before."""
    outside = paint(tmp_path / "outside" / "secret.png", ("red", 0, 0, 4, 4))
    client = make_client(is_working=False)
    jobs = client.app.state.service.jobs
    name = submitted(client, asked(photos))
    Clerk(jobs._queue).step(threading.Event())
    (photos / "3.png").unlink()
    (photos / "3.png").symlink_to(outside)
    jobs.start()
    said = ended(client, name)
    assert (said["images"]["done"], said["images"]["failed"]) == (6, 1)
    assert "may be read" in client.get(f"/v1/jobs/{name}/report").text


def test_another_owners_job_is_not_there(make_client, photos, tmp_path):
    """Whatever is asked of it, the answer is that of a job that never was."""
    file = tmp_path / "keys.toml"
    anna, bert = (
        {"X-API-Key": file_of_keys.add(file, owner)[0], "X-Request-ID": "same"}
        for owner in ("anna", "bert")
    )
    client = make_client(keys=Keys(file))
    name = submitted(client, asked(photos), headers=anna)
    ended(client, name, headers=anna)
    never = "0" * len(name)
    for method, path in (
        ("GET", ""),
        ("GET", "/events"),
        ("GET", "/results"),
        ("GET", "/manifest"),
        ("GET", "/report"),
        ("GET", "/images/0/files/0.png"),
        ("POST", "/cancel"),
        ("POST", "/retry"),
        ("DELETE", ""),
    ):
        theirs = client.request(method, f"/v1/jobs/{name}{path}", headers=bert)
        nobodys = client.request(method, f"/v1/jobs/{never}{path}", headers=bert)
        assert theirs.status_code == nobodys.status_code == 404
        assert theirs.json()["error"]["message"] == nobodys.json()["error"]["message"]
    assert client.get("/v1/jobs", headers=bert).json() == {"jobs": []}
    assert client.get(f"/v1/jobs/{name}", headers=anna).json()["state"] == "done"
    assert client.get(f"/v1/jobs/{name}").status_code == 401


def test_a_service_without_jobs_says_so(make_client, photos):
    """Whatever is asked of them."""
    client = make_client(jobs=None)
    for method, path in (("POST", ""), ("GET", ""), ("GET", "/a"), ("DELETE", "/a")):
        error = refused(client.request(method, f"/v1/jobs{path}", json=asked(photos)), 404)
        assert error["message"] == "this service keeps no jobs"


def test_jobs_are_counted(make_client, photos):
    """By state, with the age of the one that waits longest, and failures of work on them."""
    client = make_client(is_working=False)
    submitted(client, asked(photos))
    time.sleep(0.05)
    client.post(f"/v1/jobs/{submitted(client, asked(photos))}/cancel")
    said = client.get("/metrics").text
    assert 'promptseg_jobs{state="queued"} 1.0' in said
    assert 'promptseg_jobs{state="cancelled"} 1.0' in said
    assert 'promptseg_job_images{state="done"} 0.0' in said
    oldest = float(said.split("\npromptseg_jobs_oldest_seconds ")[1].split()[0])
    assert 0.05 <= oldest < 30
    assert "promptseg_job_failures_total 0.0" in said


def test_a_place_of_jobs_that_is_gone_costs_only_jobs(make_client, photos, monkeypatch):
    """Callers are told to come again, without paths; counts of all else go on."""
    client = make_client(is_working=False)
    name = submitted(client, asked(photos))
    ledger = client.app.state.service.jobs._queue.ledger

    def fail(*_, **__):
        raise JobError("the jobs in `/data/jobs/jobs.sqlite` fail: disk I/O error")

    for method in ("submit", "status", "jobs"):
        monkeypatch.setattr(ledger, method, fail)
    for answer in (
        client.get("/v1/jobs"),
        client.get(f"/v1/jobs/{name}"),
        client.post("/v1/jobs", json=asked(photos)),
    ):
        assert refused(answer, 503)["kind"] == "OverloadedError"
        assert "sqlite" not in answer.text
        assert answer.headers["retry-after"] == "5"
    said = client.get("/metrics")
    assert said.status_code == 200
    assert "promptseg_jobs{" not in said.text
    assert "promptseg_ready 1.0" in said.text


def test_counts_do_not_wait_for_a_place_of_jobs_that_hangs(make_client, monkeypatch):
    """All else is told within a second or so."""
    client = make_client(is_working=False)
    ended = threading.Event()
    ledger = client.app.state.service.jobs._queue.ledger
    monkeypatch.setattr(ledger, "jobs", lambda: ended.wait(10) and [])
    began = time.monotonic()
    said = [client.get("/metrics").text for _ in range(2)]
    ended.set()
    assert time.monotonic() - began < 5
    assert all("promptseg_jobs{" not in each and "promptseg_ready 1.0" in each for each in said)


def test_failures_of_the_work_are_counted(make_client, photos, monkeypatch):
    """And it goes on once the ledger does."""
    client = make_client(is_working=False)
    jobs = client.app.state.service.jobs
    ledger = jobs._queue.ledger
    working = ledger.claim_listing
    monkeypatch.setattr(ledger, "claim_listing", lambda **_: (_ for _ in ()).throw(JobError("no")))
    jobs.start()
    name = submitted(client, asked(photos))
    until = time.monotonic() + 10
    while "promptseg_job_failures_total 0.0" in client.get("/metrics").text:
        assert time.monotonic() < until
        time.sleep(0.02)
    monkeypatch.setattr(ledger, "claim_listing", working)
    assert ended(client, name)["state"] == "done"


def test_a_job_that_is_forgotten_while_it_is_watched_ends_the_stream(make_client, photos):
    """With an error in place of a result."""
    client = make_client(is_working=False)
    name = submitted(client, asked(photos))
    ledger = client.app.state.service.jobs._queue.ledger

    def forget():
        ledger.cancel(name)
        ledger.forget(name)

    threading.Timer(0.3, forget).start()
    events = client.get(f"/v1/jobs/{name}/events").text
    assert '"kind":"JobError"' in events.rpartition("event: error")[2]
    with pytest.raises(UnknownJobError):
        ledger.status(name)


@pytest.mark.parametrize(("is_worked_on", "done"), [(None, 0), (True, 7), (False, 0)])
def test_a_redis_is_worked_on_where_that_is_said(
    make_client, photos, monkeypatch, is_worked_on, done
):
    """Without, the service lists and reports, and leaves images to workers."""
    monkeypatch.setattr(Queue, "of", _as_if_shared)
    monkeypatch.setattr(Queue, "wake", lambda _: None)
    client = make_client(work_on_jobs=is_worked_on)
    name = submitted(client, asked(photos, model="fake"))
    until = time.monotonic() + 10
    while not (said := client.get(f"/v1/jobs/{name}").json())["is_listed"]:
        assert time.monotonic() < until
    if done:
        said = ended(client, name)
    else:
        time.sleep(0.5)
        said = client.get(f"/v1/jobs/{name}").json()
    assert (said["images"]["done"], said["images"]["queued"]) == (done, 7 - done)
    # Some worker may have it.
    submitted(client, asked(photos, model="another"))


def _as_if_shared(settings):
    queue = Queue(settings.jobs)
    queue.is_shared = True
    return queue


def test_a_folder_is_left_to_workers_where_that_is_said(make_client, photos):
    """And then a job may name any model."""
    client = make_client(work_on_jobs=False)
    name = submitted(client, asked(photos, model="another"))
    time.sleep(0.5)
    assert client.get(f"/v1/jobs/{name}").json()["images"]["queued"] == 7


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"job_inputs": ("photos",)}, "whole paths"),
        ({"work_on_jobs": True}, "not said where"),
        ({"max_jobs": 0}, "max_jobs"),
    ],
)
def test_settings_of_jobs_that_make_no_sense_are_refused(wrong, words):
    """When the service is to start."""
    with pytest.raises(ConfigError, match=words):
        ServerSettings(**wrong)


def test_an_image_that_takes_too_long_is_given_up(make_client, photos):
    """It fails with its reason as often as may be tried, callers are answered, and others done."""
    network = Slow()
    client = make_client(network=network)
    paint(photos / "3.png", ("blue", 0, 0, 14, 14))
    name = submitted(client, asked(photos, item_seconds=0.7, attempts=1))
    said = ended(client, name)
    assert (said["images"]["done"], said["images"]["failed"]) == (6, 1)
    assert "`item_seconds`" in client.get(f"/v1/jobs/{name}/report").text


class Slow(FakeBoth):
    """Searches what is blue for longer than anybody waits."""

    def find(self, features, *details):
        if bool((features.grids[1][0, 2] > 0.5).all()):
            time.sleep(2)
        return super().find(features, *details)
