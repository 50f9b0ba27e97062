"""Sizes of networks, checked before anything is made of them."""

from __future__ import annotations

from promptseg.errors import ConfigError

# Far above any use, and low enough that sizes in a damaged file cannot fill the memory.
LIMIT = 8192


def require_sizes(most: int = LIMIT, **sizes: object) -> None:
    """Refuse what is no whole number from 1 to `most`, or a tuple with one that is not.

    Raises:
        ConfigError: one is not; the message names it.
    """
    for name, size in sizes.items():
        numbers = size if isinstance(size, tuple) else (size,)
        if not all(type(number) is int and 1 <= number <= most for number in numbers):
            raise ConfigError(f"`{name}` has whole numbers from 1 to {most}, got {size}")
