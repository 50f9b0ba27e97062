"""Whose turn it is: what waits, in the order of each client, and clients one after another."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Turns(Generic[Item]):
    """Items that wait, each for a client; who has been served stands behind all others."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, deque[Item]] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def __iter__(self) -> Iterator[Item]:
        """Go through all that wait, client by client."""
        return (item for items in self._waiting.values() for item in items)

    def put(self, client: str, item: Item) -> None:
        """Let an item wait behind the others of its client."""
        self._waiting.setdefault(client, deque()).append(item)

    def first(self) -> Item | None:
        """Return the item whose turn it is; None where nothing waits."""
        return next(iter(self), None)

    def take(self) -> Item:
        """Return the item whose turn it is, which waits no more."""
        client, items = self._waiting.popitem(last=False)
        item = items.popleft()
        if items:
            self._waiting[client] = items
        return item

    def remove(self, client: str, item: Item) -> None:
        """Let an item wait no more, if it does."""
        items = self._waiting.get(client)
        if items is None or item not in items:
            return
        items.remove(item)
        if not items:
            del self._waiting[client]
