"""The annotator's folder: its images, their small pictures, and what is drawn on them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from pydantic import BaseModel, Field
from pydantic_core import to_json
from starlette.requests import ClientDisconnect
from starlette.responses import FileResponse, Response

from promptseg.errors import MaskError, PromptError
from promptseg.geometry import Size
from promptseg.server.access import Admitted, Known
from promptseg.server.annotations import (
    KEPT,
    NOTHING,
    Annotations,
    ConflictError,
    Document,
    Drawn,
    Kept,
)
from promptseg.server.annotator import Annotator, Place
from promptseg.server.answers import written
from promptseg.server.bodies import whole
from promptseg.server.documents import described
from promptseg.server.folder import LONGEST_NAME
from promptseg.server.mask_words import Rle, require_pixels, require_size
from promptseg.server.option_words import Words
from promptseg.server.problems import Problem, documented, problem_body
from promptseg.server.refusals import FieldError, field, parse
from promptseg.server.settings import ServerSettings

MOST_OBJECTS = 10_000
MOST_LETTERS = 200
SIDE = 2**31 - 1
# A file may change, and a listing that is scrolled back and forth asks again within seconds.
FILE_CACHE = {"Cache-Control": "private, no-cache"}
SMALL_CACHE = {"Cache-Control": "private, max-age=60"}

KINDS = {
    ".bmp": "image/bmp",
    ".gif": "image/gif",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".webp": "image/webp",
}

router = APIRouter(prefix="/v1/folder", tags=["annotator"])

Name = Annotated[
    str,
    Query(min_length=1, max_length=LONGEST_NAME, description="The name of an image, as listed."),
]


class EntryBody(BaseModel):
    """An image of the folder."""

    name: str
    width: int = Field(description="As it is shown, 0 where it cannot be opened.")
    height: int
    done: bool = Field(description="Whether it is said to be done.")
    objects: int = Field(description="How many objects are kept.")
    problem: str | None = Field(description="Why it cannot be opened.")


class FolderBody(BaseModel):
    """The folder, and its images in the order of their names."""

    name: str
    writable: bool = Field(description="Whether what is drawn is kept there.")
    labels: list[str] = Field(description="Those to begin with, then those in the files.")
    images: list[EntryBody]


class ObjectWords(Words):
    """An object: its mask, its label, and what the page knows of how it came about."""

    id: str = Field(min_length=1, max_length=MOST_LETTERS)
    label: str | None = Field(default=None, max_length=MOST_LETTERS)
    visible: bool = True
    locked: bool = False
    accepted: bool = True
    base: Rle | None = Field(default=None, description="A mask that it began as.")
    steps: list[dict[str, Any]] = Field(default=[], description="What was said of it, in order.")
    candidate: int = Field(default=0, ge=0, le=1000)
    edits: list[dict[str, Any]] = Field(default=[], description="Strokes and polygons, in order.")
    tidy: dict[str, int] = Field(default={}, description="`fill_holes` and `drop_specks`.")
    rle: Rle | None = Field(default=None, description="Its mask as it is shown, where known.")


class DocumentWords(Words):
    """All that is drawn on one image, in order."""

    width: int = Field(ge=1, le=SIDE)
    height: int = Field(ge=1, le=SIDE)
    done: bool = False
    objects: list[ObjectWords] = Field(default=[], max_length=MOST_OBJECTS)


class KeptBody(BaseModel):
    """What is kept of an image, and the revision by which to replace it."""

    document: DocumentWords | None = Field(description="Null where nothing is kept yet.")
    revision: str = Field(description=f"`{NOTHING}` where nothing is kept yet.")


class RevisionBody(BaseModel):
    """By which to replace what was kept."""

    revision: str


class ConflictBody(Problem):
    """The refusal of what would replace what was not seen, with what is there."""

    document: DocumentWords | None
    revision: str


@router.get("", responses=documented(401, 429))
async def folder(http: Request, caller: Known) -> FolderBody | None:
    """Which images are there? Null where the service was given no folder."""
    annotator: Annotator = http.app.state.annotator
    if (place := annotator.place) is None:
        return None
    settings: ServerSettings = http.app.state.service.settings
    return await written(_listed, place, settings.labels)


@router.get(
    "/image",
    responses={
        200: {
            "content": {kind: {} for kind in sorted({*KINDS.values()})},
            "description": "The file as it is.",
        },
        **documented(401, 404, 422, 429),
    },
    response_class=Response,
    operation_id="folder_image",
)
async def image(http: Request, caller: Known, name: Name) -> Response:
    """Send the file of an image."""
    path = await asyncio.to_thread(_place(http).folder.file, name)
    kind = KINDS.get(path.suffix.lower(), "application/octet-stream")
    return FileResponse(path, media_type=kind, headers=FILE_CACHE)


@router.get(
    "/thumbnail",
    responses={
        200: {"content": {"image/jpeg": {}}, "description": "At most 160 pixels each way."},
        **documented(401, 404, 413, 415, 422, 429, 503),
    },
    response_class=Response,
    operation_id="folder_thumbnail",
)
async def thumbnail(http: Request, caller: Admitted, name: Name) -> Response:
    """Send a small picture of an image, made when it is first asked for."""

    async def is_wanted() -> bool:
        return not await http.is_disconnected()

    data = await _place(http).thumbnails.of(name, is_wanted=is_wanted)
    if data is None:
        raise ClientDisconnect
    return Response(data, media_type="image/jpeg", headers=SMALL_CACHE)


@router.get(
    "/annotations",
    responses={
        200: {"model": KeptBody, "description": "What is kept."},
        **documented(401, 404, 422, 429),
    },
    operation_id="folder_annotations",
)
async def kept(http: Request, caller: Known, name: Name) -> Response:
    """What is drawn on an image?"""
    content = await written(_read, _place(http).annotations, name)
    return Response(content, media_type="application/json")


@router.put(
    "/annotations",
    responses={
        200: {"model": RevisionBody, "description": "It is kept, on the disk."},
        **documented(401, 403, 404, 413, 422, 429, 503, 507),
        412: {"model": ConflictBody, "description": "Something else is kept by now."},
    },
    openapi_extra=described(DocumentWords),
    operation_id="keep_annotations",
)
async def keep(
    http: Request,
    caller: Known,
    name: Name,
    if_match: Annotated[
        str, Header(max_length=LONGEST_NAME, description="The revision that this replaces.")
    ],
) -> Response:
    """Keep what is drawn on an image, in place of what was there when it was last read."""
    place = _place(http)
    data = await whole(http)
    revision = if_match.strip().removeprefix("W/").strip('"')
    try:
        revision = await written(
            _keep, place.annotations, name, data, revision, http.app.state.service.settings
        )
    except ConflictError as error:
        problem = problem_body(FieldError(str(error), hint=error.hint, field="If-Match"))
        content = await written(_read, place.annotations, name, **problem)
        return Response(content, 412, media_type="application/json")
    return Response(to_json({"revision": revision}), media_type="application/json")


def _place(http: Request) -> Place:
    annotator: Annotator = http.app.state.annotator
    return annotator.require_place()


def _listed(place: Place, labels: tuple[str, ...]) -> FolderBody:
    entries = []
    for entry in place.folder.entries():
        summary = place.annotations.summary(entry.name)
        labels += summary.labels
        entries.append(
            EntryBody(
                name=entry.name,
                width=entry.size.width,
                height=entry.size.height,
                done=summary.done,
                objects=summary.objects,
                problem=entry.problem,
            )
        )
    return FolderBody(
        name=place.folder.name,
        writable=place.folder.writable,
        labels=list(dict.fromkeys(labels)),
        images=entries,
    )


@contextmanager
def _said() -> Iterator[None]:
    """Say of what a file has, or is to have, what is wrong with it."""
    try:
        yield
    except MaskError as error:
        raise PromptError(str(error), hint=error.hint) from None


def _read(annotations: Annotations, name: str, **more: Any) -> bytes:
    with _said():
        kept = annotations.get(name)
    # Text of a file may be half a character, which this escapes.
    return json.dumps({**more, **_written(kept)}).encode()


def _keep(
    annotations: Annotations, name: str, data: bytes, revision: str, settings: ServerSettings
) -> str:
    words = parse(DocumentWords, data, limits=settings)
    with _said():
        return annotations.put(name, _document(words, settings), revision)


def _document(words: DocumentWords, settings: ServerSettings) -> Document:
    size = Size(words.height, words.width)
    require_pixels(size, settings.max_pixels)
    objects = []
    for number, each in enumerate(words.objects):
        with field(f"objects.{number}"):
            objects.append(_drawn(each, size))
    return Document(size, tuple(objects), words.done)


def _drawn(words: ObjectWords, size: Size) -> Drawn:
    for name in ("rle", "base"):
        if (run := getattr(words, name)) is not None:
            require_size(run.size, size, field=name)
    known = {key: getattr(words, key) for key in KEPT}
    known["base"] = None if words.base is None else words.base.to_coco()
    return Drawn(words.rle, words.label, known)


def _written(kept: Kept) -> dict[str, Any]:
    if kept.document is None:
        return {"document": None, "revision": kept.revision}
    size, objects, done = kept.document
    return {
        "document": {
            "width": size.width,
            "height": size.height,
            "done": done,
            "objects": [
                {**known, "label": label, "rle": None if run is None else run.to_coco()}
                for run, label, known in objects
            ],
        },
        "revision": kept.revision,
    }
