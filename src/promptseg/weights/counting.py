"""How often something is repeated in a network, told by the numbers in the names of its tensors."""

from __future__ import annotations

import re
from collections.abc import Collection


def count(tensors: Collection[str], beginning: str) -> int:
    """Return how many numbers stand for `{}`, however high a name may count.

    Raises:
        LookupError: none does.
        ValueError: one has too many digits.
    """
    found = numbers(tensors, beginning)
    if not found:
        raise LookupError(beginning)
    return len(found)


def numbers(tensors: Collection[str], beginning: str) -> list[int]:
    """Return the numbers that stand for `{}` in names that begin so, each once, ascending.

    Raises:
        ValueError: one has too many digits.
    """
    wanted = re.compile(re.escape(beginning).replace(r"\{\}", r"(\d+)"))
    return sorted({int(fit[1]) for name in tensors if (fit := wanted.match(name))})
