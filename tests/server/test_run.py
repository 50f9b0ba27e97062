"""The life of a real process: it listens, gets ready, answers, drains and ends."""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import httpx
import pytest

from places import ROOT
from promptseg.errors import ConfigError
from promptseg.server import addresses, run
from promptseg.server.app import make_app
from promptseg.server.settings import ServerSettings
from running_service import PROGRAM, running, wait_until_ready

PHOTO = (ROOT / "examples" / "coffee.jpg").read_bytes()
CLICK = {"query": (None, '{"points": [[285, 200]]}')}
only_posix = pytest.mark.skipif(sys.platform == "win32", reason="signals are those of POSIX")


def click(client, address):
    return client.post(f"{address}/v1/segment", files={"image": ("a.jpg", PHOTO), **CLICK})


def test_a_service_lives_until_it_is_told_to_end(tmp_path):
    """It tells settings and address, gets ready, answers, says that it drains, and ends with 0."""
    with running(tmp_path, "--drain-seconds", "0.3", ready=False) as service:
        wait_until_ready(service.address)
        with httpx.Client(trust_env=False) as client:
            assert len(click(client, service.address).json()["masks"]) == 1
            metrics = client.get(f"{service.address}/metrics").text
            assert 'route="/v1/segment",status="200"' in metrics
            service.process.send_signal(signal.SIGTERM)
            until = time.monotonic() + 5
            while client.get(f"{service.address}/health/ready").status_code == 200:
                assert time.monotonic() < until
            # Who has not heard of it yet is still answered, and told to make a new connection.
            answer = click(client, service.address)
            assert answer.status_code == 200
            assert answer.headers["Connection"] == "close"
        assert service.process.wait(timeout=30) == 0
        said = service.said()
        assert "drain_seconds       0.3         (flag)" in said
        assert "POST /v1/segment 200" in said
        assert said.index("ready after") < said.index("draining") < said.index("ended")


class Clicking(threading.Thread):
    """Clicks until the service listens no more, and keeps what came back."""

    def __init__(self, address, *, keeps):
        super().__init__()
        self.address, self.keeps = address, keeps
        self.statuses, self.broken = [], []

    def run(self):
        with httpx.Client(trust_env=False, timeout=60) as kept:
            while True:
                try:
                    if self.keeps:
                        answer = click(kept, self.address)
                    else:
                        with httpx.Client(trust_env=False, timeout=60) as client:
                            answer = click(client, self.address)
                    answer.json()
                    self.statuses.append(answer.status_code)
                except httpx.ConnectError:
                    return
                except httpx.HTTPError as error:
                    self.broken.append(error)
                    return


@only_posix
def test_no_request_is_lost_when_a_busy_service_ends(tmp_path):
    """Every request that got a connection gets a whole answer, of callers that keep one or not."""
    with running(tmp_path, "--drain-seconds", "0.5") as service:
        callers = [Clicking(service.address, keeps=number % 2 == 0) for number in range(8)]
        for caller in callers:
            caller.start()
        while not all(caller.statuses for caller in callers):
            time.sleep(0.01)
        service.process.send_signal(signal.SIGTERM)
        for caller in callers:
            caller.join(timeout=60)
        assert service.process.wait(timeout=60) == 0
        assert [error for caller in callers for error in caller.broken] == []
        assert {status for caller in callers for status in caller.statuses} == {200}


@only_posix
def test_a_second_signal_ends_at_once(tmp_path):
    """Draining is not waited for."""
    with running(tmp_path, "--drain-seconds", "600") as service:
        service.process.send_signal(signal.SIGTERM)
        with httpx.Client(trust_env=False) as client:
            while client.get(f"{service.address}/health/ready").status_code == 200:
                pass
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(timeout=20) == 128 + signal.SIGTERM


def test_callers_without_keys_are_one_and_have_all_of_the_queue(tmp_path):
    """Where keys tell them apart none has all of it."""
    settings = ServerSettings(waiting=7, waiting_each=3)
    assert run.limits_of(settings).waiting_each == 7
    assert run.limits_of(replace(settings, keys=tmp_path / "keys.toml")).waiting_each == 3


@only_posix
def test_it_ends_in_time_though_callers_do_not(tmp_path):
    """One bound for all of the end: what is then not answered is given up."""
    flags = ["--max-seconds", "2", "--drain-seconds", "0"]
    with running(tmp_path, *flags) as service:
        host, port = service.address.removeprefix("http://").split(":")
        search = {"query": (None, '{"points_per_side": 64, "crop_layers": 1}')}
        with socket.create_connection((host, int(port))) as idle, ThreadPoolExecutor(2) as threads:
            head = "POST /v1/segment HTTP/1.1", f"Host: {host}", "Content-Length: 9", "", ""
            idle.sendall("\r\n".join(head).encode())
            files = {"image": ("a.jpg", PHOTO), **search}
            asked = threads.submit(
                httpx.post, f"{service.address}/v1/everything", files=files, timeout=60
            )
            time.sleep(0.3)
            service.process.send_signal(signal.SIGTERM)
            told = time.monotonic()
            assert service.process.wait(timeout=30) == 0
            assert time.monotonic() - told < 10
            assert asked.result(30).status_code == 504


def test_a_taken_port_is_one_sentence():
    """Nothing is loaded, and the status is 2."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        ended = subprocess.run(
            [*PROGRAM, "--port", port], capture_output=True, text=True, timeout=60, check=False
        )
    assert ended.returncode == 2
    assert ended.stdout == ""
    *_, error, hint = ended.stderr.splitlines()
    assert error == f"error: port {port} of 127.0.0.1 is taken by another program"
    assert hint.startswith("hint: Choose another with `--port`")


@pytest.mark.parametrize("host", ["0.0.0.0", ""])
def test_other_machines_need_keys(host, tmp_path):
    """To listen beyond this machine without keys has to be said."""
    with pytest.raises(ConfigError, match="asks for no keys"):
        run.check(ServerSettings(host=host))
    run.check(ServerSettings(host=host, insecure=True))
    run.check(ServerSettings(host=host, keys=tmp_path / "keys.toml"))
    run.check(ServerSettings(host="localhost"))


def test_an_address_that_is_none_is_one_sentence():
    """As is one of another machine."""
    with pytest.raises(ConfigError, match=r"is an address of this machine, got `no\.such\.host`"):
        run.check(ServerSettings(host="no.such.host"))
    with pytest.raises(ConfigError, match="cannot listen at port 0"):
        addresses.bind("192.0.2.1", 0)


@pytest.mark.parametrize("origin", ["*", "a.org", "https://*.a.org", "https://a.org/path"])
def test_an_origin_is_one_site(origin):
    """Not every site, and not a part of one."""
    with pytest.raises(ConfigError, match="`origins` are sites"):
        run.check(ServerSettings(origins=("https://b.org", origin)))
    run.check(ServerSettings(origins=("https://b.org", "http://localhost:3000/")))


@pytest.mark.parametrize("name", ["https://a.org", "a.org:8000", "127.0.0.1:8000", "a.org/"])
def test_a_host_is_a_name(name):
    """With a port or more no request could be under it."""
    with pytest.raises(ConfigError, match="`hosts` are names without ports"):
        run.check(ServerSettings(hosts=("b.org", name)))
    run.check(ServerSettings(hosts=("b.org", "127.0.0.1", "::1", "[::1]")))


@pytest.mark.parametrize("path", ["masks", "/", "/masks/", "/a//b", "/a?b"])
def test_a_root_path_is_what_comes_before_every_address(path):
    """Addresses begin with a slash, so that it ends with none."""
    with pytest.raises(ConfigError, match="`root_path` begins with a slash"):
        run.check(ServerSettings(root_path=path))
    run.check(ServerSettings(root_path="/masks/v2"))


def test_a_certificate_that_is_none_is_one_sentence(tmp_path):
    """It is refused before the model is loaded."""
    none = tmp_path / "none.pem"
    with pytest.raises(ConfigError, match=r"the certificate `.*none\.pem` cannot be used"):
        run.check(ServerSettings(certificate=none, certificate_key=none))


def certificate_of(folder):
    made = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=x"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "k.pem", "-out", "c.pem"]
    subprocess.run(["openssl", *made.split(), *names], cwd=folder, capture_output=True, check=True)


@pytest.mark.skipif(not shutil.which("openssl"), reason="makes the certificate")
def test_it_speaks_https(tmp_path):
    """With a certificate of its own, and to nobody who does not trust that; it ends as well."""
    certificate_of(tmp_path)
    flags = [f"--certificate={tmp_path}/c.pem", f"--certificate-key={tmp_path}/k.pem"]
    with running(tmp_path, *flags, "--drain-seconds=0", ready=False) as service:
        assert service.address.startswith("https://127.0.0.1:")
        url, trusted = f"{service.address}/health/live", ssl.create_default_context()
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE"):
            httpx.get(url, verify=trusted, trust_env=False)
        trusted.load_verify_locations(tmp_path / "c.pem")
        answer = httpx.get(url, verify=trusted, trust_env=False)
        assert "Strict-Transport-Security" in answer.headers
        host, port = service.address.removeprefix("https://").split(":")
        with socket.create_connection((host, int(port))):
            # Who connects and says nothing is not waited for.
            service.process.send_signal(signal.SIGTERM)
            assert service.process.wait(timeout=30) == 0


@pytest.mark.skipif(not shutil.which("openssl"), reason="makes the certificate")
def test_who_is_taken_up_last_and_says_nothing_is_not_waited_for(service, tmp_path):
    """A connection that the system had made, whose caller does not begin with TLS."""
    certificate_of(tmp_path)
    places = {"certificate": tmp_path / "c.pem", "certificate_key": tmp_path / "k.pem"}
    service.settings = replace(service.settings, **places, drain_seconds=0, max_seconds=60)
    app = make_app(service)

    async def play():
        server = run._Server(run._config(app, service), app, int)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            server.config.load()
            server.lifespan = server.config.lifespan_class(server.config)
            server.servers = []
            taken.settimeout(0)
            await server.lifespan.startup()
            server._warming = asyncio.create_task(asyncio.sleep(0))
            with socket.create_connection(taken.getsockname()):
                await asyncio.wait_for(server.shutdown([taken]), 30)
            assert len(server._joining) == 1

    began = time.monotonic()
    asyncio.run(play())
    assert time.monotonic() - began < 20


def test_an_endless_head_is_cut_off(tmp_path):
    """Headers without end are refused, and so is what is no HTTP; the next caller is answered."""
    with running(tmp_path, "--decoders", "0") as service:
        host, port = service.address.removeprefix("http://").split(":")
        for sent in (b"GET / HTTP/1.1\r\nX: " + b"x" * 2**20, b"nonsense\r\n\r\n"):
            with socket.create_connection((host, int(port))) as caller:
                try:
                    caller.sendall(sent)
                    answer = caller.recv(4096)
                except ConnectionError:
                    continue  # cut off while it was still sending
                assert answer.startswith(b"HTTP/1.1 400 ")
                assert b'{"error": {"kind"' in answer
        assert httpx.get(f"{service.address}/health/live", trust_env=False).status_code == 200
