"""A file of queries: one line of JSON for each image with what is asked of it (docs/queries.md)."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field, fields, is_dataclass
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, get_type_hints

from promptseg.batch import VERBS, ImageQueries
from promptseg.concepts import Concept
from promptseg.errors import PromptError, PromptsegError, reason
from promptseg.geometry import Box
from promptseg.io import images
from promptseg.io.files import fingerprint, resolved
from promptseg.options import EverythingOptions, FindOptions, SegmentOptions
from promptseg.prompts import MaskHint, Points, Prompt
from promptseg.settings import MAX_PIXELS

Options: TypeAlias = FindOptions | SegmentOptions | EverythingOptions

RECORDS: dict[str, type[Any]] = {verb: record for record, verb in VERBS.items()}
# What is said beside options, which are the fields of the verb's record.
ASKED = {
    "find": ("text", "include", "exclude"),
    "segment": ("points", "labels", "box", "mask"),
    "everything": (),
}
# Fields that a file of answers has no place for.
LEFT_OUT = ("logits", "mask_size")
# Short words, those of the command line's flags.
SHORT = {"max": "max_masks"}
# Raised when the same question, asked of the same weights, comes to be answered otherwise.
KEY_FORMAT = 1
# Letters of a hash in an id: enough to tell the questions about one image apart.
ID_LETTERS = 8
LINE_HINT = 'A line is {"image": "a.jpg", "queries": [{"verb": "find", "text": "cat"}]}'


@dataclass(frozen=True, kw_only=True)
class Question:
    """One query as its line has it: checked, but for the file of a mask, which is read when asked.

    `name` is the id that was given, if any.
    """

    id: str
    name: str | None
    options: Options
    concept: Concept | None = None
    points: Points | None = None
    box: Box | None = None
    mask: Path | None = None

    @property
    def verb(self) -> str:
        """Which verb answers it."""
        return VERBS[type(self.options)]

    @property
    def label(self) -> str:
        """What its masks are of: the phrase, or else the id that was given; empty for neither.

        Regions of `everything` are of many things, and so of none.
        """
        if self.concept is not None:
            return self.concept.text or self.name or self.concept.label
        return self.name or "" if self.verb == "segment" else ""

    def key(self, image: str, model: str) -> str:
        """Name what is asked, of which pixels and of which weights: equal keys, equal answers.

        Options that were not given count as they are by default today.

        Raises:
            ImageError: the file of the mask cannot be read.
        """
        mask = "" if self.mask is None else fingerprint(self.mask)
        subject = _subject(self.concept, self.points, self.box)
        return _hash([KEY_FORMAT, repr(self.options), subject, mask, image, model])

    def ask(self, image: ImageQueries, *, max_pixels: int = MAX_PIXELS) -> str:
        """Add it to an image of a batch, and return the id that it has there.

        Raises:
            ImageError: the file of the mask cannot be read.
            PromptError: the mask is no hint.
        """
        match self.options:
            case FindOptions():
                return image.find(self.concept, options=self.options)
            case SegmentOptions():
                drawn = images.read_mask(self.mask, max_pixels=max_pixels) if self.mask else None
                hint = None if drawn is None else MaskHint(drawn)
                prompt = Prompt(points=self.points, box=self.box, hint=hint)
                return image.segment(prompt, options=self.options)
        return image.everything(options=self.options)


@dataclass(frozen=True)
class AskedImage:
    """One image of the file, by the name it has there and its path, with all that is asked of it.

    Lines about one image are put together, and the first of its names is kept.
    """

    name: str
    path: Path
    questions: list[Question] = field(default_factory=list)


class Broken(NamedTuple):
    """A line that cannot be understood, counted from 1, and why."""

    line: int
    error: PromptsegError


class Asked(NamedTuple):
    """What a file asks, in its order, and the lines that were left out."""

    images: list[AskedImage]
    broken: list[Broken]


def read(path: str | Path) -> Asked:
    """Read a file of queries; a line that makes no sense is left out and said, the others stay.

    Blank lines are skipped. Paths of images and masks are relative to the file's folder. Paths that
    lead to one folder by different ways are one; a link to an image is an image of its own.

    Raises:
        PromptError: the file is missing, a folder, or asks nothing.
    """
    path = Path(path)
    folder_of = cache(resolved)
    asked: dict[Path, AskedImage] = {}
    broken: list[Broken] = []
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        try:
            name, said = _parse(line)
            written = path.parent / name
            place = folder_of(written.parent) / written.name
            image = asked.get(place) or AskedImage(name, written)
            image.questions.extend(_questions(said, image.questions, path.parent))
        except PromptsegError as error:
            broken.append(Broken(number, error))
        else:
            if image.questions:
                asked[place] = image
    if not asked and not broken:
        raise PromptError(f"`{path}` asks nothing", hint=LINE_HINT)
    return Asked(list(asked.values()), broken)


def _lines(path: Path) -> list[bytes]:
    try:
        whole = path.read_bytes()
    except FileNotFoundError:
        raise PromptError(f"there is no file `{path}`") from None
    except IsADirectoryError:
        raise PromptError(f"`{path}` is a folder", hint="Name a file of lines of JSON") from None
    except (OSError, ValueError) as error:
        raise PromptError(f"cannot open `{path}`: {reason(error)}") from error
    return whole.removeprefix(b"\xef\xbb\xbf").split(b"\n")


def _parse(line: bytes) -> tuple[str, list[object]]:
    """Take a line apart: the name of its image, and its queries as they are written."""
    try:
        said = json.loads(line.decode(), object_pairs_hook=_object_of)
    except PromptError:
        raise
    except UnicodeDecodeError:
        raise PromptError("not text in UTF-8", hint=LINE_HINT) from None
    except json.JSONDecodeError as error:
        what = f"{error.msg[:1].lower()}{error.msg[1:]}"
        raise PromptError(f"not JSON: {what} at letter {error.pos + 1}", hint=LINE_HINT) from None
    except (ValueError, RecursionError):
        raise PromptError(
            "not JSON that can be read: a number is too long, or it is nested too deeply",
            hint=LINE_HINT,
        ) from None
    if not isinstance(said, dict):
        raise PromptError(f"a line is an object of JSON, got {_kind(said)}", hint=LINE_HINT)
    if unknown := [key for key in said if key not in ("image", "queries")]:
        raise PromptError(f"a line has `image` and `queries`, no `{unknown[0]}`", hint=LINE_HINT)
    name, queries = said.get("image"), said.get("queries")
    if not _is_path(name):
        raise PromptError(f"`image` is the path of an image, got {_kind(name)}", hint=LINE_HINT)
    if not isinstance(queries, list):
        raise PromptError(f"`queries` is a list, got {_kind(queries)}", hint=LINE_HINT)
    return Path(str(name)).as_posix(), queries


def _object_of(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    """Make an object of JSON, whose keys differ."""
    known: dict[str, object] = {}
    for key, value in pairs:
        if key in known:
            raise PromptError(f"{json.dumps(key[:40])} is there twice", hint="Leave one of them")
        known[key] = value
    return known


def _questions(said: Sequence[object], before: Sequence[Question], folder: Path) -> list[Question]:
    """Read the queries of one line, after those `before` of the same image."""
    taken = {question.id for question in before}
    named = [_name(query, place) for place, query in enumerate(said)]
    for given in filter(None, named):
        if given in taken:
            raise PromptError(
                f"two queries of one image have the id `{given}`", hint="Give each its own, or none"
            )
        taken.add(given)
    found = []
    for place, (query, name) in enumerate(zip(said, named, strict=True)):
        assert isinstance(query, dict)
        try:
            options, asked = _understood(query, folder)
        except PromptsegError as error:
            which = f"query {place + 1}" if name is None else f"query `{name}`"
            raise PromptError(f"{which}: {error}", hint=error.hint) from error
        made = name or _new_name(options, asked, query.get("mask"), taken)
        taken.add(made)
        found.append(Question(id=made, name=name, options=options, **asked))
    return found


def _name(query: object, place: int) -> str | None:
    if not isinstance(query, dict):
        raise PromptError(
            f"query {place + 1}: a query is an object of JSON, got {_kind(query)}", hint=LINE_HINT
        )
    name = query.get("id")
    if "id" in query and (not isinstance(name, str) or not name):
        raise PromptError(f"query {place + 1}: an id is some text, got {_kind(name)}")
    return name


def _new_name(options: Options, asked: Mapping[str, Any], mask: str | None, taken: set[str]) -> str:
    """Name a query after what it asks, where a mask counts by its name in the file.

    Of options only those count that are not as by default, so that the name outlives a version.
    """
    subject = _subject(asked.get("concept"), asked.get("points"), asked.get("box"))
    made = f"{VERBS[type(options)]}-{_hash([subject, mask, _chosen(options)])[:ID_LETTERS]}"
    again = (f"{made}-{number}" for number in count(2))
    return made if made not in taken else next(name for name in again if name not in taken)


def _subject(concept: Concept | None, points: Points | None, box: Box | None) -> list[object]:
    """Spell out what a question is about, but for its mask and its options."""
    return [
        concept and astuple(concept),
        points and [points.coordinates.tolist(), points.labels.tolist()],
        box and astuple(box),
    ]


def _chosen(record: Any) -> dict[str, object]:
    """Take the fields of a record of options that are not as by default."""
    usual = type(record)()
    return {
        entry.name: _chosen(value) if is_dataclass(value) else value
        for entry in fields(record)
        if (value := getattr(record, entry.name)) != getattr(usual, entry.name)
    }


def _hash(said: object) -> str:
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _understood(query: Mapping[str, Any], folder: Path) -> tuple[Options, dict[str, Any]]:
    verb = query.get("verb")
    if not isinstance(verb, str) or verb not in RECORDS:
        raise PromptError(
            f"`verb` is one of {', '.join(RECORDS)}, got {json.dumps(verb)}", hint=LINE_HINT
        )
    said = {key: value for key, value in query.items() if key not in ("id", "verb")}
    for short, full in SHORT.items():
        if short in said and full in _fields(RECORDS[verb]):
            if full in said:
                raise PromptError(f"`{short}` and `{full}` are the same", hint="Give one of them")
            said[full] = said.pop(short)
    asked = {key: said.pop(key) for key in ASKED[verb] if key in said}
    for key in said:
        if key not in _fields(RECORDS[verb]):
            raise _unknown(verb, key)
    options = _record(RECORDS[verb], said)
    if verb == "find":
        return options, {"concept": _concept(asked)}
    return options, _object(asked, folder) if verb == "segment" else {}


def _unknown(verb: str, key: str) -> PromptError:
    known = [*ASKED[verb], *_fields(RECORDS[verb])]
    others = [other for other in RECORDS if key in (*ASKED[other], *_fields(RECORDS[other]))]
    hint = f"It has {', '.join(known)}"
    if others:
        hint = f"`{others[0]}` has it; `{verb}` has {', '.join(known)}"
    return PromptError(f"`{verb}` has no `{key}`", hint=hint)


def _fields(record: type[Any]) -> list[str]:
    return [entry.name for entry in fields(record) if entry.name not in LEFT_OUT]


def _record(record: type[Any], said: Mapping[str, Any], where: str = "") -> Any:
    """Make a record of options of an object of JSON, and records in it of objects in that."""
    kinds = get_type_hints(record)
    values = dict(said)
    for entry in fields(record):
        kind = kinds[entry.name]
        if entry.name in values and is_dataclass(kind):
            inner = values[entry.name]
            if not isinstance(inner, dict):
                raise PromptError(f"`{entry.name}` is an object of JSON, got {_kind(inner)}")
            assert isinstance(kind, type)
            known = _fields(kind)
            if unknown := [key for key in inner if key not in known]:
                raise PromptError(
                    f"`{entry.name}` has no `{unknown[0]}`", hint=f"It has {', '.join(known)}"
                )
            values[entry.name] = _record(kind, inner)
    return record(**values)


def _concept(asked: Mapping[str, Any]) -> Concept:
    return Concept(
        asked.get("text"),
        include=_list(asked, "include", "boxes") or (),
        exclude=_list(asked, "exclude", "boxes") or (),
    )


def _object(asked: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Read what is said of one object; its mask stays a path."""
    mask = asked.get("mask")
    if "mask" in asked and not _is_path(mask):
        raise PromptError(f"`mask` is the path of a picture, got {_kind(mask)}")
    points, labels = _list(asked, "points", "points"), _list(asked, "labels", "labels")
    box = _list(asked, "box", "numbers")
    if labels is not None and points is None:
        raise PromptError("`labels` are those of `points`, which are not given")
    if points is None and box is None and mask is None:
        raise PromptError(
            "`segment` needs points, a box or a mask, got none",
            hint='Say what to segment, such as "points": [[320, 200]] or "box": [10, 20, 90, 80]',
        )
    return {
        "points": None if points is None else Points(points, labels),
        "box": None if box is None else Box.from_sequence(box),
        "mask": None if mask is None else folder / mask,
    }


def _list(asked: Mapping[str, Any], name: str, of: str) -> list[Any] | None:
    if name not in asked:
        return None
    if not isinstance(asked[name], list):
        raise PromptError(f"`{name}` is a list of {of}, got {_kind(asked[name])}")
    return list(asked[name])


def _is_path(value: object) -> bool:
    """Tell whether a value is text that a file can be called."""
    if not isinstance(value, str) or not value or "\0" in value:
        return False
    try:
        os.fsencode(value)
    except UnicodeEncodeError:
        return False
    return True


def _kind(value: object) -> str:
    """Say what a value of JSON is."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true or false"
        case str():
            return f"{json.dumps(value[:40])}" if value else "an empty text"
        case int() | float():
            return "a number"
        case list():
            return "a list"
    return "an object"
