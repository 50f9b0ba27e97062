"""What is drawn on the images of a folder, kept beside each as COCO: `photo.jpg.coco.json`.

Any tool reads the masks; what the annotator knows beside them (what was said of an object, its
strokes, whether the image is done) stands under `promptseg`, which others pass over. Where others
have changed a mask or added one, theirs counts.

A file is written whole or not at all, and only by who has seen what is in it.
"""

from __future__ import annotations

import hashlib
import json
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from promptseg.errors import MaskError, OutputError, OverloadedError, PromptsegError, reason
from promptseg.formats import coco
from promptseg.formats.answers import UNNAMED
from promptseg.formats.nodes import Node
from promptseg.formats.places import Photos
from promptseg.geometry import Size
from promptseg.io.files import hold, write_atomically
from promptseg.masks import RunLength
from promptseg.results import Masks
from promptseg.server.folder import (
    NONE,
    Folder,
    ReadOnlyError,
    UnwrittenError,
    Version,
    version_of,
)

ENDING = ".coco.json"
LOCK = ".promptseg.lock"
# The revision of what is not there yet.
NOTHING = "none"
OURS = "promptseg"
# How long another process may hold the folder; writing takes some milliseconds.
LOCK_SECONDS, LOCK_STEP = 5.0, 0.02

# What is kept of an object beside its mask and its label.
KEPT = ("id", "visible", "locked", "accepted", "base", "steps", "candidate", "edits", "tidy")


class Drawn(NamedTuple):
    """An object: its mask, what it is said to be, and what else the annotator knows of it.

    Without a `run` its mask is still to be asked for.
    """

    run: RunLength | None
    label: str | None
    known: dict[str, Any]


class Document(NamedTuple):
    """All that is drawn on one image, in order."""

    size: Size
    objects: tuple[Drawn, ...] = ()
    done: bool = False


class Kept(NamedTuple):
    """What a file has, None where there is none, and the revision by which to replace it."""

    document: Document | None
    revision: str


class Summary(NamedTuple):
    """What a listing says of an image's file."""

    done: bool = False
    objects: int = 0
    labels: tuple[str, ...] = ()


class ConflictError(PromptsegError):
    """The file is not the one that was to be replaced; `revision` is that of what is there."""

    def __init__(self, revision: str) -> None:
        super().__init__(
            "the annotations of this image were changed by someone else",
            hint="Read them again, and put yours together with them",
        )
        self.revision = revision


class Annotations:
    """The files of a folder's images. Threads may share it, and other processes the folder."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._summaries: dict[str, tuple[Version, Summary]] = {}

    def get(self, name: str) -> Kept:
        """Return what is drawn on an image.

        Raises:
            AbsentError: there is no such image.
            MaskError: the file is damaged, or of other images.
        """
        data = self._read(name)
        if data is None:
            return Kept(None, NOTHING)
        document = read(data, name)
        size = self._folder.entry(name).size
        # An image may lie on its side, and say so where the listing does not look.
        if size != NONE and document.size not in (size, Size(size.width, size.height)):
            raise MaskError(
                f"`{name}{ENDING}` is about an image of {document.size}, and `{name}` is {size}",
                hint="Move it elsewhere to go on with this image",
            )
        return Kept(document, revision_of(data))

    def put(self, name: str, document: Document, revision: str) -> str:
        """Keep what is drawn on an image in place of what `revision` says, and return the new one.

        Raises:
            AbsentError: there is no such image.
            ConflictError: another revision is there.
            ReadOnlyError, UnwrittenError: it cannot be written.
            OverloadedError: another process holds the folder.
        """
        data = write(document, name)
        if not self._folder.writable:
            raise ReadOnlyError(
                "the folder of images is read-only", hint="Export what you draw, or import it later"
            )
        with self._alone():
            before = self._read(name)
            found = NOTHING if before is None else revision_of(before)
            if found != revision:
                raise ConflictError(found)
            try:
                write_atomically(self._path(name), lambda file: file.write(data))
            except OutputError as error:
                raise unwritten(error.__cause__) from error
        return revision_of(data)

    def summary(self, name: str) -> Summary:
        """Return what a listing says; of a file that cannot be read, nothing."""
        path = self._folder.path / f"{name}{ENDING}"
        version = version_of(path)
        if version is None or problem_of(path) is not None:
            return Summary()
        with self._lock:
            known = self._summaries.get(name)
        if known is None or known[0] != version:
            known = version, _summary(path)
            with self._lock:
                self._summaries[name] = known
        return known[1]

    def _path(self, name: str) -> Path:
        """Return where the file of an image is or would be: beside it, and a file.

        Raises:
            AbsentError: there is no such image.
            MaskError: it is something else, or cannot be there.
        """
        self._folder.file(name)
        path = self._folder.path / f"{name}{ENDING}"
        if (problem := problem_of(path)) is not None:
            raise MaskError(f"`{path.name}` {problem}")
        return path

    def _read(self, name: str) -> bytes | None:
        path = self._path(name)
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise MaskError(f"`{path.name}` cannot be read: {reason(error)}") from None

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other threads and other processes from writing."""
        until = time.monotonic() + LOCK_SECONDS
        with self._writing:
            try:
                while (held := hold(self._folder.path / LOCK)) is None:
                    if time.monotonic() > until:
                        raise OverloadedError(
                            "another process holds the folder", hint="Try again", retry_after=1.0
                        )
                    time.sleep(LOCK_STEP)
            except OSError as error:
                raise unwritten(error) from error
            with held:
                yield


def problem_of(path: Path) -> str | None:
    """Say why a path is none that annotations can be kept at; None where they can."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"cannot be read: {reason(error)}"
    if stat.S_ISLNK(mode):
        return "is a link, which is not followed"
    return None if stat.S_ISREG(mode) else "is no file"


def unwritten(error: BaseException | None) -> UnwrittenError:
    """Make the error of what cannot be written, without the place where it was to go."""
    said = reason(error) if isinstance(error, OSError) else "the system does not say why"
    return UnwrittenError(
        f"the annotations cannot be written: {said}",
        hint="Make room on the disk, or let the service write to the folder",
    )


def legible(label: str) -> str:
    """Return a label as text that can be sent: JSON can say half of a character, which none is."""
    return label.encode(errors="replace").decode()


def revision_of(data: bytes) -> str:
    """Name what a file has by its content, so that a change by anyone's hand is another name."""
    return hashlib.sha256(data).hexdigest()[:32]


def write(document: Document, name: str) -> bytes:
    """Write what is drawn on an image as a COCO document of that one image.

    Raises:
        MaskError: a mask is not of the image's size, or a number is not finite.
    """
    nothing = RunLength(document.size, np.array([document.size.height * document.size.width]))
    runs = [each.run or nothing for each in document.objects]
    masks = Masks.of(runs, size=document.size)
    if runs:
        labels = np.array([each.label or "" for each in document.objects])
        masks = replace(masks, labels=labels)
    written: dict[str, Any] = dict(coco.to_coco([(name, masks)]))
    for annotation, each in zip(written["annotations"], document.objects, strict=True):
        mask = None if each.run is None else _name_of(each.run)
        annotation[OURS] = {**each.known, "label": each.label, "mask": mask}
    written[OURS] = {"done": document.done}
    try:
        return (json.dumps(written, allow_nan=False) + "\n").encode()
    except ValueError:
        raise MaskError("a number of an object is not finite") from None


def read(data: bytes, name: str) -> Document:
    """Read back what `write` writes, or any COCO document that has the image.

    Raises:
        MaskError: it is damaged, or of other images.
    """
    file = Path(f"{name}{ENDING}")
    try:
        root = Node(json.loads(data), file)
    except (ValueError, RecursionError):
        raise MaskError(
            f"`{file}` is not JSON", hint="Move it elsewhere, or mend it, to go on with this image"
        ) from None
    answers = coco.from_node(root, Photos(None))
    place = next((i for i, each in enumerate(answers) if _is_named(each.name, name)), None)
    if place is None:
        others = ", ".join(f"`{answer.name}`" for answer in answers[:3]) or "no image"
        raise MaskError(
            f"`{file}` is about {others} and not about `{name}`",
            hint="Move it elsewhere to go on with this image",
        )
    answer = answers[place]
    annotations = _annotations(root, root["images"].items()[place]["id"].whole())
    taken: set[str] = set()
    objects = [
        _drawn(node, run, _label(answer.masks, i), taken)
        for i, (node, run) in enumerate(zip(annotations, answer.masks.runs, strict=True))
    ]
    done = _ours(root).get("done") is True
    return Document(answer.masks.size, tuple(objects), done)


def _annotations(root: Node, number: int) -> list[Node]:
    """List the annotations of an image that have a mask, which are the reader's, in its order."""
    return [
        node
        for node in root["annotations"].items()
        if node["image_id"].whole() == number
        and (segmentation := node.get("segmentation")) is not None
        and segmentation.value not in ([], {})
    ]


def _drawn(node: Node, run: RunLength, label: str | None, taken: set[str]) -> Drawn:
    ours = _ours(node)
    if label == UNNAMED and ours.get("label") is None:
        label = None
    mask = ours.get("mask", "")
    is_unknown = mask is None and not run.area
    if (is_unknown or mask == _name_of(run)) and _is_known(ours):
        known = {key: ours[key] for key in KEPT}
    else:
        known, is_unknown = _of_others(run), False
    known["id"] = _own(known["id"] or f"file-{len(taken) + 1}", taken)
    return Drawn(None if is_unknown else run, label, known)


def _of_others(run: RunLength) -> dict[str, Any]:
    """Say of a mask that someone else drew or changed what the annotator would."""
    return {
        "id": "",
        "visible": True,
        "locked": False,
        "accepted": True,
        "base": run.to_coco(),
        "steps": [],
        "candidate": 0,
        "edits": [],
        "tidy": {"fill_holes": 0, "drop_specks": 0},
    }


def _ours(node: Node) -> dict[str, Any]:
    found = node.record().get(OURS)
    return found if isinstance(found, dict) else {}


def _is_known(ours: dict[str, Any]) -> bool:
    """Whether what stands under our name is as we write it."""
    return (
        all(key in ours for key in KEPT)
        and isinstance(ours["id"], str)
        and isinstance(ours["steps"], list)
        and isinstance(ours["edits"], list)
        and isinstance(ours["tidy"], dict)
        and isinstance(ours["base"], dict | None)
        and isinstance(ours["candidate"], int)
        and all(isinstance(ours[key], bool) for key in ("visible", "locked", "accepted"))
    )


def _own(name: str, taken: set[str]) -> str:
    """Return an id that no object before it has."""
    wanted, number = name, 2
    while name in taken:
        name, number = f"{wanted}-{number}", number + 1
    taken.add(name)
    return name


def _label(masks: Masks, i: int) -> str | None:
    return None if masks.labels is None else legible(str(masks.labels[i])) or None


def _name_of(run: RunLength) -> str:
    """Name a mask by its pixels."""
    return hashlib.sha256(run.to_coco()["counts"].encode()).hexdigest()[:16]


def _is_named(said: str, name: str) -> bool:
    return said == name or PurePosixPath(said.replace("\\", "/")).name == name


def _summary(path: Path) -> Summary:
    """Look into a file without taking its masks apart."""
    try:
        document = json.loads(path.read_bytes())
        annotations, ours = document["annotations"], document.get(OURS)
        names: Sequence[Any] = [each.get("name") for each in document.get("categories", [])]
        count = len(annotations)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return Summary()
    done = isinstance(ours, dict) and ours.get("done") is True
    labels = {legible(name) for name in names if isinstance(name, str) and name and name != UNNAMED}
    return Summary(done, count, tuple(sorted(labels)))
