"""One question asked of many images: each answered and reported, or named as failed."""

from __future__ import annotations

import errno
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import promptseg
from promptseg.cli import console, outputs
from promptseg.cli.outputs import Outputs
from promptseg.errors import ImageError, PromptsegError
from promptseg.io import images
from promptseg.options import SegmentOptions
from promptseg.prompts import Prompt
from promptseg.results import Masks

logger = logging.getLogger(__name__)

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@dataclass(frozen=True)
class Run:
    """The same question asked of one image after another."""

    model: promptseg.Model
    prompts: Sequence[Prompt]
    options: SegmentOptions
    outputs: Outputs
    max_pixels: int
    as_json: bool

    def attempt(self, path: Path) -> bool:
        """Segment one image and hand out its answer; where that fails, say why and return false.

        Raises:
            OutputError: there is no room left to write to, so that it is no use to go on.
        """
        try:
            image = images.read(path, max_pixels=self.max_pixels)
            masks = self.model.segment(image, self.prompts, options=self.options)
            files = self.outputs.write(image, path, masks, self.prompts)
        except PromptsegError as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno in NO_ROOM:
                raise
            console.problem(_about(path, error), hint=error.hint)
            return False
        self._report(path, masks, files)
        return True

    def finish(self) -> None:
        """Write what is written once for the whole run."""
        written = self.outputs.finish()
        if written and not self.as_json:
            console.show(str(written))

    def _report(self, path: Path, masks: Masks, files: Sequence[Path]) -> None:
        if not masks.confident.all():
            logger.warning("%s: no candidate reached the threshold, the best is kept", path)
        if not masks.areas.all():
            logger.warning("%s: a mask has no pixels", path)
        if self.as_json:
            console.show(outputs.json_line(path, masks, files))
        elif not self.outputs.formats:
            console.show(f"{path}: {_summary(masks)}")
        else:
            for file in files:
                # The COCO file of the run is not there yet; `finish` names it.
                if file.exists() and file.suffix != ".json":
                    console.show(str(file))


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


def _about(path: Path, error: PromptsegError) -> str:
    """Name the image in a message that does not do so itself."""
    return str(error) if str(path) in str(error) else f"{path}: {error}"


def _summary(masks: Masks) -> str:
    parts = [
        f"{int(run.area)} pixels (score {score:.2f})"
        for run, score in zip(masks.runs, masks.scores, strict=True)
    ]
    noun = "mask" if len(parts) == 1 else "masks"
    return f"{len(parts)} {noun}: {', '.join(parts)}"
