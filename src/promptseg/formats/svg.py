"""Masks as SVG, one file for each image: a path for each mask, written and not read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from promptseg.drawing import Colour, apart
from promptseg.formats.answers import Answer, label_of, merged
from promptseg.formats.places import targets
from promptseg.io.files import write_text
from promptseg.masks import RunLength
from promptseg.results import Masks
from promptseg.shapes import RingArray

ENDING = "svg"
# XML has no way to write these.
UNWRITABLE = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write(answers: Sequence[tuple[str, Masks]], path: str | Path) -> list[Path]:
    """Write a file for each image, as large as it, with a half transparent path for each mask.

    Paths run along the edges of pixels and are filled by the even-odd rule, so holes stay. Ids are
    `mask-1`, `mask-2`, ... by place, `data-object` and `data-label` say what a mask is. Colours of
    neighbours differ. `path` is a folder, for `photo.svg`; or, for one image, a file that ends so.

    Raises:
        MaskError: the answers are not names with `Masks`.
        OutputError: a file cannot be written, or several images are to go to one.
    """
    answers = merged(answers)
    files = targets(answers, path, ENDING)
    return [
        write_text(file, _document(answer)) for answer, file in zip(answers, files, strict=True)
    ]


def _document(answer: Answer) -> str:
    name, masks = answer
    height, width = masks.size
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}">',
        f"<title>{escape(_plain(name))}</title>",
        *(_path(masks, i, colour) for i, colour in enumerate(apart(masks.runs))),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _path(masks: Masks, i: int, colour: Colour) -> str:
    red, green, blue = colour
    label = label_of(masks, i)
    named = f" data-label={quoteattr(_plain(label))}" if label else ""
    return (
        f'<path id="mask-{i + 1}" data-object="{masks.objects[i]}"{named} '
        f'fill="#{red:02x}{green:02x}{blue:02x}" fill-opacity="0.5" fill-rule="evenodd" '
        f'd="{_outline(masks.runs[i])}"/>'
    )


def _outline(run: RunLength) -> str:
    """Write all rings of a mask; their edges are level and upright in turn."""
    return "".join(
        _ring(ring) for polygon in run.polygons() for ring in (polygon.exterior, *polygon.holes)
    )


def _ring(ring: RingArray) -> str:
    (x, y), *rest = ring.tolist()
    level = rest and rest[0][1] == y
    steps: list[str] = []
    for across, down in rest:
        steps.append(f"H{across}" if level else f"V{down}")
        level = not level
    return f"M{x} {y}{''.join(steps)}Z"


def _plain(text: str) -> str:
    return UNWRITABLE.sub("\ufffd", text)
