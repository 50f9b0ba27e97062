"""Connections that cannot be kept busy for nothing: bounds on heads, and on answers unread."""

from __future__ import annotations

import json
from asyncio import BaseTransport, TimerHandle

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# What nginx and Apache allow for all headers together is 32 and 64 KiB. As much may lie between two
# pieces of a body, or after its end: lengths of chunks, and more headers.
HEAD_BYTES = 64 * 1024
# How long a connection may take to say what it wants, and how long it is kept for the next request.
HEAD_SECONDS = 20.0
IDLE_SECONDS = 15
# An answer is written at once, and as long as it is not all taken, so much of it has to be in each
# of such times. That lets a large mask through a line of 140 kbit/s.
UNREAD_SECONDS = 60.0
UNREAD_BYTES = 2**20

UNREADABLE = {
    "kind": "PromptError",
    "message": "this cannot be read as a request of HTTP",
    "hint": None,
    "field": None,
    "request_id": "",
}


class Connection(HttpToolsProtocol):
    """uvicorn's connection, for which the head of a request is neither endless nor late.

    uvicorn bounds neither, nor how long an answer stays unread, so that a few slow callers could
    take up all connections or memory.
    """

    _head_bytes = 0
    _in_head = True
    _timer: TimerHandle | None = None
    _unread: TimerHandle | None = None

    def connection_made(self, transport: BaseTransport) -> None:
        """Begin to wait for the first request."""
        super().connection_made(transport)  # type: ignore[arg-type]
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._head_came()
        self._was_read()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what is no part of a body, and refuse what has too much of it."""
        if self._head_bytes > HEAD_BYTES:
            self._refuse()
            return
        self._head_bytes += len(data)
        super().data_received(data)

    def on_message_begin(self) -> None:
        """Begin to count the head of the next request."""
        super().on_message_begin()
        if not self._in_head:
            self._in_head, self._head_bytes = True, 0
            self._wait_for_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep the headers of a head, and none that come after the body."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Note that the head is there."""
        self._head_came()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body, after which counting begins anew."""
        self._head_bytes = 0
        super().on_body(body)

    def on_response_complete(self) -> None:
        """Wait for the next request, also where blank lines or the rest of a body come first.

        uvicorn waits for good after either.
        """
        super().on_response_complete()
        if self.cycle.response_complete and not self._in_head and not self.transport.is_closing():
            self._wait_for_head()

    def pause_writing(self) -> None:
        """Begin to wait until the answer is read."""
        super().pause_writing()
        self._wait_for_reader()

    def resume_writing(self) -> None:
        """Wait no more."""
        self._was_read()
        super().resume_writing()

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
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _head_came(self) -> None:
        self._in_head, self._head_bytes = False, 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self) -> None:
        # Into the middle of an answer no other can be written.
        if self._in_head or not self.cycle.response_started:
            self.send_400_response("")
        else:
            self.transport.close()

    def _wait_for_reader(self) -> None:
        left = self.transport.get_write_buffer_size()
        self._unread = self.loop.call_later(UNREAD_SECONDS, self._look_at_reader, left)

    def _look_at_reader(self, before: int) -> None:
        if before - self.transport.get_write_buffer_size() < UNREAD_BYTES:
            self.transport.abort()
        else:
            self._wait_for_reader()

    def _was_read(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()
