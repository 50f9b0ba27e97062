"""A service of one's own that answers what it is told to, byte for byte, and keeps what it got."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple


class Got(NamedTuple):
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class StandIn:
    """Answers each request with the next of `replies`, the last of them for ever."""

    def __init__(self, *replies: bytes) -> None:
        self.replies = list(replies)
        self.got: list[Got] = []
        self.url = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        self.got.append(Got(handler.command, handler.path, headers, body))
        handler.wfile.write(self.replies.pop(0) if len(self.replies) > 1 else self.replies[0])
        handler.close_connection = True


def reply(status, said, **headers):
    """Write an answer; `said` is bytes, or a value for JSON."""
    body = said if isinstance(said, bytes) else json.dumps(said).encode()
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def stream(*events, length=None):
    """Write a stream of events, each a kind and its JSON."""
    body = b"".join(
        b"event: %s\ndata: %s\n\n" % (kind.encode(), json.dumps(said).encode())
        for kind, said in events
    )
    whole = reply(200, body, Content_Type="text/event-stream")
    return whole if length is None else whole[:length]


@contextmanager
def standing_in(*replies):
    """Run a stand-in on a free port of this machine."""
    service = StandIn(*replies)

    class Handler(BaseHTTPRequestHandler):
        def handle_one_request(self):
            self.raw_requestline = self.rfile.readline()
            if self.raw_requestline and self.parse_request():
                service.answer(self)
            else:
                self.close_connection = True

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        service.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield service
        finally:
            server.shutdown()
            thread.join()
