"""A connection is not kept busy for nothing: heads of requests have an end, in bytes and time."""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import suppress

import httpx
import pytest
import uvicorn

from promptseg.server import addresses, connections

# More than all buffers on the way to a caller have room for.
LARGE = bytes(64 * 2**20)


async def app(scope, receive, send):
    size = 0
    while scope["path"] != "/at-once":
        message = await receive()
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    body = LARGE if scope["path"] == "/large" else str(size).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
def port(monkeypatch):
    """Where such connections are taken up; heads may take a fifth of a second."""
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.2)
    taken = addresses.bind("127.0.0.1", 0)
    config = uvicorn.Config(
        app, http=connections.Connection, ws="none", lifespan="off", log_config=None
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]})
    number = taken.getsockname()[1]
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield number
    server.should_exit = True
    thread.join()


@pytest.mark.parametrize("begun", [b"", b"GET / HTTP/1.1\r\nHost: a\r\n"])
def test_a_head_that_does_not_come_is_not_waited_for(port, begun):
    """Nothing, or half a head, and the connection is closed."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as caller:
        caller.sendall(begun)
        assert caller.recv(100) == b""


@pytest.mark.parametrize(
    ("length", "rest"), [(b"0", b"\r\n"), (b"1000000", b"x")], ids=["blank lines", "a body"]
)
def test_an_answered_caller_does_not_stay_for_less_than_a_request(port, length, rest):
    """Blank lines keep no connection, nor does a body for which nobody waits any more."""
    head = b"GET /at-once HTTP/1.1\r\nHost: a\r\nContent-Length: " + length + b"\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=20) as caller:
        caller.sendall(head)
        assert caller.recv(4096).startswith(b"HTTP/1.1 200 ")
        until = time.monotonic() + 20
        with suppress(ConnectionError):
            while time.monotonic() < until:
                caller.sendall(rest)
                time.sleep(0.02)
        assert time.monotonic() < until


@pytest.mark.parametrize(("least", "whole"), [(2**20, True), (2**26, False)])
def test_an_answer_is_kept_for_those_who_take_it(port, monkeypatch, least, whole):
    """Who takes enough of a large answer in time gets all of it; who does not is cut off."""
    monkeypatch.setattr(connections, "UNREAD_SECONDS", 0.3)
    monkeypatch.setattr(connections, "UNREAD_BYTES", least)
    received = 0
    with socket.create_connection(("127.0.0.1", port), timeout=20) as caller:
        caller.sendall(b"POST /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        with suppress(ConnectionError):
            while more := caller.recv(2**18):
                received += len(more)
                time.sleep(0.005)
    assert (received > len(LARGE)) == whole


def test_a_body_may_take_longer_than_a_head(port):
    """Once it is known what is asked, the bound of heads does not count."""

    def slow():
        for _ in range(3):
            time.sleep(0.1)
            yield b"x"

    url = f"http://127.0.0.1:{port}/"
    assert httpx.post(url, content=slow(), trust_env=False, timeout=20).text == "3"


def test_a_head_has_a_bound(port):
    """Beyond it the answer is an error as all are, and the connection ends."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as caller:
        caller.sendall(b"GET / HTTP/1.1\r\nX: ")
        received = b""
        try:
            for _ in range(64):
                caller.sendall(b"x" * 16 * 1024)
                time.sleep(0.002)
        except ConnectionError:
            return  # closed while it went on sending
        while more := caller.recv(4096):
            received += more
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["error"]["message"] == connections.UNREADABLE["message"]


def test_heads_of_one_connection_are_counted_apart(port):
    """Ten long heads after each other are ten, not one endless one; bodies are no part of them."""
    headers = {"X-Long": "x" * 20_000}
    with httpx.Client(trust_env=False, headers=headers, timeout=20) as client:
        for _ in range(10):
            answer = client.post(f"http://127.0.0.1:{port}/", content=b"x" * 200_000)
            assert answer.text == "200000"


def test_headers_after_a_body_have_a_bound(port):
    """They are not kept, and beyond as many as a head may have the connection ends."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as caller:
        caller.sendall(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n")
        received = b""
        try:
            for _ in range(64):
                caller.sendall(b"X: " + b"x" * 16 * 1024 + b"\r\n")
                time.sleep(0.002)
            while more := caller.recv(4096):
                received += more
        except ConnectionError:
            pass  # closed while it went on sending
    assert not received or received.startswith(b"HTTP/1.1 400 ")


def test_small_pieces_of_a_body_are_no_part_of_a_bound(port):
    """What lies between pieces is counted from each of them anew."""

    def pieces():
        for _ in range(20_000):
            yield b"x"

    url = f"http://127.0.0.1:{port}/"
    assert httpx.post(url, content=pieces(), trust_env=False, timeout=60).text == "20000"
