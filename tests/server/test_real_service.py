"""A service as its users run it: by its command, asked by curl and the client, ended and hurt."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import psutil
import pytest
from adapter_service import error_of, serving
from telling import require_nothing_told

import promptseg as ps
from fake_network import FakeNetwork
from places import ROOT
from promptseg.client import Client
from promptseg.errors import ImageError, OverloadedError, PromptError, ServiceError
from running_service import running

COFFEE, CHELSEA = ROOT / "examples" / "coffee.jpg", ROOT / "examples" / "chelsea.jpg"
CUP = ps.Box(172, 18, 409, 308)
USUAL = "http://127.0.0.1:8000"
# As the README shows them.
LINES = [
    """curl -F image=@examples/coffee.jpg -F 'query={"points": [[285, 150]]}' """
    "http://127.0.0.1:8000/v1/segment",
    "curl -F image=@examples/coffee.jpg "
    """-F 'query={"box": [172, 18, 409, 308], "format": "png"}' """
    "http://127.0.0.1:8000/v1/segment",
    """curl -F image=@examples/coffee.jpg -F 'query={"points_per_side": 4}' """
    "http://127.0.0.1:8000/v1/everything",
    """curl -N -H 'Accept: text/event-stream' -F image=@examples/coffee.jpg """
    """-F 'query={"points_per_side": 4}' http://127.0.0.1:8000/v1/everything""",
]
only_posix = pytest.mark.skipif(sys.platform == "win32", reason="signals are those of POSIX")


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Where the built-in model answers, with images decoded by a process of its own."""
    with running(tmp_path_factory.mktemp("service")) as service:
        yield service.address


@pytest.fixture(scope="module")
def model():
    """The same model without a service."""
    return ps.load()


@pytest.mark.skipif(not shutil.which("curl") or os.name != "posix", reason="for a POSIX shell")
@pytest.mark.parametrize("line", LINES)
def test_curl_gets_masks(address, line):
    """Each line that the README shows has an answer with masks."""
    asked = line.replace(USUAL, address).replace("curl ", "curl -sS --fail-with-body ")
    ended = subprocess.run(
        ["sh", "-c", asked], cwd=ROOT, capture_output=True, timeout=120, check=False
    )
    assert ended.returncode == 0, ended
    said = ended.stdout.decode()
    if "event-stream" in line:
        said = re.search(r"^event: result\ndata: (.*)$", said, re.MULTILINE).group(1)
    answer = json.loads(said)
    assert answer["size"] == {"height": 400, "width": 600}
    assert answer["masks"]
    assert {"read", "decode", "queue", "encode", "answer"} <= set(answer["timings"])
    require_nothing_told(said.encode(), sent=line)


def test_the_client_gets_what_the_library_gives(address, model):
    """The masks of all that the model does are the same, one by one, in a batch and in steps."""
    photo = ps.read(COFFEE)
    options = ps.EverythingOptions(points_per_side=4)
    batch = ps.Batch()
    of_batch = batch.image(COFFEE)
    cup, all_of_it = of_batch.segment(CUP), of_batch.everything(options=options)
    with Client(address) as client:
        assert client.ready()
        assert set(client.models()[0].verbs) == {"segment", "everything"}
        for_cup, regions = client.segment(COFFEE, CUP), client.everything(COFFEE, options=options)
        answers = client.run(batch)
        with client.session(COFFEE) as session:
            session.add(ps.Points([(285, 150)]))
            stepped = session.add(ps.Points([(450, 300)], labels=[0]))
        with pytest.raises(PromptError, match="words"):
            client.find(COFFEE, "cup")
    with model.session(photo) as steps:
        steps.add(ps.Points([(285, 150)]))
        same_steps = steps.add(ps.Points([(450, 300)], labels=[0]))
    pairs = [
        (for_cup, model.segment(photo, CUP)),
        (answers[cup], for_cup),
        (stepped, same_steps),
        (regions, model.everything(photo, options=options)),
        (answers[all_of_it], regions),
    ]
    for one, other in pairs:
        assert len(one) == len(other)
        # A click in company is summed in another order than a lone one.
        for mine, theirs in zip(one.runs, other.runs, strict=True):
            mine, theirs = mine.to_mask(), theirs.to_mask()
            assert (mine & theirs).sum() >= 0.99 * (mine | theirs).sum()


@only_posix
def test_a_decoder_that_is_killed_costs_one_image(tmp_path):
    """Whoever's image it had gets an error or an answer, and the next caller an answer."""
    noise = np.random.default_rng(3).integers(0, 256, (2000, 3000, 3), np.uint8)
    with running(tmp_path) as service, Client(service.address, retries=0) as client:
        client.segment(COFFEE, CUP)
        main = psutil.Process(service.process.pid)
        outcomes, killed = [], set()

        def ask():
            with Client(service.address, retries=0) as other:
                try:
                    outcomes.append(other.segment(noise, ps.Points([(5, 5)])))
                except ps.PromptsegError as error:
                    outcomes.append(error)

        asking = threading.Thread(target=ask)
        asking.start()
        until = time.monotonic() + 10
        while asking.is_alive() and time.monotonic() < until:
            for child in main.children():
                killed.add(child.pid)
                child.kill()
            time.sleep(0.02)
        asking.join()
        assert killed
        assert isinstance(outcomes[0], ps.Masks | ImageError | OverloadedError), outcomes
        # Another image than the first, which is not decoded again.
        assert len(client.segment(CHELSEA, ps.Points([(225, 180)]))) == 1
        assert client.ready()
        assert service.process.poll() is None
        assert "Traceback" not in service.said()


@only_posix
def test_the_client_loses_nothing_when_a_service_is_replaced(tmp_path):
    """Of clients that ask all the time each gets whole answers, until nothing listens any more."""
    with running(tmp_path, "--drain-seconds", "0.3") as service:
        answered, wrong = [], []

        def ask():
            with Client(service.address, retries=0, timeout=60) as client:
                while True:
                    try:
                        answered.append(client.segment(COFFEE, CUP).areas[0])
                    except ServiceError as error:
                        if "refused" not in str(error) and "reach" not in str(error):
                            wrong.append(error)
                        return
                    except ps.PromptsegError as error:
                        wrong.append(error)
                        return

        callers = [threading.Thread(target=ask) for _ in range(6)]
        for caller in callers:
            caller.start()
        while len(answered) < 12:
            time.sleep(0.01)
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(timeout=60) == 0
        for caller in callers:
            caller.join()
        assert not wrong
        assert "Traceback" not in service.said()


class Failing(FakeNetwork):
    """Fails for an image whose first pixel is bright, with an error that tells too much."""

    def encode(self, pixels):
        if float(pixels.max()) > 0.9:
            raise RuntimeError(f"at 0x7fdeadbeef12 of {ROOT}/weights.pt: {self!r}")
        return super().encode(pixels)


def test_a_network_that_raises_costs_one_request():
    """Its error has one constant body; before, beside and after it others have their answers."""
    bad, good = np.full((14, 14, 3), 255, np.uint8), np.full((14, 14, 3), 100, np.uint8)
    with serving(Failing()) as client:
        url = str(client.base_url)
        outcomes = {}

        def ask(number):
            with Client(url, retries=0) as one:
                try:
                    outcomes[number] = one.segment(
                        bad if number % 3 == 0 else good, ps.Points([(5, 5)])
                    )
                except ps.PromptsegError as error:
                    outcomes[number] = error

        callers = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        for number, outcome in outcomes.items():
            assert isinstance(outcome, ServiceError if number % 3 == 0 else ps.Masks), outcome
        from PIL import Image

        from uploads import encoded

        answer = client.post(
            "/v1/segment",
            files={
                "image": ("a.png", encoded(Image.fromarray(bad), "PNG")),
                "query": (None, '{"points": [[5, 5]]}'),
            },
        )
        assert error_of(answer, 500)["message"] == "the request failed unexpectedly"
        require_nothing_told(answer.content)
        assert client.get("/health/ready").status_code == 200
