"""Tracks as MOTS text: a line for each object in each frame.

A line has the frame, the object, its class, the height and the width of the image, and the mask in
COCO's compressed run lengths. An object's number is 1000 times its class and its place within that
class; 10000 marks what is not to be judged. Source: https://www.vision.rwth-aachen.de/page/mots.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from promptseg.errors import MaskError
from promptseg.formats.answers import UNNAMED
from promptseg.formats.nodes import Node, read_bytes, require_size
from promptseg.formats.tracks import Track, Tracks
from promptseg.geometry import Size
from promptseg.io.files import write_text
from promptseg.masks import RunLength

FILE_NAME = "mots.txt"
CLASS = 1000
IGNORED = 10_000


def write(tracks: Tracks, path: str | Path) -> list[Path]:
    """Write tracks to a file; classes are the labels in the order in which they come, from 1.

    Scores, and tracks that are seen in no frame, are not in it. Evaluation by MOTS wants masks that
    do not overlap, which is left to who asks for them.

    Raises:
        MaskError: there are more objects or classes than the format has numbers for.
        OutputError: the file cannot be written.
    """
    lines: list[tuple[int, int, str]] = []
    for number, track in _numbered(tracks).items():
        for index, mask in track.masks.items():
            height, width = mask.size
            counts = mask.to_coco()["counts"]
            line = f"{index} {number} {number // CLASS} {height} {width} {counts}\n"
            lines.append((index, number, line))
    return [write_text(path, "".join(line for _, _, line in sorted(lines)))]


def read(path: str | Path, *, names: Mapping[int, str] | None = None) -> Tracks:
    """Read tracks; ids are the numbers of the file, and labels the `names` of classes by number.

    A class without a name is its number. What is not to be judged is left out. The video is as long
    as its last line says.

    Raises:
        MaskError: the file is missing, empty or damaged; file and line are named.
    """
    path = Path(path)
    try:
        text = read_bytes(path).decode()
    except UnicodeDecodeError as error:
        raise MaskError(f"`{path}` is not text") from error
    masks: dict[int, dict[int, RunLength]] = {}
    classes: dict[int, int] = {}
    size: Size | None = None
    length = 0
    for place, line in enumerate(text.splitlines(), start=1):
        index, number, kind, mask = _parsed(Node(line, path, f"line {place}"))
        size = mask.size
        length = max(length, index + 1)
        if number != IGNORED:
            masks.setdefault(number, {})[index] = mask
            classes[number] = kind
    if size is None:
        raise MaskError(f"`{path}` has no lines of MOTS")
    named = dict(names or {})
    tracks = [
        Track(id=number, masks=found, label=named.get(classes[number], str(classes[number])))
        for number, found in sorted(masks.items())
    ]
    with Node(text, path).blamed():
        return Tracks(size=size, length=length, tracks=tuple(tracks))


def _numbered(tracks: Tracks) -> dict[int, Track]:
    """Number tracks by class and place."""
    classes: dict[str, int] = {}
    places: Counter[int] = Counter()
    numbered = {}
    for track in tracks.tracks:
        kind = classes.setdefault(track.label or UNNAMED, len(classes) + 1)
        places[kind] += 1
        if places[kind] >= CLASS or kind * CLASS >= IGNORED:
            raise MaskError(
                f"MOTS has numbers for {IGNORED // CLASS - 1} classes of {CLASS - 1} objects each",
                hint="Write `ytvis`, which has as many as there are",
            )
        numbered[kind * CLASS + places[kind]] = track
    return numbered


def _parsed(line: Node) -> tuple[int, int, int, RunLength]:
    """Take a line apart: the frame, the object, the class and the mask."""
    words = line.text().split(" ")
    if len(words) != 6 or not all(word.isascii() and word.isdecimal() for word in words[:5]):
        raise line.wrong("must be five whole numbers and run lengths, apart by spaces")
    index, number, kind, height, width = map(int, words[:5])
    size = require_size(Node({"height": height, "width": width}, line.file, line.place))
    with line.blamed():
        return index, number, kind, RunLength.from_coco({"size": list(size), "counts": words[5]})
