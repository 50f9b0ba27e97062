"""Where the answers of a run go: the names of its files, and lines of JSON."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile

from promptseg.cli.formats import Format
from promptseg.errors import ConfigError, OutputError, reason
from promptseg.formats import coco, overlay, png
from promptseg.io.images import SUFFIXES
from promptseg.prompts import Prompt
from promptseg.results import Masks
from promptseg.shapes import ImageArray

COCO_NAME = "coco.json"
NUMBER = re.compile(r"-\d+\.png$")
ENDINGS = {Format.PNG: "mask.png", Format.INDEX: "index.png", Format.OVERLAY: "overlay.png"}


class Outputs:
    """The files of one run: `formats` of each of `inputs` in `folder`, or one file alone.

    PNG files are named after their image; one COCO file holds the whole run.
    """

    def __init__(
        self,
        inputs: Sequence[Path],
        formats: Sequence[Format],
        folder: Path,
        file: Path | None = None,
    ) -> None:
        self.formats = formats
        self._inputs = inputs
        self._folder = folder
        self.file = file
        self._names = unique_names(inputs)
        self._named_alike = Counter(path.name for path in inputs)
        self._answers: list[tuple[str, Masks]] = []

    def write(
        self, image: ImageArray, path: Path, masks: Masks, prompts: Sequence[Prompt]
    ) -> list[Path]:
        """Write the files of one image, and return them with the COCO file that it will be in.

        Raises:
            OutputError: a file cannot be written.
        """
        written: list[Path] = []
        for kind in self.formats:
            target = self._target(kind, path)
            if kind is Format.COCO:
                self._answers.append((self._title(path), masks))
                written.append(target)
            elif kind is Format.PNG:
                written += png.write_each(masks, target)
            elif kind is Format.INDEX:
                written.append(png.write_index(masks, target))
            else:
                written.append(overlay.write(image, masks, target, prompts=prompts))
        return written

    def finish(self) -> Path | None:
        """Write the COCO file of all images done so far, if one was asked for.

        Raises:
            OutputError: it cannot be written.
        """
        if Format.COCO not in self.formats or not self._answers:
            return None
        return coco.write(self._answers, self._target(Format.COCO, self._inputs[0]))

    def require_apart(self, read: Sequence[Path]) -> None:
        """Refuse to write over what the run reads.

        Raises:
            OutputError: a file of the run is one of those read.
        """
        kept = {path.resolve() for path in read}
        # Several masks of one image get numbers: `cat.mask-0.png`.
        kept |= {path.with_name(NUMBER.sub(".png", path.name)) for path in kept}
        for path in self._inputs:
            for kind in self.formats:
                target = self._target(kind, path)
                if target.resolve() in kept:
                    raise OutputError(
                        f"writing `{target}` could overwrite an input",
                        hint="Choose another place with `-o`",
                    )

    def require_writable(self) -> None:
        """Make the folder, and try to write there, before any work.

        Raises:
            OutputError: the folder cannot be made or written to.
        """
        folder = self.file.parent if self.file else self._folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            TemporaryFile(dir=folder).close()
            coco_file = self._target(Format.COCO, folder)
            if Format.COCO in self.formats and coco_file.is_dir():
                raise IsADirectoryError(f"{coco_file.name} in it is a folder")
        except OSError as error:
            raise OutputError(
                f"cannot write to the folder `{folder}`: {reason(error)}",
                hint="Choose another one with `-o`",
            ) from error

    def _target(self, kind: Format, path: Path) -> Path:
        if self.file is not None:
            return self.file
        if kind is Format.COCO:
            return self._folder / COCO_NAME
        return self._folder / f"{self._names[path]}.{ENDINGS[kind]}"

    def _title(self, path: Path) -> str:
        """Return the image's name in the COCO file: the file's own, unless two images share it."""
        return path.as_posix() if self._named_alike[path.name] > 1 else path.name


def plan(
    output: Path | None,
    formats: Sequence[Format],
    inputs: Sequence[Path],
    *,
    hint: Path | None = None,
) -> Outputs:
    """Decide what `-o` and `--format` mean together, and make the folder.

    `-o` with the suffix .png or .json is a file, else a folder; without it files go to the current
    folder. Without `--format` the suffix decides, and a folder gets png. Without either, no files.

    Raises:
        ConfigError: a single file is asked for several images or formats, or with a wrong suffix.
        OutputError: the folder cannot be made or written to, or a file to write is one of the
            inputs or the hint.
    """
    kinds = tuple(dict.fromkeys(formats))
    if output is not None and _is_file_name(output):
        outputs = _plan_file(output, kinds, inputs)
    else:
        if output is not None and not kinds:
            kinds = (Format.PNG,)
        outputs = Outputs(inputs, kinds, output or Path())
    outputs.require_apart([*inputs, hint] if hint else inputs)
    if outputs.formats:
        outputs.require_writable()
    return outputs


def unique_names(paths: Sequence[Path]) -> dict[Path, str]:
    """Name each path after its stem; shared stems get their folder before them, or a number."""
    stems = Counter(path.stem.casefold() for path in paths)
    names: dict[Path, str] = {}
    taken: set[str] = set()
    for path in paths:
        shared = stems[path.stem.casefold()] > 1
        wanted = f"{path.absolute().parent.name}-{path.stem}" if shared else path.stem
        name, number = wanted, 2
        while name.casefold() in taken:
            name, number = f"{wanted}-{number}", number + 1
        # Compared without case, because some file systems do.
        taken.add(name.casefold())
        names[path] = name
    return names


def json_line(path: Path, masks: Masks, files: Sequence[Path]) -> str:
    """Describe the masks of one image as one line of JSON; boxes are x0, y0, x1, y1, half-open."""
    return json.dumps(
        {
            "path": str(path),
            "size": {"height": masks.size.height, "width": masks.size.width},
            "masks": [_record(masks, i) for i in range(len(masks))],
            "files": [str(file) for file in files],
        },
        allow_nan=False,
    )


def _record(masks: Masks, i: int) -> dict[str, object]:
    run = masks.runs[i]
    return {
        "object": int(masks.objects[i]),
        "candidate": int(masks.candidates[i]),
        "score": round(float(masks.scores[i]), 6),
        "presence": round(float(masks.presence[i]), 6),
        "confident": bool(masks.confident[i]),
        "area": int(run.area),
        "box": [int(edge) for edge in run.box],
        "rle": run.to_coco(),
    }


def _is_file_name(output: Path) -> bool:
    return output.suffix.lower() in (".json", *SUFFIXES) and not output.is_dir()


def _plan_file(output: Path, kinds: Sequence[Format], inputs: Sequence[Path]) -> Outputs:
    is_json = output.suffix.lower() == ".json"
    kinds = kinds or ((Format.COCO,) if is_json else (Format.PNG,))
    if len(kinds) > 1 or (len(inputs) > 1 and kinds[0] is not Format.COCO):
        many = f"{len(kinds)} formats" if len(kinds) > 1 else f"{len(inputs)} images"
        raise ConfigError(
            f"{many} do not fit in the one file `{output}`",
            hint="Name a folder with `-o`, and each file gets a name of its own",
        )
    right = ".json" if kinds[0] is Format.COCO else ".png"
    if output.suffix.lower() != right:
        raise ConfigError(
            f"`--format {kinds[0].value}` is written as {right}, but `-o` names `{output}`",
            hint=f"Use the suffix {right}, or name a folder",
        )
    return Outputs(inputs, kinds, output.parent, output)
