"""Which numbers a record of options takes: its checks are its own, so it is asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

from promptseg.errors import ConfigError

# No whole number or coordinate that anybody means is wider, and the engine's arrays hold it.
WIDEST = 2**31 - 1


def bounds(record: type[Any], name: str, kind: Any) -> tuple[int | None, int | None]:
    """Return the least and the most that a record takes for a number, found by asking it.

    Bounds are whole numbers, and those of whole numbers are at most `WIDEST` away from 0. Both are
    None where the field is no number, and one is None where there is none.
    """
    numbers = {int, float} & {kind, *get_args(kind)}
    if not numbers:
        return None, None

    def takes(value: int) -> bool:
        try:
            record(**{name: value})
        except ConfigError:
            return False
        return True

    within = next(value for value in (1, 0) if takes(value))
    least = _furthest(within, -WIDEST, takes)
    most = _furthest(within, WIDEST, takes)
    if int in numbers:
        return least, most
    return (None if least == -WIDEST else least), (None if most == WIDEST else most)


def _furthest(start: int, end: int, takes: Callable[[int], bool]) -> int:
    """Return the last whole number that is taken on the way from one that is to `end`."""
    if takes(end):
        return end
    while abs(end - start) > 1:
        middle = (start + end) // 2
        start, end = (middle, end) if takes(middle) else (start, middle)
    return start
