"""Files of masks that were uploaded: COCO, YOLO and labelme, each read or named with its reason."""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import yaml

from promptseg.errors import ImageError, MaskError, PromptsegError
from promptseg.formats import recognise, yolo
from promptseg.formats.answers import Answer
from promptseg.geometry import Size
from promptseg.io import headers
from promptseg.server.folder import LONGEST_NAME

DOCUMENTS = (".json",)
LABELS = (".txt",)
KINDS = (*DOCUMENTS, *LABELS, *yolo.SUFFIXES)
CLASSES = "classes.txt"
OPEN_HINT = "Open the images first, under the names that the file has for them"
KINDS_HINT = "Files that are read are COCO and labelme (.json) and YOLO (.txt, data.yaml)"
# Beyond so many that are damaged the rest of YOLO's labels is not tried.
MOST_DAMAGED = 50
# Letters of base64 that hold the head of a PNG file.
HEAD = 64


class Trouble(NamedTuple):
    """A file that was not read, or not all of it, and why."""

    file: str
    message: str
    hint: str | None = None


class Imported(NamedTuple):
    """The masks that were read, by image, and what was not."""

    answers: list[Answer]
    troubles: list[Trouble]


def read(
    files: Mapping[str, bytes],
    folder: Path,
    *,
    known: Mapping[str, Size],
    max_pixels: int,
) -> Imported:
    """Read uploaded files by their names; `folder` is an empty one for it to work in.

    `known` are the images that are open: they say how large an image is where a file does not, and
    masks of others are named and left out. Without any, all are taken.
    """
    photos = _stand_ins(known, folder / "photos") if known else None
    called = _called(known)
    told = [name for name in files if _kind(name) not in KINDS]
    troubles = [Trouble(name, "it is not a file of masks", KINDS_HINT) for name in told]
    answers: list[Answer] = []
    for name in (name for name in files if _kind(name) in DOCUMENTS):
        try:
            found = _document(name, files[name], folder / "documents", photos, max_pixels)
        except PromptsegError as error:
            troubles.append(_trouble(name, error, folder))
        else:
            answers += _fitting(found, name, known, called, max_pixels, troubles)
    if any(_kind(name) in LABELS for name in files):
        found = _labels(files, folder / "yolo", photos, called, troubles)
        answers += _fitting(found, "labels", known, called, max_pixels, troubles)
    elif told_only := [name for name in files if _kind(name) in yolo.SUFFIXES]:
        troubles.append(Trouble(told_only[0], "it describes labels, and there are none"))
    return Imported(answers, troubles)


def _kind(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _short(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/")).name


def _is_file_name(short: str) -> bool:
    return short not in ("", "..") and short.isprintable() and len(short.encode()) <= LONGEST_NAME


def _document(
    name: str, data: bytes, folder: Path, photos: Path | None, max_pixels: int
) -> list[Answer]:
    _require_small(data, max_pixels)
    folder.mkdir(exist_ok=True)
    # Messages name the file, and any name will do to read it.
    path = folder / "document.json"
    path.write_bytes(data)
    found = recognise.read(path, images=photos)
    return [
        answer._replace(name=_short(name).removesuffix(".json"))
        if answer.name == path.stem
        else answer
        for answer in found
    ]


def _require_small(data: bytes, max_pixels: int) -> None:
    """Refuse a document of images larger than are taken, before anything is made of their masks.

    Raises:
        MaskError: it has one.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return  # its reader says so
    for size in _sizes(document):
        if size.height * size.width > max_pixels:
            raise MaskError(f"it is about an image of {size}, and the limit is {max_pixels} pixels")


def _sizes(document: Any) -> Iterator[Size]:
    """Find the sizes that a document claims, wherever its formats have them."""
    match document:
        case list():
            for each in document:
                yield from _sizes(each)
            return
        case dict():
            pass
        case _:
            return
    for down, across in (("height", "width"), ("imageHeight", "imageWidth")):
        if (size := _size(document.get(down), document.get(across))) is not None:
            yield size
    match document.get("segmentation"):
        case {"size": [down, across]} if (size := _size(down, across)) is not None:
            yield size
    if isinstance(text := document.get("mask"), str):
        yield from _drawn_size(text)
    for inner in ("images", "image", "annotations", "shapes"):
        if isinstance(document.get(inner), (list, dict)):
            yield from _sizes(document[inner])


def _size(down: object, across: object) -> Size | None:
    if not isinstance(down, (int, float)) or not isinstance(across, (int, float)):
        return None
    if math.isnan(down) or math.isnan(across):
        return None
    return Size(*(int(min(max(side, 0), 1e9)) for side in (down, across)))


def _drawn_size(text: str) -> Iterator[Size]:
    """Find the size of a mask that labelme has as a PNG in base64."""
    try:
        yield headers.stated_size(base64.b64decode(text[:HEAD]))
    except (binascii.Error, ValueError):  # and its own `ImageError`; its reader says so
        return


def _labels(
    files: Mapping[str, bytes],
    folder: Path,
    photos: Path | None,
    called: Mapping[str, str],
    troubles: list[Trouble],
) -> list[Answer]:
    """Read labels together, for all share the names of classes; what is damaged is set aside."""
    names = _lay_out(files, folder, troubles)
    if called:
        _leave_others(names, folder, called, troubles)
    for _ in range(MOST_DAMAGED):
        if not names:
            return []
        try:
            return yolo.read(folder, images=photos)
        except PromptsegError as error:
            blamed = [each for each in names if f"{yolo.LABELS}/{each}`" in str(error)]
            troubles.append(_trouble(names[blamed[0]] if blamed else yolo.DATA, error, folder))
            if not blamed:
                return []
            (folder / yolo.LABELS / blamed[0]).unlink()
            del names[blamed[0]]
    if names:
        troubles.append(
            Trouble(
                next(iter(names.values())),
                f"{MOST_DAMAGED} files of labels are damaged, and the other {len(names)} were not "
                "read",
                "Send them without those that are damaged",
            )
        )
    return []


def _lay_out(files: Mapping[str, bytes], folder: Path, troubles: list[Trouble]) -> dict[str, str]:
    """Put labels and their description where the reader looks; return names by those there."""
    labels = folder / yolo.LABELS
    labels.mkdir(parents=True)
    names: dict[str, str] = {}
    data = folder / yolo.DATA
    for name, content in files.items():
        short = _short(name)
        if _kind(name) in yolo.SUFFIXES and not data.exists():
            data.write_bytes(content)
        elif short == CLASSES:
            continue
        elif _kind(name) in LABELS:
            if short in names:
                troubles.append(Trouble(name, "another file has the same name"))
                continue
            if not _is_file_name(short):
                troubles.append(Trouble(name, "no image has such a name"))
                continue
            (labels / short).write_bytes(content)
            names[short] = name
    classes = next((files[name] for name in files if _short(name) == CLASSES), None)
    if classes is not None and not data.exists():
        lines = classes.decode(errors="replace").splitlines()
        data.write_text(yaml.safe_dump({"names": lines}), encoding="utf-8")
    return names


def _leave_others(
    names: dict[str, str], folder: Path, called: Mapping[str, str], troubles: list[Trouble]
) -> None:
    """Take out labels of images that are not open, and that nothing says the size of."""
    data = folder / yolo.DATA
    said = data.read_bytes() if data.exists() else b""
    stems = {short: PurePosixPath(short).stem for short in names}
    others = [
        short for short, stem in stems.items() if not (stem in called or stem.encode() in said)
    ]
    for short in others:
        (folder / yolo.LABELS / short).unlink()
        del names[short]
    if others:
        troubles.append(_not_open("labels", [stems[short] for short in others]))


def _called(known: Mapping[str, Size]) -> dict[str, str]:
    """Return images that are open by all that files may call them: with or without their endings,
    and their folders.
    """
    short = {_short(name): name for name in known}
    stems = {PurePosixPath(each).stem: name for each, name in short.items()}
    return stems | short | {name: name for name in known}


def _stand_ins(known: Mapping[str, Size], folder: Path) -> Path:
    """Write files that have the names and the sizes of images, and no pixels.

    Readers take a size that is not in a file from the header of the photo of its name.
    """
    folder.mkdir()
    for name, size in known.items():
        short = _short(name)
        if not _is_file_name(short):
            continue
        head = b"BM" + (54).to_bytes(4, "little") + bytes(4) + (54).to_bytes(4, "little")
        sides = size.width.to_bytes(4, "little") + size.height.to_bytes(4, "little")
        kind = (1).to_bytes(2, "little") + (24).to_bytes(2, "little") + bytes(24)
        (folder / short).write_bytes(head + (40).to_bytes(4, "little") + sides + kind)
    return folder


def _fitting(
    answers: Sequence[Answer],
    file: str,
    known: Mapping[str, Size],
    called: Mapping[str, str],
    max_pixels: int,
    troubles: list[Trouble],
) -> list[Answer]:
    """Keep what is about images that are open, under their names; say what is not."""
    kept: list[Answer] = []
    others: list[str] = []
    for answer in answers:
        short = _short(answer.name)
        size = answer.masks.size
        if size.height * size.width > max_pixels:
            troubles.append(Trouble(file, f"`{short}` is larger than {max_pixels} pixels"))
            continue
        if not known:
            kept.append(answer)
            continue
        ways = (answer.name, short, PurePosixPath(short).stem)
        name = next((called[way] for way in ways if way in called), None)
        if name is None:
            others.append(short)
        elif known[name] != size:
            troubles.append(
                Trouble(
                    file,
                    f"`{short}` is {size} there, and the image that is open is {known[name]}",
                    "Masks are those of the image at its own size",
                )
            )
        else:
            kept.append(answer._replace(name=name))
    if others:
        troubles.append(_not_open(file, others))
    return kept


def _not_open(file: str, others: Sequence[str]) -> Trouble:
    listed = ", ".join(f"`{other}`" for other in others[:3])
    more = f" and {len(others) - 3} more" if len(others) > 3 else ""
    return Trouble(file, f"it is about images that are not open: {listed}{more}", OPEN_HINT)


def _trouble(name: str, error: PromptsegError, folder: Path) -> Trouble:
    """Say what is wrong with a file, without the place where it was read."""
    said = str(error)
    for place in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
        said = said.replace(f"{place}/", "")
    said = said.replace(f"{folder}/", "").replace("`document.json`", "the file")
    return Trouble(name, said, None if isinstance(error, ImageError) else error.hint)
