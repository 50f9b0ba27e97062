"""Jobs outlive the service that works on them: ended, or killed, and started again."""

from __future__ import annotations

import json
import signal
import sys
import time

import httpx
import numpy as np
import pytest
from PIL import Image

import promptseg as ps
from promptseg.client import Client
from promptseg.jobs.sqlite_ledger import SqliteLedger
from running_service import running

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="signals are those of POSIX"),
    pytest.mark.timeout(180),
]

COUNT = 24
QUERY = {"verb": "everything", "points_per_side": 3}


@pytest.fixture
def photos(tmp_path):
    """Pictures that differ."""
    folder = tmp_path / "photos"
    folder.mkdir()
    random = np.random.default_rng(11)
    for number in range(COUNT):
        pixels = np.full((64, 96, 3), random.integers(0, 100, 3), np.uint8)
        pixels[8:40, 16:56] = random.integers(156, 256, 3)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    return folder


def flags(photos):
    return ["--jobs", str(photos.parent / "jobs"), "--job-inputs", str(photos)]


def begun(address, photos, *, count):
    """Submit two jobs, and wait until so many images of the first are done; return both ids."""
    names = []
    for _ in range(2):
        job = {"inputs": [str(photos)], "queries": [QUERY]}
        answer = httpx.post(f"{address}/v1/jobs", json=job, trust_env=False)
        assert answer.status_code == 202, answer.text
        names.append(answer.json()["id"])
    wait(lambda: status(address, names[0])["images"]["done"] >= count)
    return names


def status(address, name):
    return httpx.get(f"{address}/v1/jobs/{name}", trust_env=False).json()


def wait(is_so, seconds=90):
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.05)


def ended_once(address, photos, names):
    """Wait for the end of all, and look whether each image has one answer."""
    expected = [f"{photos}/{number:02}.png" for number in range(COUNT)]
    for name in names:
        wait(lambda name=name: status(address, name)["is_reported"])
        assert status(address, name)["images"]["done"] == COUNT
        for kind in ("results", "manifest"):
            said = httpx.get(f"{address}/v1/jobs/{name}/{kind}", trust_env=False).text
            assert [json.loads(line)["image"] for line in said.splitlines()] == expected


def files_of(photos):
    """Say when each result was written."""
    found = (photos.parent / "jobs").glob("default/results/*/results/*/*")
    return {path: path.stat().st_mtime_ns for path in found}


def test_a_service_that_is_killed_goes_on_at_the_next_image(tmp_path, photos):
    """What it had in hand is answered as soon as its claim has run out, all else at once."""
    with running(tmp_path, *flags(photos)) as service:
        names = begun(service.address, photos, count=5)
        service.process.kill()
        service.process.wait()
    before = files_of(photos)
    assert before
    with running(tmp_path, *flags(photos)) as service:
        assert {status(service.address, name)["state"] for name in names} <= {"running", "queued"}
        ended_once(service.address, photos, names)
        assert "Traceback" not in service.said()
    assert before.items() <= files_of(photos).items()


def test_a_service_that_is_told_to_end_gives_back_what_it_has(tmp_path, photos):
    """Nothing is claimed any more when it has ended, and the next one goes on at once."""
    with running(tmp_path, *flags(photos)) as service:
        names = begun(service.address, photos, count=3)
        # Whoever clicks meanwhile is answered all the same.
        with Client(service.address) as client:
            began = time.monotonic()
            assert len(client.segment(photos / "00.png", ps.Points([(30, 20)]))) == 1
            assert time.monotonic() - began < 5
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(30) == 0
        said = service.said()
        assert "ERROR" not in said
        assert "Traceback" not in said
    ledger = SqliteLedger(tmp_path / "jobs" / "default" / "jobs.sqlite")
    assert all(each.running == 0 for each in ledger.jobs())
    ledger.close()
    with running(tmp_path, *flags(photos)) as service:
        ended_once(service.address, photos, names)
