"""Jobs worked on in this process: what comes of each image, whatever happens meanwhile."""

from __future__ import annotations

import json
import os
import threading
import time
from contextlib import suppress
from dataclasses import replace

import pytest

from fake_finder import FakeBoth
from fake_model import model_of, paint
from promptseg.errors import OutputError
from promptseg.jobs import answering, manifest
from promptseg.jobs import clerk as clerks
from promptseg.jobs.answering import Answerer
from promptseg.jobs.clerk import Clerk
from promptseg.jobs.job import Job, State
from promptseg.jobs.ledger import Outcome
from promptseg.jobs.listing import Problems, items
from promptseg.jobs.pipeline import Pace
from promptseg.jobs.queue import Queue
from promptseg.jobs.runner import Runner
from promptseg.jobs.work import Worker
from promptseg.prompts import Points

CLICK = {"verb": "segment", "id": "it", "points": [[5, 5]]}
NEVER = threading.Event()
SOON = 20.0
RED = ("red", 2, 2, 9, 9)


@pytest.fixture
def queue(tmp_path):
    with Queue(str(tmp_path / "jobs")) as opened:
        yield opened


@pytest.fixture
def answerer():
    return replace(Answerer.of(model_of(FakeBoth()), max_pixels=10**6), pace=Pace(group=2))


def photos(folder, count):
    """Paint so many pictures, all different."""
    for number in range(count):
        paint(folder / f"{number:03}.png", RED, height=20 + number, width=24)
    return str(folder)


def listed(queue):
    """List all jobs that wait for it."""
    clerk = Clerk(queue)
    while clerk.step(NEVER):
        pass


def entries(queue, job):
    return {
        entry.item.image.rpartition("/")[2]: entry.outcome for entry in queue.ledger.entries(job)
    }


def lines(queue, outcome):
    return [json.loads(line) for line in queue.store.read(outcome.result).splitlines()]


def test_every_image_of_a_job_is_answered_and_reported(queue, answerer, tmp_path):
    job = queue.submit(Job(inputs=(photos(tmp_path / "in", 7),), queries=(CLICK,)))
    listed(queue)
    assert Worker(queue, answerer).work(NEVER) == 7
    listed(queue)
    status = queue.ledger.status(job)
    assert (status.state, status.done, status.is_reported) == (State.DONE, 7, True)
    for name, outcome in entries(queue, job).items():
        [line] = lines(queue, outcome)
        assert line["id"] == "it"
        assert line["image"].endswith(name)
        assert line["size"] == {"height": 20 + int(name[:3]), "width": 24}
        assert len(line["masks"]) == 1
    manifest = queue.store.read(f"{job}/manifest.jsonl").splitlines()
    assert [json.loads(line)["state"] for line in manifest] == ["done"] * 7


def test_answers_are_those_of_the_library(queue, answerer, tmp_path):
    """The twin asks one image after the other, without any of this."""
    folder = tmp_path / "in"
    job = queue.submit(Job(inputs=(photos(folder, 5),), queries=(CLICK,)))
    listed(queue)
    Worker(queue, answerer).work(NEVER)
    model = model_of(FakeBoth())
    for name, outcome in entries(queue, job).items():
        [line] = lines(queue, outcome)
        masks = model.segment(folder / name, Points([(5, 5)]))
        assert [each["rle"] for each in line["masks"]] == [run.to_coco() for run in masks.runs]


def test_trouble_with_one_image_is_its_own(queue, answerer, tmp_path):
    folder = tmp_path / "in"
    photos(folder, 3)
    (folder / "001.png").write_bytes(b"no picture at all")
    (folder / "big.png").write_bytes(
        paint(tmp_path / "big.png", height=1100, width=1000).read_bytes()
    )
    job = queue.submit(Job(inputs=(str(folder),), queries=(CLICK,)))
    listed(queue)
    (folder / "002.png").unlink()
    Worker(queue, answerer).work(NEVER)
    found = entries(queue, job)
    assert found["000.png"].state is State.DONE
    for name, said in (("001.png", "image"), ("002.png", "no file"), ("big.png", "pixels")):
        assert found[name].state is State.FAILED
        assert said in " ".join(found[name].problems)
        assert lines(queue, found[name])[0]["error"]["message"] in found[name].problems
    assert queue.ledger.status(job).state is State.DONE


def test_trouble_with_one_query_leaves_the_others(queue, answerer, tmp_path):
    outside = {"verb": "segment", "id": "far", "points": [[5000, 5]]}
    job = queue.submit(Job(inputs=(photos(tmp_path / "in", 1),), queries=(CLICK, outside)))
    listed(queue)
    Worker(queue, answerer).work(NEVER)
    [outcome] = entries(queue, job).values()
    assert outcome.state is State.DONE
    assert "far" in outcome.problems[0]
    assert [("masks" in line, line["id"]) for line in lines(queue, outcome)] == [
        (True, "it"),
        (False, "far"),
    ]


def test_formats_are_files_by_the_names_of_images(queue, answerer, tmp_path):
    formats = ("png", "overlay", "labelme", "coco")
    job = queue.submit(Job(inputs=(photos(tmp_path / "in", 1),), queries=(CLICK,), formats=formats))
    listed(queue)
    Worker(queue, answerer).work(NEVER)
    [outcome] = entries(queue, job).values()
    assert set(outcome.files) == {"000.mask.png", "000.overlay.png", "000.json"}
    assert queue.store.read(outcome.files["000.overlay.png"]).startswith(b"\x89PNG")


def test_files_are_named_so_that_any_system_can_write_them(queue, answerer, tmp_path):
    """Whatever their images are called; one that fails would keep the others from being fetched."""
    names = ("12:30", "a\\b", "ü" * 120)
    for number, name in enumerate(names):
        paint(tmp_path / "x.png", RED, height=20 + number).rename(tmp_path / f"{name}.png")
    inputs = tuple(str(tmp_path / f"{name}.png") for name in names)
    job = queue.submit(Job(inputs=inputs, queries=(CLICK,), formats=("overlay",)))
    listed(queue)
    assert Worker(queue, answerer).work(NEVER) == 3
    fetched = manifest.fetch(queue.ledger, queue.store, job, tmp_path / "out")
    files = ["12_30.overlay.png", "a_b.overlay.png", f"{'ü' * 100}.overlay.png"]
    assert [path.name for path in fetched] == ["results.jsonl", *files, "report.txt"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_a_pipe_is_no_image(queue, answerer, tmp_path):
    """Whoever would wait for what it says would wait for ever."""
    os.mkfifo(tmp_path / "pipe.png")
    job = queue.submit(Job(inputs=(str(tmp_path / "pipe.png"),), queries=(CLICK,)))
    listed(queue)
    thread = threading.Thread(target=Worker(queue, answerer).work, args=[NEVER], daemon=True)
    thread.start()
    thread.join(SOON)
    assert "it is a pipe or a device" in entries(queue, job)["pipe.png"].problems[0]


def test_an_image_that_hangs_before_it_is_read_is_watched(queue, answerer, tmp_path, monkeypatch):
    """A disk may hang already as the header is looked at."""
    job = Job(inputs=(photos(tmp_path / "in", 1),), queries=(CLICK,), item_seconds=0.2)
    queue.submit(job)
    listed(queue)
    freed, until = threading.Event(), threading.Event()

    def hang():
        until.set()
        freed.set()

    monkeypatch.setattr(answering, "decoded_bytes", lambda path: int(not freed.wait(SOON)))
    Worker(queue, answerer, on_hang=hang).work(until)
    assert until.is_set()


def test_a_listing_is_held_while_nothing_is_found(queue, tmp_path, monkeypatch):
    """Else two that look through folders without images would take it from each other for ever."""
    begun, found = threading.Event(), threading.Event()

    def slowly(job, problems, *, beat):
        begun.set()
        found.wait(SOON)
        yield from ()

    monkeypatch.setattr(clerks, "items", slowly)
    job = queue.submit(Job(inputs=(str(tmp_path),), queries=(CLICK,)))
    thread = threading.Thread(target=Clerk(queue, lease=0.3).step, args=[NEVER])
    thread.start()
    assert begun.wait(SOON)
    until = time.monotonic() + 0.9
    while time.monotonic() < until:
        assert queue.ledger.claim_listing(seconds=60.0) is None
        time.sleep(0.05)
    found.set()
    thread.join(SOON)
    assert queue.ledger.status(job).is_listed


def test_a_report_that_cannot_be_written_keeps_no_other_job_waiting(
    queue, tmp_path, monkeypatch, caplog
):
    """It is tried again later."""
    first = queue.submit(Job(inputs=(photos(tmp_path / "in", 1),), queries=(CLICK,)))
    queue.ledger.cancel(first)
    second = queue.submit(Job(inputs=(str(tmp_path / "in"),), queries=(CLICK,)))
    write = manifest.write

    def writes_but_one(ledger, store, job):
        if job == first:
            raise ZeroDivisionError
        write(ledger, store, job)

    monkeypatch.setattr(manifest, "write", writes_but_one)
    clerk = Clerk(queue)
    with pytest.raises(ZeroDivisionError):
        clerk.step(NEVER)
    assert clerk.step(NEVER)
    assert queue.ledger.status(second).is_listed


def test_an_image_that_was_lost_changes_nothing(queue, answerer, tmp_path):
    """Its lease has run out while its worker stood still, and somebody else was quicker."""
    job = queue.submit(Job(inputs=(photos(tmp_path / "in", 2),), queries=(CLICK,)))
    listed(queue)
    ledger = queue.ledger
    stands_still = threading.Event()

    def slowly(batch):
        stands_still.set()
        time.sleep(1.0)
        yield from model_of(FakeBoth()).stream(batch)

    late = Worker(queue, replace(answerer, ask=slowly), lease=0.3)
    # What would hold its claims stands still too.
    ledger_extend, ledger.extend = ledger.extend, lambda claim, seconds: True
    thread = threading.Thread(target=late.work, args=[NEVER])
    thread.start()
    assert stands_still.wait(SOON)
    time.sleep(0.4)
    ledger.extend = ledger_extend
    taken = []
    while (claim := ledger.claim(most=5, seconds=60.0, model="fake")) is not None:
        for claimed in claim.items:
            outcome = Outcome(State.FAILED, problems=("by the other one",))
            taken.append(ledger.finish(claim, claimed.number, outcome))
    thread.join(SOON)
    assert taken == [True, True]
    assert {each.problems for each in entries(queue, job).values()} == {("by the other one",)}


def test_a_claim_is_held_as_long_as_its_worker_works(queue, answerer, tmp_path):
    job = queue.submit(Job(inputs=(photos(tmp_path / "in", 2),), queries=(CLICK,)))
    listed(queue)

    def slowly(batch):
        time.sleep(1.5)
        yield from model_of(FakeBoth()).stream(batch)

    worker = Worker(queue, replace(answerer, ask=slowly), lease=0.4)
    thread = threading.Thread(target=worker.work, args=[NEVER])
    thread.start()
    until = time.monotonic() + 1.2
    time.sleep(0.2)
    while time.monotonic() < until:
        assert queue.ledger.claim(most=1, seconds=1.0, model="fake") is None
        time.sleep(0.05)
    thread.join(SOON)
    assert queue.ledger.status(job).done == 2


def test_an_image_that_hangs_fails_with_its_reason_and_its_neighbours_do_not(
    queue, answerer, tmp_path
):
    """The worker's process would end; here it goes on, as one that is started again."""
    folder = photos(tmp_path / "in", 6)
    job = queue.submit(Job(inputs=(folder,), queries=(CLICK,), item_seconds=0.5, attempts=2))
    listed(queue)
    freed = threading.Event()
    model = model_of(FakeBoth())

    def hanging(batch):
        if any(len(each.image) == 23 for each in batch.images):
            freed.wait(SOON)
        yield from model.stream(batch)

    until = time.monotonic() + 30
    while queue.ledger.status(job).ended is None and time.monotonic() < until:
        freed.clear()
        ended = threading.Event()

        def end(ended=ended):
            ended.set()
            freed.set()

        Worker(queue, replace(answerer, ask=hanging), on_hang=end).work(ended)
        time.sleep(0.2)
    found = entries(queue, job)
    failed = {name for name, outcome in found.items() if outcome.state is State.FAILED}
    assert failed == {"003.png"}
    assert "longer than 0.5 s" in found["003.png"].problems[0]
    assert len(found) == 6


def test_a_full_disk_is_nobodys_fault(queue, answerer, tmp_path, monkeypatch):
    job = queue.submit(Job(inputs=(photos(tmp_path / "in", 4),), queries=(CLICK,)))
    listed(queue)

    def no_room(*_):
        raise OutputError("no room is left")

    with monkeypatch.context() as patched:
        patched.setattr(queue.store, "put", no_room)
        with pytest.raises(OutputError, match="no room"):
            Worker(queue, answerer).work(NEVER)
    status = queue.ledger.status(job)
    assert (status.queued, status.running, status.failed) == (4, 0, 0)
    assert Worker(queue, answerer).work(NEVER) == 4


@pytest.mark.parametrize("where", ["joined", "whole"])
def test_a_fault_that_nobody_expected_is_its_images_alone(
    queue, answerer, tmp_path, monkeypatch, where
):
    """Else the same image would be tried for ever."""
    job = queue.submit(Job(inputs=(photos(tmp_path / "in", 4),), queries=(CLICK,)))
    listed(queue)
    works, calls = getattr(answering, where), iter(range(100))

    def breaks_once(*given, **named):
        if next(calls) == 1:
            raise MemoryError if where == "whole" else ZeroDivisionError
        return works(*given, **named)

    monkeypatch.setattr(answering, where, breaks_once)
    assert Worker(queue, answerer).work(NEVER) == 4
    states = sorted(outcome.state.value for outcome in entries(queue, job).values())
    assert states == ["done", "done", "done", "failed"]


def test_an_image_that_breaks_its_worker_each_time_fails(queue, answerer, tmp_path):
    job = queue.submit(Job(inputs=(photos(tmp_path / "in", 5),), queries=(CLICK,), attempts=2))
    listed(queue)
    model = model_of(FakeBoth())

    def breaking(batch):
        if any(len(each.image) == 23 for each in batch.images):
            raise ZeroDivisionError
        yield from model.stream(batch)

    until = time.monotonic() + SOON
    while queue.ledger.status(job).ended is None and time.monotonic() < until:
        with suppress(ZeroDivisionError):
            Worker(queue, replace(answerer, ask=breaking)).work(NEVER)
        time.sleep(0.05)
    found = entries(queue, job)
    failed = {name: each for name, each in found.items() if each.state is State.FAILED}
    assert failed.keys() == {"003.png"}
    assert "failed unexpectedly" in failed["003.png"].problems[0]
    assert len(found) == 5


def test_work_that_is_stopped_is_given_back(queue, answerer, tmp_path):
    job = queue.submit(Job(inputs=(photos(tmp_path / "in", 40),), queries=(CLICK,)))
    listed(queue)
    until = threading.Event()
    model = model_of(FakeBoth())

    def stopping(batch):
        until.set()
        yield from model.stream(batch)

    ended = Worker(queue, replace(answerer, ask=stopping)).work(until)
    status = queue.ledger.status(job)
    assert 0 < status.done == ended < 20
    assert status.running == 0
    assert Worker(queue, answerer).work(NEVER) == 40 - ended


def test_a_runner_does_all_of_it_until_it_is_stopped(queue, answerer, tmp_path):
    told = []
    runner = Runner(queue, answerer, tell=lambda status, address: told.append(address))
    runner.start()
    job = queue.submit(
        Job(
            inputs=(photos(tmp_path / "in", 9), str(tmp_path / "nothing")),
            queries=(CLICK,),
            webhook="https://example.org/hook",
        )
    )
    until = time.monotonic() + SOON
    while not queue.ledger.status(job).is_reported and time.monotonic() < until:
        time.sleep(0.02)
    status = queue.ledger.status(job)
    assert (status.state, status.done, status.is_reported) == (State.DONE, 9, True)
    assert "nothing" in status.problems[0]
    assert told == ["https://example.org/hook"]
    assert runner.is_done()
    assert runner.stop(SOON)


def test_who_may_tell_nobody_says_so(queue, tmp_path, caplog):
    """The webhook of a job that was handed in where its host is allowed is not dropped unsaid."""
    for webhook in ("https://example.org/hook", None):
        queue.submit(Job(inputs=(str(tmp_path / "nothing"),), queries=(CLICK,), webhook=webhook))
    listed(queue)
    [said] = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert "nobody was told of the end" in said
    assert "webhook_hosts" in said


def test_old_jobs_are_forgotten_with_what_came_of_them(queue, answerer, tmp_path):
    job = queue.submit(
        Job(inputs=(photos(tmp_path / "in", 1),), queries=(CLICK,), keep_seconds=0.01)
    )
    listed(queue)
    Worker(queue, answerer).work(NEVER)
    clerk = Clerk(queue)
    time.sleep(0.05)
    while clerk.step(NEVER):
        pass
    assert queue.ledger.jobs() == []
    assert list(queue.store.names(job)) == []


@pytest.mark.parametrize("leave", ["stop", "cancel"])
def test_a_listing_that_finds_nothing_can_be_left(queue, tmp_path, monkeypatch, leave):
    """Thousands of patterns without an image take long, and other jobs wait meanwhile."""
    begun, until = threading.Event(), threading.Event()

    def for_ever(job, problems, *, beat):
        begun.set()
        while True:
            beat()
            time.sleep(0.01)
        yield

    monkeypatch.setattr(clerks, "items", for_ever)
    job = queue.submit(Job(inputs=(str(tmp_path),), queries=(CLICK,)))
    thread = threading.Thread(target=Clerk(queue, lease=0.3).step, args=[until])
    thread.start()
    assert begun.wait(SOON)
    if leave == "stop":
        until.set()
    else:
        queue.ledger.cancel(job)
    thread.join(SOON)
    assert not thread.is_alive()
    assert queue.ledger.status(job).problems == ()


def test_looking_for_images_beats_at_every_entry(tmp_path):
    photos(tmp_path / "in", 30)
    beats = []
    job = Job(inputs=(str(tmp_path / "in" / "none*"),) * 5, queries=(CLICK,))
    assert list(items(job, Problems(), beat=lambda: beats.append(1))) == []
    assert len(beats) >= 5 * 30


def test_a_file_of_more_bytes_than_any_image_is_not_read(queue, answerer, tmp_path):
    """It takes no room on the disk, and would take all memory."""
    folder = tmp_path / "in"
    photos(folder, 1)
    with (folder / "huge.jpg").open("wb") as file:
        file.truncate(10**11)
    job = queue.submit(Job(inputs=(str(folder),), queries=(CLICK,)))
    listed(queue)
    Worker(queue, answerer).work(NEVER)
    found = entries(queue, job)
    assert found["000.png"].state is State.DONE
    assert "bytes" in found["huge.jpg"].problems[0]
