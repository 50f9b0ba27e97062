"""Where the answers of a run go: the names of its files, and lines of JSON."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np

from promptseg.errors import ConfigError, OutputError, reason
from promptseg.formats import overlay
from promptseg.formats.answers import Answer, label_of
from promptseg.formats.contact_sheet import ContactSheet, columns_for
from promptseg.formats.kinds import KINDS
from promptseg.formats.names import Format
from promptseg.formats.places import unique_names
from promptseg.io.files import resolved
from promptseg.io.images import SUFFIXES
from promptseg.prompts import Prompt
from promptseg.results import Masks
from promptseg.shapes import ImageArray

FOLDER_HINT = "Name a folder with `-o`, and each file gets a name of its own"
NUMBER = re.compile(r"-\d+\.png$")

# What `-o` alone asks for, by the suffix of its file.
BY_SUFFIX = {
    ".json": Format.COCO,
    ".geojson": Format.GEOJSON,
    ".svg": Format.SVG,
    ".yaml": Format.YOLO,
}


class Outputs:
    """The files of one run: `formats` of each of `inputs` in `folder`, or one file alone.

    Files of one image are named after it; some formats hold the whole run.
    """

    def __init__(
        self,
        inputs: Sequence[Path],
        formats: Sequence[Format],
        folder: Path,
        file: Path | None = None,
        *,
        numbers: bool = False,
    ) -> None:
        self.formats = formats
        self._inputs = inputs
        self._folder = folder
        self.file = file
        self._names = unique_names(inputs)
        self._named_alike = Counter(path.name for path in inputs)
        self._answers: dict[Path, Answer] = {}
        self._numbers = numbers
        self._sheet: ContactSheet | None = None
        if Format.SHEET in formats:
            place = self._target(Format.SHEET, folder)
            self._sheet = ContactSheet(place, columns=columns_for(len(inputs)))

    def write(
        self,
        image: ImageArray | None,
        path: Path,
        masks: Masks,
        prompts: Sequence[Prompt] = (),
        *,
        name: str | None = None,
    ) -> list[Path]:
        """Write the files of one image, and return them with those of the run it will be in.

        `image` is needed for pictures alone. `name` is what files of masks call the image, by
        default the name of its own file, unless two images share it.

        Raises:
            OutputError: a file cannot be written.
        """
        written: list[Path] = []
        answer = Answer(name or self._title(path), masks)
        for kind in self.formats:
            target = self._target(kind, path)
            if KINDS[kind].name:
                written.append(target)
            elif kind is Format.OVERLAY and image is not None:
                written.append(
                    overlay.write(image, masks, target, prompts=prompts, numbers=self._numbers)
                )
            else:
                written += KINDS[kind].write([answer], target)
        if self._sheet is not None and image is not None:
            self._sheet.add(path.name, image, masks)
        if self._of_run():
            self._answers[path] = answer
        return written

    def is_of_run(self, file: Path) -> bool:
        """Whether this file holds the whole run, and so is not there before `documents`."""
        return file in self._of_run().values()

    def documents(self) -> list[Path]:
        """Write the files of the whole run, with all images done so far, and return them.

        Images are in the order of the inputs, whichever was done first.

        Raises:
            OutputError: one cannot be written.
        """
        if not self._answers:
            return []
        answers = [self._answers[path] for path in self._inputs if path in self._answers]
        files = [
            file
            for kind, target in self._of_run().items()
            for file in KINDS[kind].write(answers, target)
        ]
        return files + (self._sheet.finish() if self._sheet else [])

    def require_apart(self, read: Sequence[Path]) -> None:
        """Refuse to write over what the run reads.

        Raises:
            OutputError: a file of the run is one of those read.
        """
        kept = {resolved(path) for path in read}
        # Several masks of one image get numbers: `cat.mask-0.png`.
        kept |= {path.with_name(NUMBER.sub(".png", path.name)) for path in kept}
        for target in self._targets():
            if resolved(target) in kept:
                raise OutputError(
                    f"writing `{target}` could overwrite an input",
                    hint="Choose another place with `-o`",
                )

    def require_distinct(self) -> None:
        """Refuse formats whose files would have one name, such as labelme's of `coco.jpg` and COCO.

        Raises:
            OutputError: two files have one name.
        """
        targets = self._targets()
        for target, count in Counter(targets).items():
            if count > 1:
                raise OutputError(
                    f"two files of this run would be `{target}`",
                    hint="Write one of the formats at a time, each to a folder of its own",
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
            for target in self._of_run().values():
                if target.is_dir():
                    raise IsADirectoryError(f"{target.name} in it is a folder")
        except OSError as error:
            raise OutputError(
                f"cannot write to the folder `{folder}`: {reason(error)}",
                hint="Choose another one with `-o`",
            ) from error

    def _targets(self) -> list[Path]:
        """Every file of the run, but for the numbers that several masks of one image get."""
        of_images = [kind for kind in self.formats if not KINDS[kind].name]
        each = [self._target(kind, path) for path in self._inputs for kind in of_images]
        return [*each, *self._of_run().values()]

    def _of_run(self) -> dict[Format, Path]:
        """Return the files that hold the whole run."""
        kinds = [kind for kind in self.formats if KINDS[kind].name]
        return {kind: self._target(kind, self._folder) for kind in kinds}

    def _target(self, kind: Format, path: Path) -> Path:
        if self.file is not None:
            return self.file
        if KINDS[kind].name:
            return self._folder / KINDS[kind].name
        return self._folder / f"{self._names[path]}.{KINDS[kind].ending}"

    def _title(self, path: Path) -> str:
        """Return the image's name in files of masks: its own, unless two images share it."""
        return path.as_posix() if self._named_alike[path.name] > 1 else path.name


def plan(
    output: Path | None,
    formats: Sequence[Format],
    inputs: Sequence[Path],
    *,
    hint: Path | None = None,
    usual: Format = Format.PNG,
    numbers: bool = False,
) -> Outputs:
    """Decide what `-o` and `--format` mean together, and make the folder.

    `-o` with the suffix of a format is a file, else a folder; without it files go to the current
    folder. Without `--format` the suffix decides, and a folder gets the `usual` one. Without
    either, no files. `numbers` are written on overlays.

    Raises:
        ConfigError: a single file is asked for several images or formats, or with a wrong suffix.
        OutputError: the folder cannot be made or written to, or a file to write is one of the
            inputs or the hint.
    """
    kinds = tuple(dict.fromkeys(formats))
    if output is not None and _is_file_name(output):
        outputs = _plan_file(output, kinds, inputs, numbers=numbers)
    else:
        if output is not None and not kinds:
            kinds = (usual,)
        outputs = Outputs(inputs, kinds, output or Path(), numbers=numbers)
    outputs.require_apart([*inputs, hint] if hint else inputs)
    outputs.require_distinct()
    if outputs.formats:
        outputs.require_writable()
    return outputs


def plan_folder(
    folder: Path, formats: Sequence[Format], inputs: Sequence[Path], *, read: Sequence[Path]
) -> Outputs:
    """Make the folder in which each of the formats goes, beside what is there already.

    Raises:
        ConfigError: the folder has the name of a file.
        OutputError: it cannot be made or written to, or a file to write is one of the inputs or of
            what else is read.
    """
    if _is_file_name(folder):
        raise ConfigError(f"several files are written, and `{folder}` is one", hint=FOLDER_HINT)
    outputs = Outputs(inputs, tuple(dict.fromkeys(formats)), folder)
    outputs.require_apart([*inputs, *read])
    outputs.require_distinct()
    outputs.require_writable()
    return outputs


def json_line(path: Path, masks: Masks, files: Sequence[Path]) -> str:
    """Describe the masks of one image as one line of JSON; boxes are x0, y0, x1, y1, half-open."""
    return json.dumps(
        {
            "path": str(path),
            "size": {"height": masks.size.height, "width": masks.size.width},
            "masks": [_record(masks, i) for i in range(len(masks))],
            "complete": masks.complete,
            "files": [str(file) for file in files],
        },
        allow_nan=False,
    )


def _record(masks: Masks, i: int) -> dict[str, object]:
    run = masks.runs[i]
    return {
        "object": int(masks.objects[i]),
        "candidate": int(masks.candidates[i]),
        "label": label_of(masks, i),
        "score": round(float(masks.scores[i]), 6),
        "presence": round(float(masks.presence[i]), 6),
        "confident": bool(masks.confident[i]),
        "area": int(run.area),
        "box": [int(edge) for edge in run.box],
        "stability": _known(masks.stability, i),
        "point": _known(masks.points, i),
        "predicted_box": _known(masks.predicted_boxes, i),
        "rle": run.to_coco(),
    }


def _known(column: np.ndarray | None, i: int) -> object:
    """Return what a column says of a mask, null where it says nothing."""
    return None if column is None else np.round(column[i].astype(np.float64), 6).tolist()


def _is_file_name(output: Path) -> bool:
    return output.suffix.lower() in (*BY_SUFFIX, *SUFFIXES) and not output.is_dir()


def _plan_file(
    output: Path, kinds: Sequence[Format], inputs: Sequence[Path], *, numbers: bool
) -> Outputs:
    suffix = output.suffix.lower()
    kinds = kinds or (BY_SUFFIX.get(suffix, Format.PNG),)
    if len(kinds) > 1 or (len(inputs) > 1 and not KINDS[kinds[0]].name):
        many = f"{len(kinds)} formats" if len(kinds) > 1 else f"{len(inputs)} images"
        raise ConfigError(
            f"{many} do not fit in the one file `{output}`",
            hint=FOLDER_HINT,
        )
    right = KINDS[kinds[0]].suffix
    if suffix != right:
        raise ConfigError(
            f"`{kinds[0].value}` is written as {right}, but `-o` names `{output}`",
            hint=f"Use the suffix {right}, or name a folder",
        )
    return Outputs(inputs, kinds, output.parent, output, numbers=numbers)
