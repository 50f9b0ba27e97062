"""Images of a folder or of a pattern, in the order of their names, however many there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from glob import has_magic
from typing import TypeAlias

from promptseg.errors import JobError
from promptseg.io.images import SUFFIXES
from promptseg.jobs.addresses import joined
from promptseg.jobs.files import Files

# Where in a pattern a path may be: before which of its parts, several where `**` leaves it open.
Places: TypeAlias = frozenset[int]

ANY_FOLDERS = "**"


@dataclass(frozen=True)
class Pattern:
    """Images beneath `root` whose path there fits `parts`, as `io.images.find` means patterns.

    `**` stands for any folders or none, but goes through no link; at the end it stands for all that
    lies beneath. Each image comes once. Hidden files are left out.
    """

    root: str
    parts: tuple[str, ...]

    @classmethod
    def of(cls, address: str) -> Pattern:
        """Split an address before the first of its parts that has a sign of a pattern."""
        protocol, sign, path = address.rpartition("://")
        parts = path.split("/")
        first = next(place for place, part in enumerate(parts) if has_magic(part))
        root = "/".join(parts[:first]) or ("/" if first else "")
        wanted = tuple(part for part in parts[first:] if part not in ("", "."))
        return cls(f"{protocol}{sign}{root}", wanted)

    @classmethod
    def of_folder(cls, address: str) -> Pattern:
        """Take the images directly in a folder."""
        return cls(address, ("*",))

    def find(self, files: Files, problem: Callable[[str], None]) -> Iterator[str]:
        """Go through the addresses of images, folder by folder, sorted.

        A folder that cannot be looked into is a problem, and the others are gone through.
        """
        opened = [(self.root, files.entries(self.root), self._start)]
        while opened:
            folder, entries, places = opened[-1]
            try:
                found = next(entries, None)
            except JobError as error:
                problem(str(error))
                found = None
            if found is None:
                opened.pop()
                continue
            address = joined(folder, found.name)
            if found.is_folder:
                further = self._after(places, found.name, through=not found.is_link)
                if further - {len(self.parts)}:
                    opened.append((address, files.entries(address), further))
            elif self._ends(places, found.name):
                yield address

    def covers(self, address: str, files: Files) -> bool:
        """Whether `find` goes past this address, if it is an image's that is there."""
        start = joined(self.root, "")
        if not address.startswith(start):
            return False
        *folders, name = address[len(start) :].split("/")
        if not {"", ".", ".."}.isdisjoint(folders):  # such as an address, beneath no folder at all
            return False
        folder, places = self.root, self._start
        for each in folders:
            folder = joined(folder, each)
            is_link = ANY_FOLDERS in self.parts and files.is_link(folder)
            places = self._after(places, each, through=not is_link)
        return self._ends(places, name)

    @cached_property
    def _start(self) -> Places:
        return self._opened([0])

    def _ends(self, places: Places, name: str) -> bool:
        """Tell whether a file of this name is one of those wanted."""
        is_image = name.lower().endswith(SUFFIXES) and not name.startswith(".")
        return is_image and len(self.parts) in self._after(places, name)

    def _after(self, places: Places, name: str, *, through: bool = True) -> Places:
        """Say where a path may be after a name; `**` takes it only where it may be gone through."""
        after = []
        for place in places:
            if place == len(self.parts):
                continue
            if self.parts[place] == ANY_FOLDERS:
                after += [place] if through else []
            elif fnmatchcase(name, self.parts[place]):
                after.append(place + 1)
        return self._opened(after)

    def _opened(self, places: Sequence[int]) -> Places:
        """Add where a path is as well, since `**` may stand for nothing."""
        opened = set(places)
        for place in places:
            while place < len(self.parts) and self.parts[place] == ANY_FOLDERS:
                place += 1
                opened.add(place)
        return frozenset(opened)
