"""Files that are sent whole, whichever part of one is asked for."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class WholeFiles:
    """Passes over `Range`, which may be done with it (RFC 9110, 14.2).

    Starlette answers a range that makes no sense in words of its own.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request as if it had asked for all of a file."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        # In place, for the guards learn from this scope which route it was.
        scope["headers"] = [each for each in scope["headers"] if each[0] != b"range"]

        async def unoffered(message: Message) -> None:
            if message["type"] == "http.response.start":
                del MutableHeaders(scope=message)["Accept-Ranges"]
            await send(message)

        await self.app(scope, receive, unoffered)
