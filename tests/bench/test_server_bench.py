"""The benchmark of the service measures what it says; how quick this machine is is not tested."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from contextlib import contextmanager
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from promptseg.api import Model
from promptseg.bench import http_load, server, server_sides, tutorial_service
from promptseg.bench.http_load import LOST, Shot, Stream, Volley
from promptseg.cli.main import main
from promptseg.engine.cache import FeatureCache
from promptseg.engine.runtime import Runtime
from promptseg.errors import ConfigError, PromptsegError
from promptseg.geometry import Size
from promptseg.prompts import Points

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
FULL = b"HTTP/1.1 503 Full\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
CUT = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhal"
PROBE = http_load.request("/x")


@contextmanager
def answering(answers, *, seconds=0.0):
    """Answer one request after the other, of all connections, from a list; close on a cut one."""
    heard, turn = [], threading.Lock()

    def attend(connection):
        with connection:
            while data := connection.recv(65536):
                with turn:
                    time.sleep(seconds)
                    heard.append(data)
                    answer = answers[min(len(heard), len(answers)) - 1]
                    connection.sendall(answer)
                if answer is not OK:
                    return

    def listen():
        while True:
            try:
                connection = listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=attend, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=listen, daemon=True).start()
        yield listener.getsockname()[1], heard
        listener.shutdown(socket.SHUT_RDWR)


def test_every_fate_of_a_request_is_told():
    """A good answer, a refusal that says when to come again, and one that breaks off."""
    with answering([OK, FULL, CUT, OK]) as (port, heard):
        shots = http_load.one_by_one(port, [PROBE] * 4)
    assert [shot.status for shot in shots] == [200, 503, LOST, 200]
    assert [shot.says_when for shot in shots] == [False, True, False, False]
    assert [shot.ended for shot in shots] == sorted(shot.ended for shot in shots)
    assert heard == [b"GET /x HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"] * 4


def test_waiting_behind_others_counts_at_a_steady_rate():
    """Ten requests a hundredth of a second apart, answered one in a twentieth: the last waits."""
    looks = []
    with answering([OK], seconds=0.05) as (port, heard):
        [volley] = http_load.at_rates(
            port, [Stream(lambda _: PROBE, 100)], seconds=0.1, beside=lambda: looks.append(1)
        )
    assert len(heard) == len(volley.of(200)) == 10
    assert max(shot.seconds for shot in volley.shots) > 10 * 0.05 - 0.1
    assert volley.rate <= 20
    assert len(looks) == 10


def test_callers_in_turns_have_one_request_each():
    """Two callers: nobody asks again before the answer, and all answers are waited for."""
    with answering([OK], seconds=0.01) as (port, heard):
        volley = http_load.in_turns(port, lambda _: PROBE, callers=2, seconds=0.1)
    assert len(heard) == len(volley.shots) == len(volley.of(200))
    assert volley.rate == pytest.approx(len(volley.shots) / volley.seconds)
    # Two at a time, each for at least two hundredths: its own and the other's.
    assert min(shot.seconds for shot in volley.shots[2:-2]) > 0.01


def test_a_steady_rate_is_summed_up():
    """Of three good answers and a refusal, by hand."""
    shots = [Shot(200, seconds, 0.0, seconds, says_when=False) for seconds in (0.1, 0.2, 0.6)]
    volley = Volley(shots=(*shots, Shot(503, 0.1, 0.3, 0.1, says_when=True)), seconds=0.5)
    steady = server.Steady.of("x", volley, asked=8)
    assert (steady.rate, steady.median, steady.p99, steady.late) == (4.0, 0.2, 0.6, 0.3)
    assert steady.failed == 1
    assert "1 FAILED" in steady.line()


def test_rates_are_compared_by_the_click():
    """10 and 20 in a second beside 5: two to four times as many."""
    contest = server._contest("x", 10.0, 20.0, 5.0)
    assert contest.ours == pytest.approx(1 / 15)
    assert (contest.peer, contest.ratio) == (0.2, (3.0, 2.0, 4.0))


def test_a_tagged_photo_is_another_file_of_the_same_pixels():
    """So that nobody has seen it, and it costs the same."""
    [image] = server._jpegs(1, Size(11, 13))
    tagged = server._tagged(image, 7)
    assert image == server._tagged(image, 0) != tagged
    first, second = (np.asarray(Image.open(BytesIO(each))) for each in (image, tagged))
    assert np.array_equal(first, second)


def test_the_stub_draws_at_its_point():
    """A square round (20, 12) of an image of its own size, less than two cells each way."""
    runtime = Runtime.choose("cpu", "float32")
    network = server_sides.make_network("stub:0.01", runtime)
    model = Model("stub", network, runtime, cache=FeatureCache(0))
    began = time.perf_counter()
    mask = model.segment(np.zeros((32, 32, 3), np.uint8), Points([(20, 12)])).runs[0].to_mask()
    assert time.perf_counter() - began > 0.01
    rows, columns = np.nonzero(mask)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (4, 19, 12, 27)


def test_networks_go_by_name():
    """One that there is not is refused."""
    runtime = Runtime.choose("cpu", "float32")
    assert server_sides.make_network("builtin", runtime).spec.image_side > 32
    with pytest.raises(ConfigError, match="unknown network `x`"):
        server_sides.make_network("x", runtime)


def test_the_peer_looks_at_every_image_anew():
    """A second click on the same image is a second look."""
    runtime = Runtime.choose("cpu", "float32")
    network = server_sides.StubNetwork()
    looks = []
    network.encode = lambda pixels: (
        looks.append(1) or server_sides.StubNetwork.encode(network, pixels)
    )
    predictor = tutorial_service.Predictor(network, runtime)
    for _ in range(2):
        predictor.set_image(np.zeros((32, 32, 3), np.uint8))
        masks = predictor.predict([[20.0, 12.0]])
    assert len(looks) == 2
    # 16 x 16 less the four corners, which bilinear cells round off.
    assert masks.areas.tolist() == [252]


def test_a_side_that_does_not_start_is_told(monkeypatch):
    """With the end of what it said."""
    monkeypatch.setattr(server_sides, "CODE", "raise SystemExit('no {side} today')")
    with (
        pytest.raises(PromptsegError, match="did not get ready: no ours today"),
        server_sides.running("ours", "stub"),
    ):
        pass


def test_a_side_that_answers_with_an_error_is_told():
    """There are no masks to compare, and nothing is made up."""
    with pytest.raises(PromptsegError, match="a click was answered 500"):
        server._masks(http_load.Reply(500, {}, b"{}"))


@pytest.fixture(scope="module")
def found():
    """Run all of it in small, round a network that answers at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setattr(server, "RATES", (40,))
        patch.setattr(server, "PHOTO", Size(60, 80))
        patch.setattr(server, "PHOTOS", 2)
        yield server.measure(seconds=0.3, networks=["stub"])


def test_everything_is_measured(found):
    """Each row is there, masks agree, and 16 first clicks on an image look at it once."""
    assert [(steady.task, steady.asked) for steady in found.overhead] == [
        ("click, photo of 640 x 480", 40),
        ("click, session of 640 x 480", 40),
    ]
    assert all(steady.failed == 0 and 0 < steady.median <= steady.p99 for steady in found.overhead)
    assert [contest.task for contest in found.contests] == [
        "stub: second click | first",
        "stub: click",
        "stub: click, tutorial's words",
        "stub: click, always a new photo",
    ]
    assert "2 masks, IoU 1.0000" in found.contests[2].agreement
    assert found.encodes == {"stub": 1}


def test_overload_is_measured(found):
    """Nothing is lost, and whoever is refused is told when to come again."""
    overload = found.overload
    assert overload.lost == overload.other == overload.speechless == 0
    assert overload.peak > 0 < overload.goodput
    assert overload.asked == 3 * overload.peak
    assert len(overload.resident_bytes) == 11
    assert min(overload.resident_bytes) > 10**7


def test_a_table_and_json_say_the_same(found):
    """Every task is in both."""
    lines = "\n".join(found.lines())
    told = json.loads(json.dumps(found.as_json(), allow_nan=False))
    for row in (*told["overhead"], *told["contests"]):
        assert row["task"] in lines
    assert "16 first clicks at a time on one image, stub: 1 encoded" in lines
    assert "MB resident" in lines


def test_the_command_measures_the_service(monkeypatch, found, capsys):
    """By its suite's name, and flags of other suites are refused."""
    monkeypatch.setattr(server, "measure", lambda: found)
    assert main(["bench", "--suite", "server"]) == 0
    assert "overload:" in capsys.readouterr().out
    assert main(["bench", "--suite", "server", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["encodes"] == {"stub": 1}
    assert main(["bench", "--suite", "server", "--size", "tiny"]) == 2
    assert "`--size` means nothing to the suite `server`" in capsys.readouterr().err


def test_what_is_missing_is_said(monkeypatch, capsys):
    """In one sentence, with what to install."""
    monkeypatch.setitem(sys.modules, "psutil", None)
    for name in ("server_sides", "server"):
        monkeypatch.delitem(sys.modules, f"promptseg.bench.{name}")
        monkeypatch.delattr(f"promptseg.bench.{name}")
    assert main(["bench", "--suite", "server"]) == 2
    assert "promptseg[dev]" in capsys.readouterr().err
