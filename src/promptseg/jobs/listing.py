"""The images that a job is about: its inputs gone through one by one, in an order that stays."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from glob import has_magic
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from promptseg.errors import JobError, PromptError, PromptsegError, reason
from promptseg.jobs.addresses import joined, local_path, protocol_of
from promptseg.jobs.files import Files, Kind, files_at
from promptseg.jobs.job import Job
from promptseg.jobs.ledger import Item
from promptseg.jobs.walking import Pattern
from promptseg.jobs.within import FilesWithin, require_within
from promptseg.queries import LINE_HINT, Question, lines, parse, understand

QUERIES = ".jsonl"
# What is kept of problems, which may be those of a million lines.
MOST_PROBLEMS = 1000
PROBLEM_LETTERS = 1000


@dataclass
class Problems:
    """Sentences about inputs that are missing or make no sense, each of the first thousand."""

    _said: list[str] = field(default_factory=list)
    _more: int = 0

    def add(self, sentence: str) -> None:
        """Keep a sentence; letters that no file can hold are spelt out."""
        if len(self._said) < MOST_PROBLEMS:
            self._said.append(_spelt(sentence)[:PROBLEM_LETTERS])
        else:
            self._more += 1

    @property
    def said(self) -> tuple[str, ...]:
        """All sentences, and how many more there are."""
        more = (f"and {self._more} more problems with inputs",) if self._more else ()
        return (*self._said, *more)


class Named(NamedTuple):
    """An input that is one file: an image, or queries about images."""

    address: str

    @property
    def has_queries(self) -> bool:
        """Whether it is a file of queries."""
        return self.address.lower().endswith(QUERIES)


Source: TypeAlias = Named | Pattern


def items(job: Job, problems: Problems, *, beat: Callable[[], object] = int) -> Iterator[Item]:
    """Go through the images of a job, holding none; problems are known once it has ended.

    Inputs come in their order, images of a folder or a pattern by their names, and lines of a file
    of queries as they stand there, each an item of its own. An image that several inputs stand for
    comes once. The same inputs give the same items, so that a listing may go on where it ended.

    A folder stands for the images directly in it, `folder/**` for those of all its folders too. A
    file that is named is taken as it is. Paths are those of this process: relative ones depend on
    its folder. What does not lie `within` the job's bounds is a problem, and is not looked at.

    `beat` is called over and over, also where there is no image for long, and ends this by raising.
    """
    try:
        is_asked = bool(questions_of(job, Item("")))
    except PromptsegError as error:
        problems.add(f"the queries of the job: {error}")
        return
    named: set[Named] = set()
    patterns: list[Pattern] = []
    for number, written in enumerate(job.inputs, start=1):
        beat()
        try:
            files = FilesWithin(files_at(written), job.within, beat)
            source = _source(written, files)
        except PromptsegError as error:
            # Without the input itself: an address that is refused may have a key in it.
            problems.add(f"input {number}: {error}")
            continue
        if isinstance(source, Named) and source.has_queries:
            if source not in named:
                yield from _lines(source.address, files, problems, job.within, is_asked=is_asked)
        elif not is_asked:
            problems.add(f"nothing is asked about `{written}`: the job has no `queries`")
        else:
            for image in _images(source, files, problems, written):
                if Named(image) in named or any(each.covers(image, files) for each in patterns):
                    continue
                try:
                    require_within(image, job.within)
                except JobError as error:
                    problems.add(str(error))
                    continue
                if _spelt(image) == image:
                    yield Item(image)
                else:
                    problems.add(f"the name of `{image}` is no text in UTF-8")
        if isinstance(source, Named):
            named.add(source)
        else:
            patterns.append(source)


def questions_of(job: Job, item: Item) -> list[Question]:
    """Return what a job asks about an image: the image's own queries if it has some, or else its.

    Raises:
        PromptError: one of them makes no sense.
        JobError: the image, or the mask of a query, does not lie within the job's bounds.
    """
    said = job.queries if item.queries is None else item.queries
    questions = understand(said, Path())
    if item.image:
        require_within(item.image, job.within)
    for question in questions:
        if question.mask is not None:
            require_within(str(question.mask), job.within)
    return questions


def _source(written: str, files: Files) -> Source:
    """Tell what an input stands for.

    Raises:
        JobError: it is not there.
    """
    address = written if protocol_of(written) else _posix(local_path(written))
    kind = files.kind(address)
    if kind is Kind.FILE:
        return Named(address)
    if kind is Kind.FOLDER:
        return Pattern.of_folder(address)
    if has_magic(address):
        return Pattern.of(address)
    raise JobError(f"there is no file or folder `{written}`")


def _images(source: Source, files: Files, problems: Problems, written: str) -> Iterator[str]:
    if isinstance(source, Named):
        yield source.address
        return
    found = None
    for found in source.find(files, problems.add):
        yield found
    if found is None and has_magic(written):
        problems.add(f"no image matches `{written}`")
    elif found is None:
        beneath = joined(written, "**")
        problems.add(f"the folder `{written}` has no images; `{beneath}` looks beneath it too")


def _lines(
    address: str, files: Files, problems: Problems, within: Sequence[str], *, is_asked: bool
) -> Iterator[Item]:
    """Go through a file of queries; a line that makes no sense is a problem."""
    has_lines = False
    try:
        with files.open(address) as file:
            for number, content in lines(file):
                try:
                    item = _item(content, address, within)
                except PromptsegError as error:
                    problems.add(f"{address}, line {number}: {error}")
                else:
                    if item.queries is None and not is_asked:
                        continue
                    yield item
                has_lines = True
    except JobError as error:
        problems.add(str(error))
    except OSError as error:
        problems.add(f"cannot read `{address}`: {reason(error)}")
    else:
        if not has_lines:
            problems.add(f"`{address}` asks nothing")


def _item(content: bytes, address: str, within: Sequence[str]) -> Item:
    """Check a line, and find its image and the masks of its queries from where its file is."""
    line = parse(content)
    understand(line.queries, Path())
    image = _beside(address, line.image)
    if _spelt(image) != image:
        raise PromptError("`image` is no text in UTF-8", hint=LINE_HINT)
    queries = tuple(_with_mask(query, address) for query in line.queries)
    for named in (image, *(query["mask"] for query in queries if "mask" in query)):
        require_within(named, within)
    return Item(image, queries or None)


def _beside(file: str, written: str) -> str:
    """Find what a file of queries names: beside it, at a path, or at an address."""
    if protocol_of(written):
        return written
    if not protocol_of(file):
        return _posix(local_path(file).parent / local_path(written))
    protocol, _, path = file.partition("://")
    folder = posixpath.dirname(path)
    found = posixpath.normpath(posixpath.join(folder, written))
    bucket = folder.partition("/")[0]
    if found.startswith(("/", "..")) or (bucket and not found.startswith(f"{bucket}/")):
        raise PromptError(
            f"`{written:.200}` leads out of the store `{protocol}://{bucket}`",
            hint="Paths are relative to the file of queries",
        )
    return f"{protocol}://{found}"


def _with_mask(query: Any, address: str) -> Mapping[str, Any]:
    """Return a query whose mask, if it has one, is found wherever the query is read."""
    assert isinstance(query, dict)
    if "mask" not in query:
        return query
    mask = query["mask"]
    if protocol_of(address) or protocol_of(mask):
        raise PromptError(
            f"the mask `{mask:.200}` is in a store, and masks are read from this machine only",
            hint="Copy the file of queries and its masks to this machine",
        )
    return {**query, "mask": _beside(address, mask)}


def _posix(path: Path) -> str:
    """Write a path so that what lies in it is named as short as can be."""
    written = path.as_posix()
    return "" if written == "." else written


def _spelt(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()
