"""A file of queries: one line of JSON for each image with what is asked of it (docs/queries.md)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import BinaryIO, NamedTuple

from promptseg.errors import PromptError, PromptsegError, reason
from promptseg.io.files import resolved
from promptseg.queries.question import Question
from promptseg.queries.wording import LINE_HINT, LONGEST_LINE, parse, understand

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class AskedImage:
    """One image of the file, by the name it has there and its path, with all that is asked of it.

    Lines about one image are put together, and the first of its names is kept.
    """

    name: str
    path: Path
    questions: list[Question] = field(default_factory=list)


class Broken(NamedTuple):
    """A line that cannot be understood, counted from 1, and why."""

    line: int
    error: PromptsegError


class Numbered(NamedTuple):
    """A line that is not blank, counted from 1, and its bytes."""

    line: int
    content: bytes


class Asked(NamedTuple):
    """What a file asks, in its order, and the lines that were left out."""

    images: list[AskedImage]
    broken: list[Broken]


def read(path: str | Path) -> Asked:
    """Read a file of queries; a line that makes no sense is left out and said, the others stay.

    Blank lines are skipped. Paths of images and masks are relative to the file's folder. Paths that
    lead to one folder by different ways are one; a link to an image is an image of its own.

    Raises:
        PromptError: the file is missing, a folder, or asks nothing.
    """
    path = Path(path)
    folder_of = cache(resolved)
    asked: dict[Path, AskedImage] = {}
    broken: list[Broken] = []
    for number, content in _lines(path):
        try:
            line = parse(content)
            written = path.parent / line.image
            place = folder_of(written.parent) / written.name
            image = asked.get(place) or AskedImage(Path(line.image).as_posix(), written)
            found = understand(line.queries, path.parent, before=image.questions)
            image.questions.extend(found)
        except PromptsegError as error:
            broken.append(Broken(number, error))
        else:
            if image.questions:
                asked[place] = image
    if not asked and not broken:
        raise PromptError(f"`{path}` asks nothing", hint=LINE_HINT)
    return Asked(list(asked.values()), broken)


def lines(file: BinaryIO) -> Iterator[Numbered]:
    """Go through the lines of an open file that are not blank, one in memory at a time.

    Of one that is too long there is as much as `parse` needs to refuse it.

    Raises:
        OSError: the file cannot be read.
    """
    number = 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        if number == 1:
            line = line.removeprefix(BYTE_ORDER_MARK)
        rest = line
        while rest and not rest.endswith(b"\n"):
            rest = file.readline(LONGEST_LINE)
        if line.strip():
            yield Numbered(number, line.removesuffix(b"\n"))


def _lines(path: Path) -> Iterator[Numbered]:
    try:
        with path.open("rb") as file:
            yield from lines(file)
    except FileNotFoundError:
        raise PromptError(f"there is no file `{path}`") from None
    except IsADirectoryError:
        raise PromptError(f"`{path}` is a folder", hint="Name a file of lines of JSON") from None
    except (OSError, ValueError) as error:
        raise PromptError(f"cannot open `{path}`: {reason(error)}") from error
