"""What came of a job: its manifest and report, and the files that people get of it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptseg.errors import ImageError, JobError, OutputError
from promptseg.formats import coco
from promptseg.formats.outcomes import Name, OutcomeLog, line_of
from promptseg.geometry import Size
from promptseg.jobs.job import Job, State
from promptseg.jobs.ledger import Item, Outcome
from promptseg.jobs.manifest import MANIFEST, REPORT, fetch, write
from promptseg.jobs.sqlite_ledger import SqliteLedger
from promptseg.jobs.store import Store
from promptseg.masks import RunLength
from promptseg.results import Masks

CAT = {"verb": "find", "text": "cat"}


@pytest.fixture
def ledger(tmp_path):
    ledger = SqliteLedger(tmp_path / "jobs.sqlite")
    yield ledger
    ledger.close()


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def masks(number):
    return Masks.of([RunLength(Size(3, 5), np.array([number, 2, 13 - number]))], size=Size(3, 5))


def answer(image, number=0):
    """The line of results of an image whose mask begins somewhere."""
    return line_of(Name(image, "find-1"), "find", "key", masks(number))


def job_of(ledger, images, problems=()):
    """A job whose images are known, and wait."""
    job = ledger.submit(Job(inputs=("photos",), queries=(CAT,)))
    listing = ledger.claim_listing(seconds=60)
    assert ledger.add(listing, [Item(image) for image in images], seconds=60)
    assert ledger.listed(listing, problems)
    return job


def end(ledger, job, outcomes):
    """End the first images of a job, in the opposite of their order."""
    claim = ledger.claim(most=len(outcomes), seconds=60, job=job)
    assert len(claim.items) == len(outcomes)
    for claimed, outcome in reversed(list(zip(claim.items, outcomes, strict=True))):
        assert ledger.finish(claim, claimed.number, outcome)


def done(store, job, image, number=0, **files):
    """The outcome of an image that has an answer, and files by names with `_` for dots."""
    stored = {
        name.replace("_", "."): store.put(job, content, "png") for name, content in files.items()
    }
    return Outcome(State.DONE, store.put(job, answer(image, number), "jsonl"), stored)


def said(store, job):
    return [json.loads(line) for line in store.read(f"{job}/{MANIFEST}").splitlines()]


def test_a_manifest_has_a_line_for_each_image_that_has_ended(ledger, store):
    """In the order of the inputs: its state, result, files and problems."""
    job = job_of(ledger, ["a.jpg", "b.jpg", "c.jpg"])
    first = done(store, job, "a.jpg", a_overlay_png=b"picture")
    end(ledger, job, [first, Outcome(State.FAILED, problems=("it is damaged",))])
    write(ledger, store, job)
    assert said(store, job) == [
        {
            "image": "a.jpg",
            "state": "done",
            "result": first.result,
            "files": {"a.overlay.png": first.files["a.overlay.png"]},
            "problems": [],
        },
        {
            "image": "b.jpg",
            "state": "failed",
            "result": None,
            "files": {},
            "problems": ["it is damaged"],
        },
    ]


def test_a_report_has_a_line_for_each_bad_input(ledger, store):
    """After one of numbers; a line is one line whatever a problem has in it."""
    job = job_of(ledger, ["a.jpg", "b.jpg", "c.jpg", "d.jpg"], ["input 2: there is no file `x`"])
    first = done(store, job, "a.jpg")._replace(problems=("query `cat`: no\nsuch",))
    end(ledger, job, [first, Outcome(State.FAILED, problems=("it is damaged",))])
    ledger.cancel(job)
    write(ledger, store, job)
    assert store.read(f"{job}/{REPORT}").decode().splitlines() == [
        f"job {job}: cancelled; images: 1 done, 1 failed, 2 cancelled",
        "input 2: there is no file `x`",
        "a.jpg: query `cat`: no such",
        "b.jpg: it is damaged",
    ]


def test_a_report_of_nothing_says_so(ledger, store):
    """A job whose inputs are all missing has no line but the problems."""
    job = job_of(ledger, [], ["input 1: there is no file `x`"])
    write(ledger, store, job)
    assert store.read(f"{job}/{REPORT}").decode().splitlines() == [
        f"job {job}: failed; images: none was found",
        "input 1: there is no file `x`",
    ]
    assert said(store, job) == []


def test_a_manifest_is_replaced_as_the_job_goes_on(ledger, store):
    """Each time with all that has ended."""
    job = job_of(ledger, ["a.jpg", "b.jpg"])
    write(ledger, store, job)
    assert said(store, job) == []
    assert b"2 not done yet" in store.read(f"{job}/{REPORT}")
    end(ledger, job, [done(store, job, image) for image in ("a.jpg", "b.jpg")])
    write(ledger, store, job)
    assert [line["image"] for line in said(store, job)] == ["a.jpg", "b.jpg"]


def test_answers_are_fetched_as_a_run_writes_them(ledger, store, tmp_path):
    """So that `promptseg run`'s readers read them; failed images have no line."""
    job = job_of(ledger, ["a.jpg", "b.jpg", "c.jpg"])
    outcomes = [done(store, job, "a.jpg", 1), Outcome(State.FAILED), done(store, job, "c.jpg", 2)]
    end(ledger, job, outcomes)
    results, report = fetch(ledger, store, job, tmp_path / "out")
    assert results == tmp_path / "out" / "results.jsonl"
    assert report.read_text().startswith(f"job {job}: done; images: 2 done, 1 failed")
    with OutcomeLog(tmp_path / "log.jsonl") as log:
        log.add(Name("a.jpg", "find-1"), "find", "key", masks(1))
        log.add(Name("c.jpg", "find-1"), "find", "key", masks(2))
    assert results.read_bytes() == (tmp_path / "log.jsonl").read_bytes()
    with OutcomeLog(results) as log:
        assert log.masks(Name("c.jpg", "find-1"), "key").runs == masks(2).runs


def test_files_are_fetched_by_their_names_for_people(ledger, store, tmp_path):
    """In folders where their names have some."""
    job = job_of(ledger, ["x/a.jpg", "x/b.jpg"])
    first = done(store, job, "x/a.jpg")
    first = first._replace(files={"x/a.png": store.put(job, b"one", "png")})
    end(ledger, job, [first, done(store, job, "x/b.jpg", b_png=b"two")])
    folder = tmp_path / "out"
    _, *files, _ = fetch(ledger, store, job, folder)
    assert files == [folder / "x" / "a.png", folder / "b.png"]
    assert (folder / "x" / "a.png").read_bytes() == b"one"
    assert (folder / "b.png").read_bytes() == b"two"


def test_files_of_one_name_are_told_apart_by_numbers(ledger, store, tmp_path):
    """Unless they are equal; fetched again they are where they were, and not written again."""
    images = ["x/a.jpg", "y/a.jpg", "z/a.jpg"]
    job = job_of(ledger, images)
    contents = (b"one", b"two", b"one")
    found = [
        done(store, job, image, a_mask_png=content)
        for image, content in zip(images, contents, strict=True)
    ]
    end(ledger, job, found)
    numbers = [entry.number for entry in ledger.entries(job)]
    folder = tmp_path / "out"
    files = ["a.mask.png", f"a-{numbers[1]}.mask.png", "a.mask.png"]
    names = ["results.jsonl", *files, "report.txt"]
    assert list(fetch(ledger, store, job, folder)) == [folder / name for name in names]
    before = {path: path.stat() for path in folder.iterdir()}
    assert list(fetch(ledger, store, job, folder)) == [folder / name for name in names]
    assert {path: path.stat() for path in folder.iterdir()} == before


@given(st.lists(st.sampled_from([b"one", b"two", b"three"]), min_size=1, max_size=6))
def test_fetching_goes_on_where_it_ended(tmp_path_factory, contents):
    """Whenever it was broken off, the folder has all in the end, each image its own content."""
    place = tmp_path_factory.mktemp("fetch")
    ledger, store = SqliteLedger(place / "jobs.sqlite"), Store(place / "store")
    job = job_of(ledger, [f"{i}/a.jpg" for i in range(len(contents))])
    found = [done(store, job, f"{i}", a_png=content) for i, content in enumerate(contents)]
    end(ledger, job, found)
    for stop in range(len(contents)):
        begun = fetch(ledger, store, job, place / "out")
        for _ in range(stop):
            next(begun)
        begun.close()
    _, *files, _ = fetch(ledger, store, job, place / "out")
    assert [file.read_bytes() for file in files] == contents
    ledger.close()


def test_fetching_again_brings_what_has_come_since(ledger, store, tmp_path):
    """Of a job that has not ended, and where what failed was tried again; the rest stays."""
    job = job_of(ledger, ["a.jpg", "b.jpg", "c.jpg"])
    failed = Outcome(State.FAILED, store.put(job, answer("b.jpg", 7), "jsonl"), {}, ("damaged",))
    end(ledger, job, [done(store, job, "a.jpg", a_png=b"one"), failed])
    folder = tmp_path / "out"
    list(fetch(ledger, store, job, folder))
    assert (folder / "results.jsonl").read_bytes() == answer("a.jpg") + answer("b.jpg", 7)
    assert (folder / "report.txt").read_text().endswith("1 not done yet\nb.jpg: damaged\n")
    before = (folder / "a.png").stat()
    ledger.retry(job)
    end(ledger, job, [done(store, job, "c.jpg", 3), done(store, job, "b.jpg", 2)][::-1])
    list(fetch(ledger, store, job, folder))
    lines = [answer("a.jpg"), answer("b.jpg", 2), answer("c.jpg", 3)]
    assert (folder / "results.jsonl").read_bytes() == b"".join(lines)
    assert (folder / "report.txt").read_text() == f"job {job}: done; images: 3 done\n"
    assert (folder / "a.png").stat() == before


def test_the_folder_of_another_run_is_not_written_to(ledger, store, tmp_path):
    """Be it a run's, another job's, or one in which nobody can tell."""
    job = job_of(ledger, ["a.jpg"])
    end(ledger, job, [done(store, job, "a.jpg", a_png=b"one")])
    list(fetch(ledger, store, job, tmp_path / "other"))
    for name, content, said in (
        ("results.jsonl", answer("a.jpg"), "is there, and is not of this job"),
        ("job.json", b'{"id": "other"}', "has what came of another job"),
        ("job.json", b"{", r"cannot read `.*job\.json`"),
    ):
        folder = tmp_path / "out"
        folder.mkdir()
        (folder / name).write_bytes(content)
        with pytest.raises(OutputError, match=said) as caught:
            list(fetch(ledger, store, job, folder))
        assert "another folder" in caught.value.hint
        assert [path.name for path in folder.iterdir()] == [name]
        assert (folder / name).read_bytes() == content
        (folder / name).unlink()
        folder.rmdir()


def test_a_file_that_is_in_the_way_is_said(ledger, store, tmp_path):
    """Where its number is taken as well, and where a folder has its name."""
    job = job_of(ledger, ["a.jpg"])
    end(ledger, job, [done(store, job, "a.jpg", a_png=b"one")])
    [entry] = ledger.entries(job)
    (tmp_path / "a.png").mkdir()
    (tmp_path / f"a-{entry.number}.png").write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"a\.png` is there, and is not that of this job"):
        list(fetch(ledger, store, job, tmp_path))
    assert (tmp_path / f"a-{entry.number}.png").read_bytes() == b"mine"
    (tmp_path / "results.jsonl").unlink()
    (tmp_path / "results.jsonl").mkdir()
    with pytest.raises(OutputError, match=r"cannot write `.*results\.jsonl`: it is a folder"):
        list(fetch(ledger, store, job, tmp_path))


def test_files_of_all_images_are_made_of_the_answers(ledger, store, tmp_path):
    """COCO and YOLO; images whose files have one name are told apart by their folders."""
    images = ["x/a.jpg", "y/a.jpg", "y/b.jpg", "y/broken.jpg"]
    asked = Job(inputs=("x",), queries=(CAT,), formats=("coco", "png", "yolo", "coco"))
    job = ledger.submit(asked)
    listing = ledger.claim_listing(seconds=60)
    assert ledger.add(listing, [Item(image) for image in images], seconds=60)
    assert ledger.listed(listing)
    error = line_of(Name("y/broken.jpg", "find-1"), "find", "", ImageError("damaged"))
    failed = Outcome(State.FAILED, store.put(job, error, "jsonl"))
    end(ledger, job, [*(done(store, job, image, i) for i, image in enumerate(images[:3])), failed])
    folder = tmp_path / "out"
    files = [path.relative_to(folder).as_posix() for path in fetch(ledger, store, job, folder)]
    labels = ["labels/x-a.txt", "labels/y-a.txt", "labels/b.txt"]
    assert files == ["results.jsonl", "coco.json", *labels, "data.yaml", "report.txt"]
    document = json.loads((folder / "coco.json").read_text())
    assert [each["file_name"] for each in document["images"]] == ["x/a.jpg", "y/a.jpg", "b.jpg"]
    for number, (_, found) in enumerate(coco.read(folder / "coco.json")):
        assert found.runs == masks(number).runs


@pytest.mark.parametrize(
    "name", ["../a.png", "/tmp/a.png", "x/../../a.png", "", ".", "C:a", "..\\a"]
)
def test_no_name_leads_out_of_the_folder(ledger, store, tmp_path, name):
    """Whoever wrote the ledger."""
    job = job_of(ledger, ["a.jpg"])
    stored = store.put(job, b"one", "png")
    end(ledger, job, [Outcome(State.DONE, None, {name: stored})])
    with pytest.raises(JobError, match="may lie outside of the folder"):
        list(fetch(ledger, store, job, tmp_path / "out"))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"job.json", "results.jsonl"}


def test_a_result_that_is_gone_is_said(ledger, store, tmp_path):
    """As of a job that was dropped meanwhile; no part of the answers is left."""
    job = job_of(ledger, ["a.jpg"])
    end(ledger, job, [done(store, job, "a.jpg")])
    store.forget(job)
    with pytest.raises(JobError, match="is not in the store"):
        list(fetch(ledger, store, job, tmp_path / "out"))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["job.json"]


def test_a_job_that_is_not_there_is_said(ledger, store, tmp_path):
    """Before a folder is made."""
    for do in (
        lambda: write(ledger, store, "none"),
        lambda: list(fetch(ledger, store, "none", tmp_path / "out")),
    ):
        with pytest.raises(JobError, match="there is no job `none`"):
            do()
    assert not (tmp_path / "out").exists()


def test_an_answer_that_is_an_error_is_a_line_too():
    """With its kind, its sentence and its hint."""
    line = json.loads(line_of(Name("a.jpg", "x"), "find", "", ImageError("gone", hint="look")))
    assert line["error"] == {"kind": "ImageError", "message": "gone", "hint": "look"}
