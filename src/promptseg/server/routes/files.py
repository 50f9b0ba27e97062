"""What was drawn as files of other tools' formats, and back: `/v1/export` and `/v1/import`."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from pydantic_core import to_json
from starlette.requests import ClientDisconnect
from starlette.responses import FileResponse, Response
from starlette.types import Receive, Scope, Send

from promptseg.errors import MaskError, PromptError
from promptseg.formats.answers import Answer
from promptseg.geometry import Size
from promptseg.server import exports, imports
from promptseg.server.access import Admitted
from promptseg.server.annotations import Annotations, legible
from promptseg.server.annotator import Annotator, Place
from promptseg.server.answers import RunLengths, written
from promptseg.server.bodies import media_type, read_json, read_parts
from promptseg.server.documents import described
from promptseg.server.exports import ExportFormat, Labelled
from promptseg.server.keys import Caller
from promptseg.server.mask_words import Rle, require_pixels, require_size
from promptseg.server.option_words import Words
from promptseg.server.problems import MediaTypeError, documented
from promptseg.server.refusals import FieldError, field, parse
from promptseg.server.service import Service
from promptseg.server.settings import ServerSettings
from promptseg.shapes import ImageArray

MOST_IMAGES = 10_000
MOST_FILES = 2000
MOST_LETTERS = 1000
SIDE = 2**31 - 1
# The part of a form that lists the images that are open.
OPEN = "images"

router = APIRouter(prefix="/v1", tags=["annotator"])


class LabelledWords(Words):
    """A mask, and what it is of."""

    label: str | None = Field(default=None, max_length=MOST_LETTERS)
    rle: Rle


class SourceWords(Words):
    """Where the pixels of an image are: in an open session, or in the annotator's folder."""

    session: str | None = Field(default=None, max_length=64)
    folder_image: str | None = Field(default=None, max_length=MOST_LETTERS)


class OpenWords(Words):
    """An image that is open: its name and its size."""

    name: str = Field(min_length=1, max_length=MOST_LETTERS)
    width: int = Field(ge=1, le=SIDE)
    height: int = Field(ge=1, le=SIDE)

    @property
    def size(self) -> Size:
        """Its size."""
        return Size(self.height, self.width)


class ImageWords(OpenWords):
    """An image, and what was drawn on it."""

    image: SourceWords | str | None = Field(
        default=None, description="For overlays: whose pixels; or an id of a session, or a name."
    )
    objects: list[LabelledWords] = Field(default=[])


class ExportWords(Words):
    """What is to be written, and how."""

    format: ExportFormat
    images: list[ImageWords] = Field(default=[], max_length=MOST_IMAGES)
    folder: bool = Field(
        default=False, description="In place of images: all that is kept in the folder."
    )


class OpenImages(Words):
    """The images that are open."""

    images: list[OpenWords] = Field(max_length=MOST_IMAGES)


class ImportedObject(BaseModel):
    """A mask that was read."""

    label: str | None
    rle: RunLengths
    score: float


class ImportedImage(BaseModel):
    """An image, and the masks that were read of it."""

    name: str
    width: int
    height: int
    objects: list[ImportedObject]


class TroubleBody(BaseModel):
    """What was not read, and why."""

    file: str
    message: str
    hint: str | None


class ImportBody(BaseModel):
    """What was read, and what was not."""

    images: list[ImportedImage]
    problems: list[TroubleBody]


FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "description": "Files, each a part under its own name; and, as text, what is "
                    "open: `images`, a list of `name`, `width` and `height` in JSON.",
                    "properties": {OPEN: {"type": "string"}},
                    "additionalProperties": {"type": "string", "format": "binary"},
                }
            }
        },
    }
}


class Passing(FileResponse):
    """A file that is gone with its folder when it has been sent, or nobody takes it any more."""

    def __init__(self, path: Path, *, filename: str, folder: Path) -> None:
        super().__init__(path, filename=filename)
        self.folder = folder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, however that ends."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)


@router.post(
    "/export",
    responses={
        200: {
            "content": {"application/json": {}, "application/zip": {}, "image/png": {}},
            "description": "The one file, or a zip of them.",
        },
        **documented(401, 404, 413, 415, 422, 429, 503, 504),
    },
    response_class=Response,
    openapi_extra=described(ExportWords),
    operation_id="export",
)
async def export(http: Request, caller: Admitted) -> Response:
    """Write what was drawn as other tools read it. Masks without pixels are left out."""
    annotator: Annotator = http.app.state.annotator
    service: Service = http.app.state.service
    words = await read_json(http, ExportWords)
    async with annotator.one_at_a_time(service.settings.max_seconds):
        if await http.is_disconnected():
            raise ClientDisconnect
        root = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="promptseg-export-"))
        try:
            path = await _exported(http, caller, words, root)
        except BaseException:
            await asyncio.to_thread(shutil.rmtree, root, ignore_errors=True)
            raise
    name = path.name if path.suffix == ".zip" else f"promptseg-{path.name}"
    return Passing(path, filename=name, folder=root)


@router.post(
    "/import",
    responses={
        200: {"model": ImportBody, "description": "What was read, and what was not."},
        **documented(401, 413, 415, 422, 429, 503, 504),
    },
    openapi_extra=FORM,
    operation_id="import",
)
async def import_files(http: Request, caller: Admitted) -> Response:
    """Read files of masks: COCO, YOLO's labels, labelme. A file that cannot be read harms no other.

    Where it is said which images are open, masks of others are left out, and named.
    """
    service: Service = http.app.state.service
    annotator: Annotator = http.app.state.annotator
    if media_type(http) != "multipart/form-data":
        raise MediaTypeError("a body of this kind is not read", hint="Send the files as a form")
    parts = await read_parts(http, most_files=MOST_FILES)
    known = _known(parts.pop(OPEN, None), service.settings)
    files = {name: data for name, data in parts.items() if isinstance(data, bytes)}
    if not files:
        raise FieldError("there is no file", hint=imports.KINDS_HINT)
    async with annotator.one_at_a_time(service.settings.max_seconds):
        content = await written(_imported, files, known, service.settings.max_pixels)
    return Response(content, media_type="application/json")


async def _exported(http: Request, caller: Caller, words: ExportWords, root: Path) -> Path:
    """Write what is asked for below a folder, and return the file that has all of it."""
    annotator: Annotator = http.app.state.annotator
    settings: ServerSettings = http.app.state.service.settings
    folder = root / "files"
    folder.mkdir()
    name = f"promptseg-{words.format}"
    sources: Sequence[SourceWords | str | None]
    if words.folder:
        answers = await written(_of_folder, annotator.require_place())
        sources = [SourceWords(folder_image=answer.name) for answer in answers]
    else:
        answers = await written(_answers, words.images, settings)
        sources = [image.image for image in words.images]
    if not answers:
        raise FieldError("there is nothing to export", hint="Give `images`, or `folder`")
    if words.format != "overlay":
        await written(exports.write, answers, words.format, folder)
        return await written(exports.packed, folder, name)
    for number, (answer, source, file) in enumerate(
        zip(answers, sources, exports.overlay_names(answers), strict=True)
    ):
        if await http.is_disconnected():
            raise ClientDisconnect
        with field(f"images.{number}.image"):
            pixels = await _pixels(http, caller, source)
        with field(f"images.{number}"):
            await written(exports.write_overlay, pixels, answer, folder / file)
    return await written(exports.packed, folder, name)


def _answers(images: Sequence[ImageWords], settings: ServerSettings) -> list[Answer]:
    answers = []
    for number, image in enumerate(images):
        with field(f"images.{number}"):
            _require_name(image.name)
            require_pixels(image.size, settings.max_pixels)
            for place, each in enumerate(image.objects):
                require_size(each.rle.size, image.size, field=f"objects.{place}.rle")
            drawn = [Labelled(each.label, each.rle) for each in image.objects]
            answers.append(exports.answer_of(image.name, image.size, drawn))
    if len({answer.name for answer in answers}) < len(answers):
        raise FieldError("two images have one name", hint="Name each once", field="images")
    return answers


def _require_name(name: str) -> None:
    if "\0" in name:
        raise FieldError("no image has such a name", hint="Give the file's name", field="name")


def _of_folder(place: Place) -> list[Answer]:
    """List what is kept beside the images of a folder; a file that is damaged is an error."""
    names = [entry.name for entry in place.folder.entries() if entry.problem is None]
    found = (_kept(place.annotations, name) for name in names)
    return [answer for answer in found if answer is not None]


def _kept(annotations: Annotations, name: str) -> Answer | None:
    try:
        document = annotations.get(name).document
    except MaskError as error:
        raise PromptError(str(error), hint=error.hint) from None
    if document is None:
        return None
    drawn = [Labelled(each.label, each.run) for each in document.objects if each.run is not None]
    return exports.answer_of(name, document.size, drawn)


async def _pixels(http: Request, caller: Caller, source: SourceWords | str | None) -> ImageArray:
    service: Service = http.app.state.service
    annotator: Annotator = http.app.state.annotator
    if isinstance(source, str):
        place = annotator.place
        is_listed = place is not None and await asyncio.to_thread(place.folder.has, source)
        source = SourceWords(**{"folder_image" if is_listed else "session": source})
    if source is None or (source.session is None) == (source.folder_image is None):
        raise FieldError(
            "an overlay needs the image: an open session, or a name in the folder",
            hint='Give `{"session": id}` or `{"folder_image": name}`',
        )
    if source.session is not None:
        return service.sessions.get(caller.owner, source.session).picture.pixels
    assert source.folder_image is not None
    data = await annotator.read(source.folder_image)
    return (await service.pictures.picture(data, owner=caller.owner)).pixels


def _known(said: str | bytes | None, settings: ServerSettings) -> dict[str, Size]:
    """Read which images are open; nothing said is none."""
    if said is None:
        return {}
    with field(OPEN):
        text = said.decode(errors="replace") if isinstance(said, bytes) else said
        listed = parse(OpenImages, f'{{"images": {text}}}', limits=settings)
    return {each.name: each.size for each in listed.images}


def _imported(files: dict[str, bytes], known: dict[str, Size], max_pixels: int) -> bytes:
    with tempfile.TemporaryDirectory(prefix="promptseg-import-") as folder:
        found = imports.read(files, Path(folder), known=known, max_pixels=max_pixels)
    return to_json(
        {
            "images": [_image(answer) for answer in found.answers],
            "problems": [each._asdict() for each in found.troubles],
        }
    )


def _image(answer: Answer) -> dict[str, Any]:
    masks = answer.masks
    labels = [""] * len(masks) if masks.labels is None else masks.labels.tolist()
    return {
        "name": answer.name,
        "width": masks.size.width,
        "height": masks.size.height,
        "objects": [
            {"label": legible(label) or None, "rle": run.to_coco(), "score": round(float(score), 6)}
            for run, label, score in zip(masks.runs, labels, masks.scores, strict=True)
        ],
    }
