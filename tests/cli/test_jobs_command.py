"""`promptseg jobs`: submit, list, watch, fetch, cancel, retry, forget, on jobs in a folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fake_finder import FakeBoth
from fake_model import model_of, paint
from promptseg.cli import console, watching
from promptseg.cli.main import main
from promptseg.jobs.answering import Answerer
from promptseg.jobs.clerk import Clerk
from promptseg.jobs.job import Job, State
from promptseg.jobs.ledger import Outcome
from promptseg.jobs.queue import Queue
from promptseg.jobs.work import Worker

PROGRAM = [sys.executable, "-c", "from promptseg.cli.main import run; run()"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with two photos, whose jobs are in `kept`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PROMPTSEG_JOBS", str(tmp_path / "kept"))
    paint("photos/a.png", ("red", 0, 0, 4, 4))
    paint("photos/b.png", ("red", 4, 4, 10, 8), ("green", 0, 0, 2, 2))
    return tmp_path


def ran(capsys, *arguments, status=0):
    """Run a command, and return the lines of its results."""
    assert main(["jobs", *arguments]) == status
    return capsys.readouterr().out.splitlines()


def refused(capsys, *arguments):
    """Run a command that cannot be; return its sentence and its hint."""
    assert main(["jobs", *arguments]) == console.NOTHING_DONE
    said = capsys.readouterr()
    assert said.out == ""
    return said.err


def submitted(capsys, *arguments):
    """Submit a job, and return its id and how the ledger has it."""
    [job] = ran(capsys, "submit", *arguments)
    with Queue("kept") as queue:
        return job, queue.ledger.status(job).job


def work():
    """Do all there is to do."""
    until = threading.Event()
    with Queue("kept") as queue:
        clerk = Clerk(queue)
        worker = Worker(queue, Answerer.of(model_of(FakeBoth()), max_pixels=10**6))
        while clerk.step(until) or worker.work(until):
            pass


def test_a_job_from_hand_in_to_fetch(folder, capsys):
    """Its id alone is on stdout; files of all images are made of what came of it."""
    job, _ = submitted(capsys, "photos", "--find", "red", "--format", "coco", "--format", "png")
    work()
    assert ran(capsys, "watch", job) == []
    files = ran(capsys, "fetch", job, "-o", "out")
    names = ["results.jsonl", "a.mask.png", "b.mask.png", "coco.json", "report.txt"]
    assert files == [str(Path("out", name)) for name in names]
    lines = [json.loads(line) for line in Path("out/results.jsonl").read_text().splitlines()]
    assert [line["image"] for line in lines] == [f"{folder}/photos/{x}.png" for x in "ab"]
    document = json.loads(Path("out/coco.json").read_text())
    assert [each["file_name"] for each in document["images"]] == ["a.png", "b.png"]
    assert [each["area"] for each in document["annotations"]] == [16, 24]


def test_flags_make_the_job(folder, capsys):
    """Each is a field; paths are absolute, addresses and patterns stay what they mean."""
    arguments = ["photos", "photos/*.png", "s3://bucket/x", "--find", "red", "--find", "cat"]
    arguments += ["--everything", "--format", "yolo", "--model", "fake", "--priority", "7"]
    arguments += ["--attempts", "2", "--item-seconds", "9.5", "--seconds", "60"]
    arguments += ["--keep-seconds", "90", "--key", "mine"]
    job, asked = submitted(capsys, *arguments)
    assert asked == Job(
        inputs=(f"{folder}/photos", f"{folder}/photos/*.png", "s3://bucket/x"),
        queries=(
            {"verb": "find", "text": "red"},
            {"verb": "find", "text": "cat"},
            {"verb": "everything"},
        ),
        formats=("yolo",),
        model="fake",
        priority=7,
        attempts=2,
        item_seconds=9.5,
        seconds=60,
        keep_seconds=90,
        key="mine",
    )
    assert submitted(capsys, *arguments)[0] == job


def test_a_file_says_the_job_and_flags_count_instead(folder, capsys):
    """Its paths begin at its folder, those that are typed at the current one."""
    Path("far").mkdir()
    said = {
        "inputs": ["x.png", "queries.jsonl"],
        "queries": [{"verb": "segment", "mask": "rough.png"}],
        "priority": 3,
        "keep_seconds": None,
        "within": [".", "s3://bucket"],
    }
    Path("far/job.json").write_text(json.dumps(said))
    _, asked = submitted(capsys, "--file", "far/job.json", "--priority", "4")
    assert asked.inputs == (f"{folder}/far/x.png", f"{folder}/far/queries.jsonl")
    assert asked.queries == ({"verb": "segment", "mask": f"{folder}/far/rough.png"},)
    assert (asked.priority, asked.keep_seconds) == (4, None)
    assert asked.within == (f"{folder}/far", "s3://bucket")
    _, asked = submitted(capsys, "photos", "--file", "far/job.json", "--find", "red")
    assert asked.inputs == (f"{folder}/photos",)
    assert asked.queries == ({"verb": "find", "text": "red"},)


def test_a_folder_with_signs_of_a_pattern_in_its_name(folder, capsys, monkeypatch):
    """They mean themselves, those that are typed mean a pattern."""
    paint("odd [old]/x.png", ("red", 0, 0, 4, 4))
    monkeypatch.chdir("odd [old]")
    [job] = ran(capsys, "submit", "*.png", "--find", "red")
    monkeypatch.chdir(folder)
    work()
    with Queue("kept") as queue:
        [entry] = queue.ledger.entries(job)
    assert entry.item.image == f"{folder}/odd [old]/x.png"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "a job has `inputs`, got none"),
        (["photos"], "nothing is asked about `"),
        (["photos", "--find", "red", "--format", "sheet"], "`formats` of a job has no `sheet`"),
        (["photos", "--find", "red", "--format", "gif"], "invalid value for '--format'"),
        (["photos", "--find", "red", "--priority", "10"], "`priority` is a whole number"),
        (["photos", "--find", "red", "--item-seconds", "0"], "`item_seconds` is a number of"),
        (["photos", "--find", ""], "query 1: a phrase needs a word"),
        (["https://a.org/x.png", "--find", "red"], "nothing is fetched by `https`"),
        (
            ["photos", "--find", "red", "--webhook", "https://a.org"],
            "`webhook` names the host `a.org`",
        ),
        (["--file", "gone.json"], "cannot read `gone.json`: no such file"),
        (["--file", "photos/a.png"], "`photos/a.png` is no JSON"),
        (["photos", "--find", "red", "--queue", "a b"], "`queue` is a name of letters"),
    ],
)
def test_a_job_that_makes_no_sense_is_refused(folder, capsys, arguments, said):
    """When it is submitted, in one sentence; nothing is kept of it."""
    assert f"error: {said}" in refused(capsys, "submit", *arguments)
    assert list(Path().glob("kept/*/jobs.sqlite")) == []


def test_where_jobs_are_is_said(folder, capsys, monkeypatch):
    """Or it is asked for; and a slip makes no folder."""
    assert "no job was ever submitted to `typo/default`" in refused(
        capsys, "list", "--jobs", "typo"
    )
    assert not Path("typo").exists()
    monkeypatch.delenv("PROMPTSEG_JOBS")
    for command in (["list"], ["submit", "photos", "--find", "red"]):
        assert "it is not said where jobs are kept" in refused(capsys, *command)
    [job] = ran(capsys, "submit", "photos", "--find", "red", "--jobs", "kept", "--queue", "gpu")
    listed = ran(capsys, "list", "--jobs", "kept", "--queue", "gpu", "--json")
    assert [json.loads(line)["id"] for line in listed] == [job]


def test_the_list(folder, capsys):
    """The latest first, in columns or as JSON."""
    first, _ = submitted(capsys, "photos", "--find", "red")
    work()
    second, _ = submitted(capsys, "photos", "--find", "green", "--priority", "5")
    headings, *rows = ran(capsys, "list")
    assert headings.split() == ["id", "state", "images", "done", "failed", "priority", "submitted"]
    assert [row.split()[:6] for row in rows] == [
        [second, "queued", "0", "0", "0", "5"],
        [first, "done", "2", "2", "0", "0"],
    ]
    listed = [json.loads(line) for line in ran(capsys, "list", "--json")]
    assert [(each["id"], each["images"]["done"]) for each in listed] == [(second, 0), (first, 2)]


def test_a_job_that_is_not_there(folder, capsys):
    """Every command says so."""
    submitted(capsys, "photos", "--find", "red")
    for command in ("watch", "cancel", "retry", "forget"):
        assert "error: there is no job `0123`" in refused(capsys, command, "0123")
    assert "there is no job `0123`" in refused(capsys, "fetch", "0123", "-o", "out")


def test_cancel_retry_and_forget(folder, capsys):
    """Each says how the job stands then; what waits is not forgotten."""
    job, _ = submitted(capsys, "photos", "--find", "red")
    assert "has not ended" in refused(capsys, "forget", job)
    [line] = ran(capsys, "cancel", job, "--json")
    assert json.loads(line)["state"] == "cancelled"
    assert ran(capsys, "watch", job, status=2) == []
    [line] = ran(capsys, "retry", job, "--json")
    assert json.loads(line)["state"] == "queued"
    work()
    assert list(Path("kept/default/results").iterdir()) != []
    assert main(["jobs", "cancel", job]) == 0
    assert f"job {job}: done; images: 2 done" in capsys.readouterr().err
    ran(capsys, "forget", job)
    assert list(Path("kept/default/results").iterdir()) == []
    assert len(ran(capsys, "list")) == 1


def test_watching_says_what_failed(folder, capsys):
    """Exit status 1 where some images failed, 2 where all did; JSON has a line at each change."""
    Path("photos/c.png").write_bytes(b"no picture")
    job, _ = submitted(capsys, "photos", "gone", "--find", "red")
    work()
    assert main(["jobs", "watch", job]) == console.SOME_FAILED
    said = capsys.readouterr().err
    assert "error: input 2: there is no file or folder" in said
    assert said.splitlines()[-1] == f"job {job}: done; images: 2 done, 1 failed"
    lines = ran(capsys, "watch", job, "--json", status=1)
    assert [json.loads(line)["images"]["failed"] for line in lines] == [1]
    other, _ = submitted(capsys, "photos/c.png", "--find", "red")
    work()
    assert ran(capsys, "watch", other, status=2) == []


def test_watching_goes_along(folder, capsys, monkeypatch):
    """A bar on a terminal, whose total grows; a line at each new state elsewhere."""
    monkeypatch.setattr(watching, "LOOK_EVERY", 0.01)
    monkeypatch.setattr(watching, "ALONE", 0.0)
    shown = []

    class Meter:
        def __init__(self, label, *, total, done):
            shown.append((done, total))

        def __enter__(self):
            return lambda done, total: shown.append((done, total))

        def __exit__(self, *error):
            pass

    for is_terminal in (False, True):
        job, _ = submitted(capsys, "photos", "--find", "red")
        monkeypatch.setattr(console, "is_terminal", lambda answer=is_terminal: answer)
        monkeypatch.setattr(console, "meter", Meter)
        worker = threading.Timer(0.3, work)
        worker.start()
        assert main(["jobs", "watch", job]) == 0
        worker.join()
        said = capsys.readouterr().err.splitlines()
        assert (
            said.count(
                "nobody works on this job yet; `promptseg worker` with the same `--jobs` does"
            )
            == 1
        )
        assert said[-1] == f"job {job}: done; images: 2 done"
        queued = f"job {job}: queued; images: none, and more are looked for"
        assert said.count(queued) == (0 if is_terminal else 1)
    assert shown[0] == (0, 0)
    assert shown[-1] == (2, 2)
    assert shown == sorted(shown)


def test_ctrl_c_leaves_the_job_alone(folder):
    """Status 130, and how to go on."""
    with subprocess.Popen(
        [*PROGRAM, "jobs", "submit", "photos", "--find", "red", "--watch"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:
        job = process.stdout.readline().strip()
        assert "queued" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=30)[1]
    assert process.returncode == console.INTERRUPTED
    assert f"the job goes on; `promptseg jobs watch {job}` looks again" in said
    with Queue("kept") as queue:
        assert queue.ledger.status(job).state is State.QUEUED


def test_a_job_that_goes_on_is_fetched_as_far_as_it_is(folder, capsys):
    """And the rest later, into the same folder; another job's is refused."""
    job, _ = submitted(capsys, "photos", "--find", "red")
    with Queue("kept") as queue:
        Clerk(queue).step(threading.Event())
        claim = queue.ledger.claim(most=2, seconds=60)
        queue.ledger.finish(claim, claim.items[0].number, Outcome(State.DONE))
        assert main(["jobs", "fetch", job, "-o", "out"]) == 0
        said = capsys.readouterr().err
        assert "1 running, 1 done; fetch again for the rest" in said
        queue.ledger.release(claim)
    work()
    ran(capsys, "fetch", job, "-o", "out")
    assert Path("out/report.txt").read_text() == f"job {job}: done; images: 2 done\n"
    other, _ = submitted(capsys, "photos", "--find", "green")
    assert "`out` has what came of another job" in refused(capsys, "fetch", other, "-o", "out")


def test_the_meter_is_drawn(monkeypatch, capsys):
    """With what was done before, and a total that changes."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")
    with console.meter("job", total=4, done=1) as show:
        show(2, 5)
        time.sleep(0.15)
    assert "2/5" in capsys.readouterr().err


def test_the_whole_in_one_command(folder, capsys):
    """`--watch` with `--json` prints nothing but lines of JSON; without, the id first."""
    worker = threading.Timer(0.2, work)
    worker.start()
    assert main(["jobs", "submit", "photos", "--find", "red", "--watch", "--json"]) == 0
    worker.join()
    states = [json.loads(line)["state"] for line in capsys.readouterr().out.splitlines()]
    assert states[0] == "queued"
    assert states[-1] == "done"
    [line] = ran(capsys, "submit", "photos", "--find", "red", "--json")
    assert json.loads(line)["state"] == "queued"


def test_fetching_where_nothing_can_be_written(folder, capsys):
    """One sentence."""
    job, _ = submitted(capsys, "photos", "--find", "red")
    work()
    Path("file").write_text("")
    assert "cannot " in refused(capsys, "fetch", job, "-o", "file/out")
