"""A connection is not kept busy for nothing: heads of requests have an end, in bytes and time."""

from __future__ import annotations

import json
import socket
import threading
import time

import httpx
import pytest
import uvicorn

from promptseg.server import addresses, connections


async def app(scope, receive, send):
    size = 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    headers = [(b"content-length", str(len(str(size))).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": str(size).encode()})


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
