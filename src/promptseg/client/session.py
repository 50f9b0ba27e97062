"""One object after another, refined step by step on an image that the service keeps."""

from __future__ import annotations

import re
from contextlib import suppress
from types import TracebackType

from promptseg.client import wire
from promptseg.client.connection import NOTHING, Body, Connection
from promptseg.errors import PromptsegError, SessionError
from promptseg.options import SegmentOptions
from promptseg.prompts import as_prompt
from promptseg.requests import OnePrompt
from promptseg.results import Masks

PATH = "/v1/sessions"
# What a service may call a session, safe in an address.
NAME = re.compile(r"[A-Za-z0-9_-]{1,200}")


class Session:
    """Collects points, a box and hints for one object; each step starts from the mask before it.

    Points accumulate, a later box or hint replaces the earlier one. `Client.session` opens one. Use
    it in a `with` block, at whose end the service lets go of the image; the answers remain.
    """

    def __init__(self, connection: Connection, image: bytes, options: SegmentOptions) -> None:
        self.options = options
        self._connection = connection
        query = wire.written(wire.option_words(options))
        said = connection.ask("POST", PATH, Body({"query": query}, {"image": image}))
        name = said.get("id")
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise wire.nonsense("it names no session")
        self._path = f"{PATH}/{name}"
        self._is_open = True
        self._masks: Masks | None = None

    @property
    def masks(self) -> Masks | None:
        """The answer to all that was said of the object so far."""
        return self._masks

    def add(self, prompt: OnePrompt) -> Masks:
        """Say more about the object and return the new answer.

        Raises:
            PromptError: it is no prompt, or does not fit the image; the session is as before.
            SessionError: the session is closed, here or by the service after a while.
        """
        new = as_prompt(prompt)
        wire.check(self.options, [new])
        words = wire.written(wire.prompt_words(new))
        self._masks = masks = wire.masks_of(self._ask("POST", "/prompts", Body({"query": words})))
        return masks

    def undo(self) -> Masks | None:
        """Take the last step back and return the answer before it, None when nothing is left.

        Raises:
            SessionError: as `add`.
        """
        self._ask("DELETE", "/prompts/last")
        # Only the service knows how many steps it has, also of those whose answers were lost.
        said = self._ask("GET")
        match said:
            case {"steps": 0}:
                self._masks = None
            case {"current": dict(current)}:
                self._masks = wire.masks_of(current)
            case _:
                raise wire.nonsense("it has no `steps` and `current` masks")
        return self._masks

    def accept(self, label: str | None = None, *, mask: int = 0) -> Masks:
        """Keep a mask of the answer as an object and begin with the next; return it, which is done.

        `mask` says which one where there are several candidates; the others are let go.

        Raises:
            PromptError: there is no such mask, or the label is empty or too long.
            SessionError: as `add`.
        """
        words = wire.written(wire.accept_words(label, mask))
        said = self._ask("POST", "/objects", Body({"query": words}))
        self._masks = None
        return wire.masks_of(said)

    def close(self) -> None:
        """Have the service let go of the image, if it has not yet."""
        if self._is_open:
            self._is_open = False
            with suppress(SessionError):
                self._connection.ask("DELETE", self._path)

    def _ask(self, method: str, path: str = "", body: Body = NOTHING) -> dict[str, object]:
        if not self._is_open:
            raise SessionError(
                "the session is closed", hint="Call it inside the `with` block, or open another"
            )
        return self._connection.ask(method, f"{self._path}{path}", body)

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # A service that cannot be told lets go of the image after a while.
        with suppress(PromptsegError):
            self.close()
