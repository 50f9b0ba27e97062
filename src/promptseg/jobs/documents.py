"""Files of formats that hold all images of a job, made of its answers where they are fetched."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from promptseg.errors import OutputError, reason
from promptseg.formats.answers import Answer, joined
from promptseg.formats.kinds import KINDS
from promptseg.formats.names import Format
from promptseg.formats.records import masks_from_json


def names(formats: Sequence[str]) -> dict[Format, str]:
    """Name the file of each of these formats that is one of all images."""
    kinds = [Format(name) for name in dict.fromkeys(formats)]
    return {kind: KINDS[kind].name for kind in kinds if KINDS[kind].name}


def write(formats: Sequence[str], results: Path, folder: Path) -> Iterator[Path]:
    """Write those files into a folder, of the lines of `results.jsonl`.

    An image is named by its file, or where two files have one name as its job names it. The run
    lengths of all masks are held, pixels never.

    Raises:
        OutputError: a file cannot be read or written.
        MaskError: a line is damaged, or an image has masks of several sizes.
    """
    if not (wanted := names(formats)):
        return
    answers = list(_answers(results))
    shared = Counter(_file(image) for image in dict.fromkeys(each.name for each in answers))
    titled = [
        each._replace(name=each.name if shared[_file(each.name)] > 1 else _file(each.name))
        for each in answers
    ]
    for kind, name in wanted.items():
        yield from KINDS[kind].write(titled, folder / name)


def _answers(results: Path) -> Iterator[Answer]:
    """Go through the images of a file of results, each with the masks of all its queries."""
    try:
        with results.open("rb") as file:
            for image, lines in groupby(map(_line, file), key=lambda line: str(line["image"])):
                parts = [masks_from_json(line) for line in lines if "masks" in line]
                if parts:
                    yield Answer(image, joined(parts))
    except OSError as error:
        raise OutputError(f"cannot read `{results}`: {reason(error)}") from error


def _line(line: bytes) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(line)
    return said


def _file(image: str) -> str:
    return image.rpartition("/")[2]
