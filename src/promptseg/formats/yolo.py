"""Masks as a data set for YOLO's segmentation: a text file for each image, and `data.yaml`.

A line is the number of a class and the corners of one outline, as shares of the image's width and
height. Source: https://docs.ultralytics.com/datasets/segment/.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml

from promptseg.errors import MaskError, reason
from promptseg.filling import fill
from promptseg.formats.answers import UNNAMED, Answer, Facts, Found, assemble, label_of, merged
from promptseg.formats.nodes import Node, read_bytes, size_at
from promptseg.formats.places import Photos, stems
from promptseg.geometry import Size
from promptseg.io.files import write_text
from promptseg.masks import RunLength
from promptseg.polygons import join
from promptseg.results import Masks

logger = logging.getLogger(__name__)

DATA = "data.yaml"
SUFFIXES = (".yaml", ".yml")
LABELS = "labels"
IMAGES = "images"
# What a folder of labels may also have, which is no image's.
LISTS = ("classes.txt",)
# A hundredth of a pixel in an image a million pixels wide.
DIGITS = 8


def write(answers: Sequence[tuple[str, Masks]], path: str | Path) -> list[Path]:
    """Write `labels/photo.txt` for each image, and `data.yaml`, to a folder.

    `path` is that folder, or the name of the `.yaml` file in it.

    A mask of several regions or with holes is one outline, joined by seams that are walked there
    and back, and comes back the same where it is filled by the even-odd rule. A mask without pixels
    has no line, which a warning says. Classes are the labels in the order in which they come. The
    photos belong in `images`, and are not copied; `data.yaml` says how large they are, under
    `promptseg`, which other readers pass over.

    Raises:
        MaskError: the answers are not names with `Masks`.
        OutputError: a file cannot be written, or two names are one path.
    """
    answers = merged(answers)
    path = Path(path)
    data_file = path if path.suffix.lower() in SUFFIXES else path / DATA
    classes: dict[str, int] = {}
    sizes: dict[str, dict[str, object]] = {}
    files: list[Path] = []
    for stem, (name, masks) in zip(stems(answers), answers, strict=True):
        lines = _lines(name, masks, classes)
        files.append(write_text(data_file.parent / LABELS / f"{stem}.txt", "".join(lines)))
        sizes[stem] = {"file_name": name, "height": masks.size.height, "width": masks.size.width}
    data = {
        "train": IMAGES,
        "val": IMAGES,
        "nc": len(classes),
        "names": dict(enumerate(classes)),
        "promptseg": {"images": sizes},
    }
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    return [*files, write_text(data_file, text)]


def read(path: str | Path, *, images: str | Path | None = None) -> list[Answer]:
    """Read a data set, ours or anyone's: its folder, its `data.yaml`, or one file of labels.

    Classes become labels where `data.yaml` names them. A number after the corners is a score. Lines
    of four numbers are boxes and are left out, which a warning says. Sizes are those that we wrote,
    or of the photos in the folder `images`, by default the one beside `labels`.

    Raises:
        MaskError: a file is missing or damaged, or there are no labels; file and line are named.
        ImageError: a photo cannot be read.
    """
    path = Path(path)
    root = path if path.is_dir() else path.parent
    data_file = path if path.suffix.lower() in SUFFIXES else root / DATA
    if path.is_dir() or path == data_file:
        labels = root / LABELS
        files = sorted(labels.rglob("*.txt") if labels.is_dir() else root.glob("*.txt"))
        files = [file for file in files if file.name not in LISTS]
    else:
        files = [path]
        root = root.parent if root.name == LABELS else root
        data_file = root / DATA
    if not files:
        raise MaskError(
            f"`{path}` has no labels of YOLO", hint="They are text files in a folder `labels`"
        )
    data = _read_data(data_file) if data_file.exists() else Node({}, data_file)
    if images is None and (root / IMAGES).is_dir():
        images = root / IMAGES
    photos = Photos(images)
    names = _names(data)
    return [_read_labels(file, data, names, photos) for file in files]


def _lines(name: str, masks: Masks, classes: dict[str, int]) -> list[str]:
    scale = np.array([masks.size.width, masks.size.height])
    lines: list[str] = []
    for i, run in enumerate(masks.runs):
        number = classes.setdefault(label_of(masks, i) or UNNAMED, len(classes))
        if not run.area:
            logger.warning("%s: mask %d has no pixels and is left out", name, i)
            continue
        shares = (join(run.polygons()) / scale).round(DIGITS).ravel().tolist()
        lines.append(" ".join([str(number), *(f"{share:.{DIGITS}g}" for share in shares)]) + "\n")
    return lines


def _read_data(path: Path) -> Node:
    try:
        # Not the loader in C, which deep nesting takes the whole process down with.
        data = yaml.safe_load(read_bytes(path))
    except RecursionError:
        raise MaskError(f"`{path}` is nested too deeply to be a data set's") from None
    except (yaml.YAMLError, ValueError) as error:
        raise MaskError(
            f"`{path}` is not YAML: {reason(error).splitlines()[0]}",
            hint="Write it again, or copy it whole",
        ) from error
    node = Node(data, path)
    node.record()
    return node


def _names(data: Node) -> dict[int, str]:
    """Return the names of classes, which are a list, or an object by number."""
    names = data.get("names")
    if names is None:
        return {}
    if isinstance(names.value, list):
        pairs = list(enumerate(names.items()))
    else:
        words = [(_word(number), name) for number, name in names.record().items()]
        pairs = [
            (int(word), Node(name, data.file, f"names.{word}"))
            for word, name in words
            if word and word.isdecimal() and len(word) < 10
        ]
    classes: dict[int, str] = {}
    for number, name in pairs:
        if (word := _word(name.value)) is None:
            raise name.wrong("must be the name of a class")
        classes[number] = word
    return classes


def _word(value: object) -> str | None:
    """Return what is one word; None for more, or for a number too long to be written.

    What looks like a number or a yes is not text for YAML.
    """
    try:
        return str(value) if isinstance(value, (str, int, float)) else None
    except ValueError:
        return None


def _read_labels(file: Path, data: Node, names: dict[int, str], photos: Photos) -> Answer:
    try:
        lines = read_bytes(file).decode().splitlines()
    except UnicodeDecodeError:
        raise MaskError(f"`{file}` is not text") from None
    known = data
    for key in ("promptseg", "images", file.stem):
        known = known.get(key) or Node({}, data.file)
    photo = photos.find(file.stem)
    name = each.name() if (each := known.get("file_name")) else (photo.name if photo else file.stem)
    size = size_at(known, "height", "width") or photos.size(file.stem, file)
    found: list[Found] = []
    boxes = 0
    for number, line in enumerate(lines, start=1):
        if not (words := line.split()):
            continue
        if len(words) in (5, 6):
            boxes += 1
            continue
        node = Node(line, file, f"line {number}")
        found.append(_read_line(node, words, names, size))
    if boxes:
        logger.warning("%s: %d lines are boxes without a mask and are left out", file, boxes)
    return Answer(name, assemble(size, found))


def _read_line(node: Node, words: Sequence[str], names: dict[int, str], size: Size) -> Found:
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        raise node.wrong("must be numbers") from None
    number, shares = numbers[0], numbers[1:]
    if not number.is_integer() or number < 0 or not all(map(math.isfinite, shares)):
        raise node.wrong("must be the number of a class, and finite numbers")
    facts: Facts = {"score": shares.pop()} if len(shares) % 2 else {}
    if len(shares) < 6:
        raise node.wrong(f"needs at least 3 corners, got {len(shares) // 2}")
    corners = np.array(shares).reshape(-1, 2) * [size.width, size.height]
    with node.blamed():
        run = RunLength(size, fill([corners], size))
    # Without names of classes their numbers are what is known.
    return Found(run, names.get(int(number), str(int(number))), facts)
