"""How much is worked on at a time, and what happens when memory runs out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from promptseg.errors import OutOfMemoryError

Item = TypeVar("Item")
Result = TypeVar("Result")

logger = logging.getLogger(__name__)

FULL = "Choose a smaller model or the dtype bfloat16, or end other programs that hold memory"
# How torch's allocators word it where they have no exception of their own: those of the CPU on
# Linux and on Windows, of MPS, and CUDA's own libraries.
WORDS = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
)


class Portions:
    """Works through items at most `most` at a time; half of that, for good, when memory runs out.

    `release` gives back what can be spared before another try. `what` names the items in messages.
    """

    def __init__(self, most: int, *, what: str, release: Callable[[], None]) -> None:
        self.most = most
        self.what = what
        self._release = release

    def run(
        self, items: Sequence[Item], work: Callable[[Sequence[Item]], Sequence[Result]]
    ) -> Iterator[Result]:
        """Hand out the results in order, each portion's when it is done.

        Raises:
            OutOfMemoryError: there is not enough memory for a single item.
        """
        start = 0
        spared = False
        while start < len(items):
            portion = items[start : start + self.most]
            try:
                results = work(portion)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if len(portion) == 1 and spared:
                    raise OutOfMemoryError(
                        f"out of memory while {self.what} one at a time",
                        hint=FULL,
                    ) from error
            else:
                yield from results
                start += len(portion)
                continue
            # Outside of `except`, whose traceback would keep the tensors of the failed try.
            spared = True
            self._release()
            if len(portion) > 1:
                self.most = min(self.most, len(portion) // 2)
                logger.warning(
                    "out of memory while %s %d at a time; going on with %d",
                    self.what,
                    len(portion),
                    self.most,
                )


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error, torch's or Python's, says that memory has run out."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    return any(words in str(error) for words in WORDS)
