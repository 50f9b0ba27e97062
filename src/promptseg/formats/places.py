"""Where files of masks go and come from: names for the files of many images, photos by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath

from promptseg.errors import ImageError, MaskError, OutputError
from promptseg.formats.answers import Answer
from promptseg.formats.pixels import measure
from promptseg.geometry import Size
from promptseg.io.images import SUFFIXES

SIZE_HINT = "Give the folder of the photos, `images=` or `--images`, and sizes are read there"


class Photos:
    """The photos of a folder, and of those in it, found by the names that files of masks have.

    Raises:
        ImageError: the folder is not there, or is none.
    """

    def __init__(self, folder: str | Path | None) -> None:
        if folder is not None and not Path(folder).is_dir():
            raise ImageError(f"there is no folder `{folder}`", hint=SIZE_HINT)
        self._folder = None if folder is None else Path(folder)

    def find(self, name: str) -> Path | None:
        """Return the photo of this name, with or without its ending; None where there is none."""
        short = PurePosixPath(name.replace("\\", "/")).name
        return self._by_name.get(short) or self._by_stem.get(PurePosixPath(short).stem)

    @cached_property
    def _paths(self) -> list[Path]:
        """All photos, the last first; looked for late, as most files of masks say sizes."""
        if self._folder is None:
            return []
        paths = sorted(self._folder.rglob("*"), reverse=True)
        return [path for path in paths if path.suffix.lower() in SUFFIXES and path.is_file()]

    @cached_property
    def _by_name(self) -> dict[str, Path]:
        return {path.name: path for path in self._paths}

    @cached_property
    def _by_stem(self) -> dict[str, Path]:
        return {path.stem: path for path in self._paths}

    def require(self, name: str) -> Path:
        """Return the photo of this name.

        Raises:
            ImageError: there is none.
        """
        found = self.find(name)
        if found is None:
            raise ImageError(f"there is no photo `{name}` in the folder of images")
        return found

    def size(self, name: str, said_in: Path) -> Size:
        """Return the size of the photo of this name, which the file `said_in` leaves out.

        Raises:
            MaskError: there is no such photo.
            ImageError: it cannot be read.
        """
        found = self.find(name)
        if found is None:
            raise MaskError(
                f"`{said_in}` does not say how large `{name}` is, and no photo of that name is "
                "at hand",
                hint=SIZE_HINT,
            )
        return measure(found)


def targets(answers: Sequence[Answer], path: str | Path, ending: str) -> list[Path]:
    """Name a file for each image: `path` itself where it ends like one, else files in that folder.

    Raises:
        OutputError: several images, or none, are to go to one file, or two names are one path.
    """
    path = Path(path)
    if path.suffix.lower() != Path(f"image.{ending}").suffix or _is_folder(path):
        return [path / f"{stem}.{ending}" for stem in stems(answers)]
    if len(answers) != 1:
        raise OutputError(
            f"{len(answers)} images do not fit in the one file `{path}`",
            hint="Name a folder, and each image gets a file of its own",
        )
    return [path]


def stems(answers: Sequence[Answer]) -> list[str]:
    """Name the file of each image, without a suffix, as `unique_names` does.

    Raises:
        OutputError: two names are one path, written in two ways.
    """
    names = unique_names([Path(answer.name) for answer in answers])
    if len(names) < len(answers):
        raise OutputError(
            "two images have names that stand for one file",
            hint="Write each name in one way, such as `photo.jpg` and not `./photo.jpg` too",
        )
    return [names[Path(answer.name)] for answer in answers]


def unique_names(paths: Sequence[Path]) -> dict[Path, str]:
    """Name each path after its stem; shared stems get their folder before them, or a number."""
    stems = Counter(path.stem.casefold() for path in paths)
    names: dict[Path, str] = {}
    taken: set[str] = set()
    for path in paths:
        shared = stems[path.stem.casefold()] > 1
        folder = path.parent.name if shared else ""
        wanted = f"{folder}-{path.stem}" if folder else path.stem
        name, number = wanted, 2
        while name.casefold() in taken:
            name, number = f"{wanted}-{number}", number + 1
        # Compared without case, because some file systems do.
        taken.add(name.casefold())
        names[path] = name
    return names


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name that is too long for any file, which writing will say
        return False
