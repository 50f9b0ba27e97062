"""One question asked of many images: each answered and reported, or named as failed."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import promptseg
from promptseg.cli import advice, console, outputs
from promptseg.cli.outputs import Outputs
from promptseg.errors import ImageError, PromptsegError
from promptseg.formats.names import PICTURES
from promptseg.io import images, windows
from promptseg.io.windows import LargeImage
from promptseg.prompts import Prompt
from promptseg.results import Masks
from promptseg.settings import Settings
from promptseg.shapes import ImageArray
from promptseg.tiles import Tiling

logger = logging.getLogger(__name__)

# Masks that a summary lists one by one.
SHOWN = 8
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
ENDED_EARLY = "the search ended early, there may be more"


def _summary(masks: Masks) -> str:
    if not len(masks):
        return "no masks"
    parts = [
        f"{int(run.area)} pixels (score {score:.2f})"
        for run, score in zip(masks.runs[:SHOWN], masks.scores, strict=False)
    ]
    noun = "mask" if len(masks) == 1 else "masks"
    more = ", ..." if len(masks) > SHOWN else ""
    return f"{len(masks)} {noun}: {', '.join(parts)}{more}"


@dataclass(frozen=True)
class Run:
    """The same question asked of one image after another; `prompts` are drawn on overlays.

    A `tiled` one is asked of windows of each; only pictures need the whole image. `summary` says
    in a line what was found, `unfinished` what it means where that may not be all.
    """

    ask: Callable[[ImageArray | LargeImage], Masks]
    outputs: Outputs
    max_pixels: int
    as_json: bool
    prompts: Sequence[Prompt] = ()
    tiled: bool = False
    summary: Callable[[Masks], str] = _summary
    unfinished: str = ENDED_EARLY

    def attempt(self, path: Path) -> bool:
        """Ask of one image and hand out the answer; where that fails, say why and return false.

        Raises:
            OutputError: there is no room left to write to, so that it is no use to go on.
        """
        try:
            drawn = any(kind in PICTURES for kind in self.outputs.formats)
            if self.tiled:
                large = windows.open_image(path, max_pixels=self.max_pixels)
                image = large.whole(max_pixels=self.max_pixels) if drawn else None
                masks = self.ask(large)
            else:
                image = images.read(path, max_pixels=self.max_pixels)
                masks = self.ask(image)
            files = self.outputs.write(image, path, masks, self.prompts)
        except PromptsegError as error:
            if has_no_room(error):
                raise
            console.problem(about(path, error), hint=error.hint)
            return False
        self._report(path, masks, files)
        return True

    def finish(self) -> None:
        """Write what is written once for the whole run."""
        for file in self.outputs.documents():
            if not self.as_json:
                console.show(str(file))

    def _report(self, path: Path, masks: Masks, files: Sequence[Path]) -> None:
        if not masks.confident.all():
            logger.warning("%s: no candidate reached the threshold, the best is kept", path)
        if not len(masks) and self.outputs.formats:
            logger.warning("%s: no masks were found", path)
        if not masks.areas.all():
            logger.warning("%s: a mask has no pixels", path)
        if not masks.complete:
            logger.warning("%s: %s", path, self.unfinished)
        if self.as_json:
            console.show(outputs.json_line(path, masks, files))
        elif not self.outputs.formats:
            console.show(f"{path}: {self.summary(masks)}")
        else:
            for file in files:
                # Files of the whole run are not there yet; `finish` names them.
                if not self.outputs.is_of_run(file):
                    console.show(str(file))


def load(
    defaults: Settings, model: str | None, *, device: str | None, dtype: str | None, quiet: bool
) -> promptseg.Model:
    """Load the model that was asked for, or the settings' own, and name better ones once."""
    name = defaults.model if model is None else model
    loaded = promptseg.load(
        name,
        device=device or defaults.device,
        dtype=dtype or defaults.dtype,
        cache_bytes=defaults.cache_bytes,
    )
    advice.name_better_models(name, quiet=quiet)
    return loaded


def status(done: int, *, of: int, missing: int) -> int:
    """Return the exit status where so many images were done, and so many arguments had none."""
    if done == 0:
        return console.NOTHING_DONE
    return console.OK if done == of and not missing else console.SOME_FAILED


def tiling_of(side: int | None) -> Tiling | None:
    """Return how to look at large images in tiles of so many pixels each way."""
    return None if side is None else Tiling(side=side)


def find(arguments: Sequence[str]) -> tuple[list[Path], int]:
    """Return the images that the arguments stand for, and how many arguments stand for none."""
    found: dict[Path, None] = {}
    missing = 0
    for argument in arguments:
        try:
            found |= dict.fromkeys(images.find([argument]))
        except ImageError as error:
            console.problem(str(error), hint=error.hint)
            missing += 1
    return list(found), missing


def about(image: str | Path, error: PromptsegError) -> str:
    """Name the image in a message that does not do so itself."""
    return str(error) if str(image) in str(error) else f"{image}: {error}"


def has_no_room(error: PromptsegError) -> bool:
    """Tell whether a file could not be written as none could be, so that it is no use to go on."""
    return isinstance(error.__cause__, OSError) and error.__cause__.errno in NO_ROOM
