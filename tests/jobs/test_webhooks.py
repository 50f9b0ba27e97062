"""Webhooks: to allowed hosts alone, signed, tried three times, and to a real server."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from promptseg.errors import ConfigError, JobError
from promptseg.jobs import webhooks
from promptseg.jobs.job import Job, State
from promptseg.jobs.ledger import Status
from promptseg.jobs.webhooks import PAUSES, Webhooks, check, signature
from promptseg.settings import Settings

SECRET = "a secret of many letters"
JOB = Job(inputs=("photos",), queries=({"verb": "everything"},), within=("/photos",))

pytestmark = pytest.mark.enable_socket


def status():
    return Status(
        id="0123abcd",
        owner="anna",
        job=JOB,
        state=State.DONE,
        is_listed=True,
        is_reported=False,
        queued=0,
        running=0,
        done=7,
        failed=1,
        cancelled=0,
        submitted=100.0,
        started=101.0,
        ended=102.0,
    )


@contextmanager
def receiver(*answers):
    """Run a server that gives these answers in turn, and the last ever after; hand out its host
    and what it was sent.
    """
    got = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((self.path, self.headers, body))
            answer = answers[min(len(got), len(answers)) - 1]
            if answer is None:
                return
            self.send_response(answer)
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        def do_GET(self):
            got.append(("GET", self.headers, b""))

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}", got
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def told(host, path="/done?x=1"):
    """Tell the end of a job; return the pauses between the tries."""
    waited = []
    Webhooks(SECRET, hosts=[host], wait=waited.append).tell(status(), f"http://{host}{path}")
    return waited


def test_the_end_is_posted_and_signed():
    """The receiver can check who says it, and when; and whose job it is stays here."""
    with receiver(204) as (host, got):
        assert told(host) == []
    [(path, headers, body)] = got
    assert path == "/done?x=1"
    assert headers["Content-Type"] == "application/json"
    assert headers["X-Promptseg-Delivery"] == "0123abcd"
    said = json.loads(body)
    assert said["images"]["done"] == 7
    assert said["state"] == "done"
    assert b"anna" not in body
    assert b"/photos" not in body
    parts = dict(part.split("=") for part in headers["X-Promptseg-Signature"].split(","))
    assert abs(int(parts["t"]) - time.time()) < 60
    signed = hmac.new(SECRET.encode(), f"{parts['t']}.".encode() + body, hashlib.sha256)
    assert parts["v1"] == signed.hexdigest()


def test_a_signature_worked_out_by_hand():
    """What is signed is the time, a dot and the body."""
    # printf '7.what do ya want for nothing?' | openssl dgst -sha256 -hmac Jefe
    made = signature(b"Jefe", b"what do ya want for nothing?", at=7)
    assert made == "t=7,v1=239f4b39fd23f4376db46b239fae471e7c6824b3931bc60f4c0b745bef8de34f"


def test_it_is_tried_three_times():
    """After a failure, and after a connection that was cut."""
    with receiver(500, None, 200) as (host, got):
        assert told(host) == list(PAUSES)
    assert len(got) == 3
    assert len({headers["X-Promptseg-Delivery"] for _, headers, _ in got}) == 1


@pytest.mark.parametrize(("answer", "said"), [(503, "answered 503"), (302, "answered 302")])
def test_who_does_not_take_it_is_said(answer, said):
    """In one sentence; redirects are not followed."""
    said = rf"was not told to `127\.0\.0\.1`: it {said}"
    with receiver(answer) as (host, got), pytest.raises(JobError, match=said):
        told(host)
    assert [path for path, *_ in got] == ["/done?x=1"] * 3


def test_nobody_there_is_said():
    """A host that is down."""
    with receiver(200) as (host, _):
        pass
    with pytest.raises(JobError, match=r"was not told to .*: connection refused"):
        told(host)


def test_a_host_that_answers_letter_by_letter_is_left(monkeypatch):
    """It would hold up all that waits for the end of other jobs."""
    monkeypatch.setattr(webhooks, "TRY_SECONDS", 0.2)
    left = threading.Event()

    def answer():
        for _ in range(1 + len(PAUSES)):
            caller, _ = server.accept()
            with caller, suppress(OSError):
                for letter in b"HTTP/1.1 200" + b"0" * 10_000:
                    if left.wait(0.01):
                        return
                    caller.sendall(bytes([letter]))

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answer)
        thread.start()
        began = time.monotonic()
        with pytest.raises(JobError, match="was not told"):
            told(f"127.0.0.1:{server.getsockname()[1]}")
        assert time.monotonic() - began < 20
        left.set()
        thread.join()


@pytest.mark.parametrize(
    "address",
    [
        "ftp://a.org/x",
        "file:///etc/passwd",
        "a.org/x",
        "http://",
        "http://a.org:99999/",
        "http://a.org:0/",
        "http://[::1/",
        "http://a.org/x\r\nHost: b.org",
        "http://a.org/ x",
        "http://ä.org/",
    ],
)
def test_what_is_no_address_of_the_web_is_refused(address):
    """When it is submitted, whatever is allowed."""
    asked = Job(inputs=("x",), webhook=address)
    with pytest.raises(JobError, match="`webhook` is an address of the web"):
        check(asked, ["a.org", "", "b.org"])


@pytest.mark.parametrize(
    "address",
    [
        "http://b.org/",
        "http://a.org.b.org/",
        "http://x.a.org/",
        "http://a.org:8080/",
        "http://a.org@b.org/",
        "http://anna:key@a.org/",
        "http://b.org/http://a.org",
        "http://b.org\\@a.org/",
        "http://127.0.0.1/",
    ],
)
def test_a_host_that_is_not_allowed_is_refused(address):
    """Names are exact; a key before the host is not repeated."""
    with pytest.raises(JobError, match="which is not allowed") as caught:
        check(Job(inputs=("x",), webhook=address), ["a.org"])
    assert "key" not in str(caught.value)
    assert "webhook_hosts" in caught.value.hint
    with pytest.raises(JobError, match="which is not allowed"):
        Webhooks(SECRET, hosts=["a.org"]).tell(status(), address)


def test_what_is_allowed_passes():
    """By its name in any case, with its port; and a job without a webhook always."""
    check(Job(inputs=("x",)), [])
    check(Job(inputs=("x",), webhook="https://A.org/x"), ["a.ORG"])
    check(Job(inputs=("x",), webhook="https://a.org:8443/x"), ["a.org:8443"])


def test_settings_turn_it_on(tmp_path):
    """With hosts and a secret; without hosts it is off."""
    file = tmp_path / "secret"
    assert Webhooks.of(Settings()) is None
    assert Webhooks.of(Settings(webhook_secret=file)) is None
    hosts = ("a.org",)
    with pytest.raises(ConfigError, match="there is no secret to sign with"):
        Webhooks.of(Settings(webhook_hosts=hosts))
    with pytest.raises(ConfigError, match=r"cannot read .*no such file"):
        Webhooks.of(Settings(webhook_hosts=hosts, webhook_secret=file))
    file.write_bytes(b"\xff" * 40)
    with pytest.raises(ConfigError, match="is no text"):
        Webhooks.of(Settings(webhook_hosts=hosts, webhook_secret=file))
    file.write_text("short\n")
    with pytest.raises(ConfigError, match="at least 16 letters, got 5"):
        Webhooks.of(Settings(webhook_hosts=hosts, webhook_secret=file))
    file.write_text(f"{SECRET}\n")
    found = Webhooks.of(Settings(webhook_hosts=hosts, webhook_secret=file))
    with receiver(200) as (host, got), pytest.raises(JobError, match="is not allowed"):
        found.tell(status(), f"http://{host}/")
    assert got == []
