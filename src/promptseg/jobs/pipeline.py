"""Many images through a model: reading runs ahead and writing behind, so that it never waits.

Threads read images before their turn comes, others ask the model in groups, and others write what
came of it. What is under way is bounded by number and by bytes, so memory is steady however many
images there are.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, NamedTuple, Protocol, TypeVar

import torch

from promptseg.api import Model
from promptseg.io import images
from promptseg.io.headers import stated_size

Item = TypeVar("Item")
Seen = TypeVar("Seen")
Done = TypeVar("Done")
Item_ = TypeVar("Item_", contravariant=True)
Done_ = TypeVar("Done_", covariant=True)

# Groups that are read before they are asked about.
GROUPS_AHEAD = 2
# What images that are under way may take once decoded: eleven of 16 megapixels.
MOST_BYTES = 512 * 2**20
READERS, WRITERS = 2, 2
# Two groups at a time: while one is put together and logged, the other is computed.
ASKERS = 2
# As many bytes of a file state its size, in almost all.
HEADER_BYTES = 1 << 16
# Seconds after which the caller looks up from waiting, as Windows hears Ctrl+C only then.
LOOK_UP = 0.5


class Stages(Protocol[Item_, Seen, Done_]):
    """What is done with each image; every stage is called by several threads.

    What one of them raises ends the pipeline, so trouble with an image is a part of its outcome.
    """

    def weigh(self, item: Item_, /) -> int:
        """Return the bytes that an image will take, about."""

    def read(self, item: Item_, /) -> Seen:
        """Read an image."""

    def is_open(self, seen: Seen, /) -> bool:
        """Whether the model is to be asked about an image; else it is written at once."""

    def ask(self, group: Sequence[Seen], /) -> Generator[Seen, None, None]:
        """Ask about images together, and hand out each when all about it is known.

        One may be handed out by the asking of another, whose answer it waited for.
        """

    def write(self, seen: Seen, /) -> Done_:
        """Write what came of an image."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How many images are asked about at a time, by how many threads, and what may be under way."""

    group: int = 1
    askers: int = 1
    readers: int = READERS
    writers: int = WRITERS
    most_bytes: int = MOST_BYTES

    @classmethod
    def of(cls, model: Model) -> Pace:
        """Return what suits a model and its device.

        Cores that work on an image each are given two groups at a time, so that none waits for the
        last of a group. Elsewhere memory is planned for one group, so two are half of it each.
        """
        at_once = max(model.usage().images, 1)
        if at_once == 1:
            return cls()
        on_cores = model.runtime.device.type == "cpu"
        return cls(group=at_once if on_cores else (at_once + 1) // 2, askers=ASKERS)

    @property
    def most_images(self) -> int:
        """How many images may be under way."""
        return self.group * (self.askers + GROUPS_AHEAD) + self.writers


def run(
    stages: Stages[Item, Seen, Done], items: Iterable[Item], pace: Pace
) -> Generator[Done, None, None]:
    """Take items through the stages, and hand out what came of each, in their order.

    Where the caller leaves or a stage raises, what has begun is ended and the rest is left. When
    this is over, none of its threads is at work.
    """
    belt = _Belt(stages, items, pace)
    threads = [
        threading.Thread(target=belt.guard, args=[work], name=f"promptseg-{name}", daemon=True)
        for name, work, count in (
            ("read", belt.read, pace.readers),
            ("ask", belt.ask, pace.askers),
            ("write", belt.write, pace.writers),
        )
        for _ in range(count)
    ]
    try:
        for thread in threads:
            thread.start()
        yield from belt.done()
    finally:
        belt.stop()
        for thread in threads:
            if thread.ident is not None:
                thread.join()


def decoded_bytes(path: Path) -> int:
    """Return what an image will take, by its header, else by its file; 0 where there is none."""
    try:
        if not path.is_file():  # what a pipe says can be read once, by whoever decodes it
            return 0
        with images.open_file(path) as file:
            size = stated_size(file.read(HEADER_BYTES))
            return 3 * size.height * size.width
    except OSError:  # as is every error about an image
        with suppress(OSError, ValueError):
            return path.stat().st_size
    return 0


class _Place(NamedTuple):
    """Which of the items an image is, and the room that it takes."""

    number: int
    weight: int


class _Belt(Generic[Item, Seen, Done]):
    """The images under way; whatever changes about them is told to all who wait.

    They are let in, asked about and handed out in the order of the items, so that groups are the
    same in every run, but for the last and where there is no room for a whole one.
    """

    def __init__(self, stages: Stages[Item, Seen, Done], items: Iterable[Item], pace: Pace) -> None:
        self._stages = stages
        self._items = iter(items)
        self._pace = pace
        self._taking = threading.Lock()
        self._askers = threading.Barrier(pace.askers)
        self._changed = threading.Condition()
        self._failure: BaseException | None = None
        self._is_stopped = False
        # Whether no more is let in, for good or for want of room.
        self._is_over = self._is_full = False
        # How many have been let in, found in order after being read, and handed to their end.
        self._admitted = self._settled = self._ended = 0
        self._bytes = 0
        self._places: dict[int, _Place] = {}  # by which object it is
        self._read: dict[int, tuple[Seen, bool]] = {}
        self._open: deque[Seen] = deque()
        self._complete: deque[Seen] = deque()
        self._done: dict[int, Done] = {}

    def guard(self, work: Callable[[], None]) -> None:
        """Do the work of a thread; what it raises ends all, and is for the caller."""
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - such as an interruption, raised by `done`
            with self._changed:
                self._failure = self._failure or error
                self._is_stopped = True
                self._changed.notify_all()

    def stop(self) -> None:
        """Let every thread end with what it has begun."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
        self._askers.abort()

    def done(self) -> Iterator[Done]:
        """Wait for what came of the items, one after the other."""
        number = 0
        while True:
            with self._changed:
                while not (number in self._done or self._is_stopped or self._is_at_end):
                    self._changed.wait(LOOK_UP)
                if self._failure is not None:
                    raise self._failure
                if number not in self._done:
                    return
                done = self._done.pop(number)
            yield done
            number += 1

    @property
    def _is_at_end(self) -> bool:
        return self._is_over and self._ended == self._admitted

    def read(self) -> None:
        """Read items, as long as there are any."""
        while (taken := self._take()) is not None:
            item, place = taken
            seen = self._stages.read(item)
            is_open = self._stages.is_open(seen)
            with self._changed:
                self._places[id(seen)] = place
                self._read[place.number] = seen, is_open
                self._settle()
                self._changed.notify_all()
            del seen, item, taken

    def _take(self) -> tuple[Item, _Place] | None:
        """Take the next item as soon as there is room for it."""
        with self._taking:
            if self._is_stopped or self._is_over:
                return None
            try:
                item = next(self._items)
            except StopIteration:
                with self._changed:
                    self._is_over = True
                    self._changed.notify_all()
                return None
            weight = self._stages.weigh(item)
            with self._changed:
                while not (self._has_room(weight) or self._is_stopped):
                    self._is_full = True
                    self._changed.notify_all()
                    self._changed.wait()
                self._is_full = False
                place = _Place(self._admitted, weight)
                self._admitted += 1
                self._bytes += weight
            return None if self._is_stopped else (item, place)

    def _has_room(self, weight: int) -> bool:
        """Tell whether an image may be let in; one that is larger than all room is alone there."""
        under_way = self._admitted - self._ended
        fits = self._bytes + weight <= self._pace.most_bytes
        return under_way == 0 or (fits and under_way < self._pace.most_images)

    def _settle(self) -> None:
        """Send on what is read and has nothing before it that is not."""
        while self._settled in self._read:
            seen, is_open = self._read.pop(self._settled)
            (self._open if is_open else self._complete).append(seen)
            self._settled += 1

    def ask(self) -> None:
        """Ask about groups, as long as there are any."""
        # A thread takes torch's number of threads over with its first question, and while one of
        # them sets threads of one core up, another would take theirs.
        torch.get_num_threads()
        self._askers.wait()
        while group := self._group():
            with closing(self._stages.ask(group)) as answered:
                for seen in answered:
                    with self._changed:
                        self._complete.append(seen)
                        self._changed.notify_all()
                    if self._is_stopped:
                        return
                    del seen
            del group

    def _group(self) -> list[Seen]:
        with self._changed:
            while True:
                if self._is_stopped:
                    return []
                is_all = self._settled == self._admitted and (self._is_over or self._is_full)
                if len(self._open) >= self._pace.group or (is_all and self._open):
                    count = min(self._pace.group, len(self._open))
                    return [self._open.popleft() for _ in range(count)]
                if is_all and self._is_over:
                    return []
                self._changed.wait()

    def write(self) -> None:
        """Write what is complete, until all is written."""
        while True:
            with self._changed:
                while not (self._complete or self._is_stopped or self._is_at_end):
                    self._changed.wait()
                if not self._complete:
                    return
                seen = self._complete.popleft()
            done = self._stages.write(seen)
            with self._changed:
                place = self._places.pop(id(seen))
                self._done[place.number] = done
                self._bytes -= place.weight
                self._ended += 1
                self._changed.notify_all()
            del seen
