"""Files of text taken apart with care: each value knows its place, for messages that name it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from promptseg.errors import MaskError, PromptsegError, reason
from promptseg.geometry import Size
from promptseg.io.windows import MOST_PIXELS
from promptseg.shapes import PointArray


@dataclass(frozen=True)
class Node:
    """A value of a file and where it stands there; what is not as it must be is a `MaskError`."""

    value: object
    file: Path
    place: str = ""

    def __getitem__(self, key: str) -> Node:
        """Return the value of a key that must be there, of what must be an object."""
        found = self.get(key)
        if found is None:
            raise self.wrong(f"`{key}` is missing")
        return found

    def get(self, key: str) -> Node | None:
        """Return the value of a key; None where it is missing or null."""
        value = self.record().get(key)
        place = f"{self.place}.{key}" if self.place else key
        return None if value is None else Node(value, self.file, place)

    def record(self) -> dict[str, object]:
        """Return the whole, which must be an object."""
        if not isinstance(self.value, dict):
            raise self.wrong(f"must be an object, got {_shown(self.value)}")
        return self.value

    def items(self) -> list[Node]:
        """Return the items of what must be a list."""
        if not isinstance(self.value, list):
            raise self.wrong(f"must be a list, got {_shown(self.value)}")
        return [
            Node(item, self.file, f"{self.place}[{index}]") for index, item in enumerate(self.value)
        ]

    def number(self) -> float:
        """Return what must be a finite number."""
        if isinstance(self.value, (int, float)) and not isinstance(self.value, bool):
            try:
                number = float(self.value)
            except OverflowError:
                number = math.inf
            if math.isfinite(number):
                return number
        raise self.wrong(f"must be a finite number, got {_shown(self.value)}")

    def whole(self) -> int:
        """Return what must be a whole number; 7.0 is one."""
        number = self.number()
        if number != int(number):
            raise self.wrong(f"must be a whole number, got {_shown(self.value)}")
        return int(number)

    def text(self) -> str:
        """Return what must be text."""
        if not isinstance(self.value, str):
            raise self.wrong(f"must be text, got {_shown(self.value)}")
        return self.value

    def name(self) -> str:
        """Return what must be usable as the name of an image."""
        name = self.text()
        if not name.strip() or "\0" in name or not _is_encodable(name):
            raise self.wrong(f"must name an image, got {_shown(self.value)}")
        return name

    def numbers(self) -> list[float]:
        """Return what must be a list of finite numbers."""
        value = self.value
        # A file has millions of them, and only what is wrong needs its place.
        if isinstance(value, list) and all(type(each) in (int, float) for each in value):
            with suppress(OverflowError):
                if all(map(math.isfinite, value)):
                    return value
        return [item.number() for item in self.items()]

    def points(self) -> PointArray:
        """Return what must be a list of points, each [x, y], with or without a height."""
        value = self.value
        if isinstance(value, list) and all(isinstance(each, list) for each in value):
            together = Node(list(chain.from_iterable(value)), self.file)
            if all(len(each) == 2 for each in value):
                with suppress(MaskError):
                    return np.array(together.numbers(), dtype=np.float64).reshape(-1, 2)
        return np.array([item._pair() for item in self.items()]).reshape(-1, 2)

    def _pair(self) -> tuple[float, float]:
        numbers = self.numbers()
        if len(numbers) < 2:
            raise self.wrong(f"must be a point [x, y], got {_shown(self.value)}")
        return numbers[0], numbers[1]

    def wrong(self, what: str, *, hint: str | None = None) -> MaskError:
        """Make the error that says what is wrong here."""
        place = f"`{self.place}` " if self.place else ""
        return MaskError(f"`{self.file}`: {place}{what}", hint=hint)

    @contextmanager
    def blamed(self) -> Iterator[None]:
        """Say of whatever goes wrong inside that it is here."""
        try:
            yield
        except PromptsegError as error:
            if str(self.file) in str(error):
                raise
            raise self.wrong(f"cannot be read: {error}", hint=error.hint) from error


def load(path: str | Path) -> Node:
    """Read a JSON file.

    Raises:
        MaskError: the file is missing, a folder, unreadable, or not JSON.
    """
    path = Path(path)
    raw = read_bytes(path)
    try:
        return Node(json.loads(raw), path)
    except RecursionError:
        raise MaskError(f"`{path}` is nested too deeply to be a file of masks") from None
    except ValueError as error:
        raise MaskError(
            f"`{path}` is not JSON: {reason(error)}", hint="Write it again, or copy it whole"
        ) from error


def read_bytes(path: str | Path) -> bytes:
    """Read a whole file.

    Raises:
        MaskError: it is missing, a folder, or cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise MaskError(f"there is no file `{path}`") from None
    except IsADirectoryError:
        raise MaskError(f"`{path}` is a folder", hint="Name a file in it") from None
    except (OSError, ValueError) as error:
        raise MaskError(f"cannot read `{path}`: {reason(error)}") from error


def size_at(node: Node, height: str, width: str) -> Size | None:
    """Return the size that two keys say, None where either is missing.

    Raises:
        MaskError: a side is not a whole number from 1, or they have too many pixels.
    """
    down, across = node.get(height), node.get(width)
    return None if down is None or across is None else _size(node, down, across)


def require_size(node: Node) -> Size:
    """Return the size that `height` and `width` say, which must be there.

    Raises:
        MaskError: one is missing, or they are no size.
    """
    return _size(node, node["height"], node["width"])


def size_in(node: Node) -> Size:
    """Return the size that a list says, [height, width].

    Raises:
        MaskError: it is not two whole numbers from 1, or they have too many pixels.
    """
    sides = node.items()
    if len(sides) != 2:
        raise node.wrong(f"must be [height, width], got {_shown(node.value)}")
    return _size(node, *sides)


def _size(node: Node, down: Node, across: Node) -> Size:
    size = Size(down.whole(), across.whole())
    if size.height < 1 or size.width < 1 or size.height * size.width > MOST_PIXELS:
        raise node.wrong(f"has an impossible size, {size}")
    return size


def _is_encodable(name: str) -> bool:
    """Whether a file can be called so: no half of a character, but bytes as Python escapes them."""
    try:
        name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def _shown(value: object) -> str:
    """Write a value as JSON does, cut where it is long."""
    if isinstance(value, (dict, list)):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    try:
        text = json.dumps(value, default=repr)
    except ValueError:  # a whole number of thousands of digits
        return "a very long number"
    return text if len(text) <= 40 else f"{text[:37]}..."
