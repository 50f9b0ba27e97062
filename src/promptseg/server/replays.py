"""An object's steps answered from their list alone, as the library's session answers them.

The list is what counts, so that undo is the list minus one. What the beginnings of lists gave is
remembered, and one more step costs one question to the model, one less none.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from promptseg.engine.digest import Name
from promptseg.engine.session import Step, Steps
from promptseg.options import SegmentOptions, TidyOptions
from promptseg.prompts import Prompt
from promptseg.results import Masks
from promptseg.server.drawing import run_bytes
from promptseg.shapes import LogitArray

# Logits take 64 to 256 KiB a step, so this is many hundred steps.
MOST_BYTES = 128 * 2**20


class Given(NamedTuple):
    """What a step gave, untidied, and the best mask's logits, from which the next one starts."""

    masks: Masks
    logits: LogitArray

    @property
    def held_bytes(self) -> int:
        """How much memory it takes."""
        return self.logits.nbytes + sum(map(run_bytes, self.masks.runs))


class Replays:
    """What lists of steps gave, by all that it depends on; the least recently used goes first.

    Threads may share it.
    """

    def __init__(self, *, max_bytes: int = MOST_BYTES) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[bytes, Given] = OrderedDict()
        self._bytes = 0

    @property
    def held_bytes(self) -> int:
        """How much memory all of it takes."""
        return self._bytes

    def longest(self, keys: Sequence[bytes]) -> tuple[int, Given | None]:
        """Return how many steps are known, by the keys of each beginning, and what these gave."""
        with self._lock:
            for key in keys:
                if key in self._kept:
                    self._kept.move_to_end(key)
            for count in range(len(keys), 0, -1):
                if (known := self._kept.get(keys[count - 1])) is not None:
                    return count, known
        return 0, None

    def keep(self, key: bytes, given: Given) -> None:
        """Remember what a list of steps gave."""
        with self._lock:
            if (before := self._kept.pop(key, None)) is not None:
                self._bytes -= before.held_bytes
            self._kept[key] = given
            self._bytes += given.held_bytes
            while self._bytes > self._max_bytes:
                _, oldest = self._kept.popitem(last=False)
                self._bytes -= oldest.held_bytes


async def replay(
    prompts: Sequence[Prompt],
    options: SegmentOptions,
    *,
    name: Name,
    replays: Replays,
    ask: Callable[[Prompt, SegmentOptions], Awaitable[Masks]],
) -> Masks | None:
    """Answer what was said of one object of the image `name` step by step; None for no steps.

    `ask` has the model answer a prompt, with logits. The masks are not tidied.

    Raises:
        Whatever `ask` does.
    """
    plain = replace(options, logits=False, tidy=TidyOptions())
    # A base is a mask of the image's size, and takes some milliseconds to be named.
    keys = await asyncio.to_thread(keys_of, prompts, plain, name)
    count, known = replays.longest(keys)
    steps = Steps()
    for said in prompts[:count]:
        assert known is not None
        steps = Steps((Step(steps.said(said), known.masks, known.logits),))
    for key, new in zip(keys[count:], prompts[count:], strict=True):
        answer = await ask(steps.asked(new), replace(plain, logits=True))
        steps = steps.with_answer(new, answer, plain)
        last = steps.taken[-1]
        # A copy, for these are a row of all candidates' logits, which would stay otherwise.
        replays.keep(key, Given(last.masks, last.logits.copy()))
    return steps.masks


def keys_of(prompts: Sequence[Prompt], options: SegmentOptions, name: Name) -> list[bytes]:
    """Name each beginning of a list of steps by all that its answer depends on."""
    key = hashlib.sha256(repr((name, options)).encode()).digest()
    keys = []
    for prompt in prompts:
        digest = hashlib.sha256(key)
        for part in _parts(prompt):
            digest.update(repr((part.dtype.str, part.shape)).encode())
            digest.update(np.ascontiguousarray(part).data)
        key = digest.digest()
        keys.append(key)
    return keys


def _parts(prompt: Prompt) -> list[np.ndarray]:
    """List what a prompt says; what it does not say is an array of nothing."""
    nothing = np.empty(0)
    points, box, hint = prompt.points, prompt.box, prompt.hint
    return [
        nothing if points is None else points.coordinates,
        nothing if points is None else points.labels,
        nothing if box is None else box.as_array(),
        nothing if hint is None else np.packbits(hint.mask) if not hint.is_logits else hint.mask,
        nothing if hint is None else np.array(hint.mask.shape),
    ]
