"""Connections that cannot be kept busy for nothing: bounds on the head of a request."""

from __future__ import annotations

import json
from asyncio import BaseTransport, TimerHandle

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# What nginx and Apache allow for all headers together is 32 and 64 KiB.
HEAD_BYTES = 64 * 1024
# How long a connection may take to say what it wants, and how long it is kept for the next request.
HEAD_SECONDS = 20.0
IDLE_SECONDS = 15

UNREADABLE = {
    "kind": "PromptError",
    "message": "this cannot be read as a request of HTTP",
    "hint": None,
    "field": None,
    "request_id": "",
}


class Connection(HttpToolsProtocol):
    """uvicorn's connection, for which the head of a request is neither endless nor late.

    uvicorn bounds neither, so that a few slow senders could take up all connections or memory.
    """

    _head_bytes = 0
    _in_head = True
    _timer: TimerHandle | None = None

    def connection_made(self, transport: BaseTransport) -> None:
        """Begin to wait for the first request."""
        super().connection_made(transport)  # type: ignore[arg-type]
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._head_came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what belongs to a head, and refuse one that is too long."""
        if self._in_head:
            if self._head_bytes > HEAD_BYTES:
                self.send_400_response("")
                return
            self._head_bytes += len(data)
        super().data_received(data)

    def on_message_begin(self) -> None:
        """Begin to count the head of the next request."""
        super().on_message_begin()
        if not self._in_head:
            self._in_head, self._head_bytes = True, 0
            self._wait_for_head()

    def on_headers_complete(self) -> None:
        """Note that the head is there."""
        self._head_came()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no request as every error is answered, and close."""
        body = json.dumps({"error": UNREADABLE}).encode()
        head = (
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()

    def _wait_for_head(self) -> None:
        self._timer = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _head_came(self) -> None:
        self._in_head = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()
