"""What comes back: the masks of one image as JSON, in the format that was asked for."""

from __future__ import annotations

import base64
import io
import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import numpy as np
from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar
from fastapi import Request
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json
from starlette.responses import Response

from promptseg.engine.scheduler import Answered
from promptseg.errors import PromptError
from promptseg.formats.index import HIGHEST, palette
from promptseg.formats.png import paint
from promptseg.formats.records import outcome_to_json
from promptseg.masks import RunLength
from promptseg.polygons import Polygon
from promptseg.results import Masks
from promptseg.server.answering import due, require_time, timed, timings
from promptseg.server.schemas import Format

WrittenT = TypeVar("WrittenT")

# Run lengths of so many masks, and of so many runs, are written within a millisecond or so.
FEW_MASKS, FEW_RUNS = 8, 10_000
DECIMALS = 3
# Answers that are written at once; each may hold some copies of a mask of the largest image.
MOST_WRITTEN = 8
WRITERS: RunVar[CapacityLimiter] = RunVar("writers")


class SizeWords(BaseModel):
    """Pixels each way."""

    height: int
    width: int


class RunLengths(BaseModel):
    """A mask as COCO has it: run lengths, column by column, in COCO's compressed string."""

    size: list[int] = Field(min_length=2, max_length=2, description="Height and width.")
    counts: str


class PolygonWords(BaseModel):
    """One region of a mask: corners of its pixels, [x, y], the last one not repeating the first."""

    exterior: list[list[float]]
    holes: list[list[list[float]]]


class MaskWords(BaseModel):
    """One mask, and what is known of it; which of the last four is there is the format's."""

    model_config = ConfigDict(json_schema_extra={"additionalProperties": False})

    label: str | None = Field(description="What it is of: the phrase that was asked for.")
    area: int = Field(description="Pixels.")
    box: list[int] = Field(
        min_length=4, max_length=4, description="x0, y0, x1, y1 in pixels, half-open."
    )
    score: float = Field(description="Predicted IoU, or of `find` how sure it is, 0 to 1.")
    object: int = Field(description="Which object of the request it answers, or which was found.")
    candidate: int = Field(description="Which of the model's answers it is.")
    presence: float = Field(description="How probable it is that there is any such thing.")
    confident: bool = Field(description="False where none was good enough and this is the best.")
    stability: float = Field(default=0, description="Stability, where it is known.")
    point: list[float] = Field(default=[], description="The point that gave it, of `everything`.")
    crop: list[float] = Field(default=[], description="The crop that gave it, of `everything`.")
    predicted_box: list[float] = Field(default=[], description="The box that `find` predicts.")
    rle: RunLengths | None = Field(default=None, description="Format `rle`.")
    png: str = Field(default="", description="Format `png`: base64, black and white.")
    polygons: list[PolygonWords] = Field(default=[], description="Format `polygons`.")
    value: int = Field(default=0, description="Format `labels`: its number in `label_map`.")


class MasksBody(BaseModel):
    """The masks of one image."""

    id: str = Field(default="", description="Of a batch: the query that it answers.")
    model: str = Field(description="Which model answered.")
    size: SizeWords = Field(description="The size of the image, and of its masks.")
    complete: bool = Field(description="False where there may be more.")
    masks: list[MaskWords]
    label_map: str = Field(
        default="",
        description="Format `labels`: a PNG in base64 with a number for each pixel, 0 for none.",
    )
    timings: dict[str, float] = Field(
        description="Milliseconds: read, decode, queue, encode, answer, write, total."
    )


def answer_body(
    answered: Answered,
    *,
    format: Format,  # noqa: A002 - the word of the wire
    model: str,
    timings: Mapping[str, float],
    id: str | None = None,  # noqa: A002
    until: float = math.inf,
) -> dict[str, Any]:
    """Describe an answer; `timings` are milliseconds. It takes a while for many masks.

    Raises:
        PromptError, DeadlineError: as `masks_body`.
    """
    named = {} if id is None else {"id": id}
    said = masks_body(answered.masks, format, until=until)
    return {**named, "model": model, **said, "timings": timings}


def masks_body(
    masks: Masks,
    format: Format,  # noqa: A002
    *,
    until: float = math.inf,
) -> dict[str, Any]:
    """Describe masks in a format: their size, whether they are all, and each of them.

    Raises:
        PromptError: there are more masks than a label map has numbers.
        DeadlineError: that goes on after `until`, by `time.monotonic`.
    """
    said: dict[str, Any] = outcome_to_json(masks)
    if format == "rle":
        return said
    for number, (record, run) in enumerate(zip(said["masks"], masks.runs, strict=True)):
        require_time(until)
        del record["rle"]
        match format:
            case "png":
                record["png"] = png_of(run)
            case "polygons":
                record["polygons"] = [_polygon(each) for each in run.polygons()]
            case "labels":
                record["value"] = number + 1
    return said | {"label_map": label_map(masks, until=until)} if format == "labels" else said


def png_of(run: RunLength) -> str:
    """Draw a mask as a black and white PNG, in base64."""
    # One bit a pixel is written four times as fast as a byte of grey, and read alike.
    return as_png(Image.fromarray(run.to_mask()))


def label_map(masks: Masks, *, until: float = math.inf) -> str:
    """Draw masks as a PNG of numbers, in base64: i + 1 for mask i, 0 for none of them.

    Where they overlap the higher score wins, as in `Masks.to_label_map`.

    Raises:
        PromptError: there are more masks than numbers of 16 bits.
        DeadlineError: drawing goes on after `until`, by `time.monotonic`.
    """
    if len(masks) > HIGHEST[16]:
        raise PromptError(
            f"a label map has numbers for {HIGHEST[16]} masks, and these are {len(masks)}",
            hint="Ask for another format",
        )
    wide = len(masks) > HIGHEST[8]
    canvas = np.zeros(masks.size, np.uint16 if wide else np.uint8)
    for row in np.argsort(-masks.scores, kind="stable")[::-1].tolist():
        require_time(until)
        paint(canvas, masks.runs[row], row + 1)
    picture = Image.fromarray(canvas)
    if not wide:
        picture.putpalette(palette())
    return as_png(picture)


async def respond(http: Request, answered: Answered, *, format: Format) -> Response:  # noqa: A002
    """Answer with masks, and with how long each stage took, in the body and in `Server-Timing`."""
    model = http.app.state.service.model.name
    masks, is_quick = answered.masks, _is_quick(answered.masks, format)
    with timed(http, "write"):
        said = (
            masks_body(masks, format)
            if is_quick
            else await written(masks_body, masks, format, until=due(http))
        )
    spent = milliseconds(http)
    content = {"model": model, **said, "timings": spent}
    body = to_json(content) if is_quick else await written(to_json, content)
    return Response(body, media_type="application/json", headers=server_timing(spent))


async def written(write: Callable[..., WrittenT], *said: Any, **how: Any) -> WrittenT:
    """Write an answer beside the event loop, by other threads than those that read bodies.

    Many large masks take minutes, and who sends an image meanwhile is not to wait for them. No
    more than `MOST_WRITTEN` are written at once.
    """
    writers = WRITERS.get(None)
    if writers is None:
        WRITERS.set(writers := CapacityLimiter(MOST_WRITTEN))
    return await to_thread.run_sync(partial(write, *said, **how), limiter=writers)


def milliseconds(http: Request) -> dict[str, float]:
    """Return how long the stages of a request took, and all of it until now."""
    spent = {stage: round(1000 * seconds, DECIMALS) for stage, seconds in timings(http).items()}
    total = 1000 * (time.perf_counter() - http.state.begun)
    return spent | {"total": round(total, DECIMALS)}


def server_timing(spent: Mapping[str, float]) -> dict[str, str]:
    """Write milliseconds as the header by which browsers show them."""
    return {"Server-Timing": ", ".join(f"{stage};dur={value:g}" for stage, value in spent.items())}


def _is_quick(masks: Masks, format: Format) -> bool:  # noqa: A002
    runs = sum(len(run.counts) for run in masks.runs[:FEW_MASKS])
    return format == "rle" and len(masks) <= FEW_MASKS and runs <= FEW_RUNS


def _polygon(polygon: Polygon) -> dict[str, Any]:
    return {
        "exterior": polygon.exterior.tolist(),
        "holes": [hole.tolist() for hole in polygon.holes],
    }


def as_png(picture: Image.Image, *, effort: int = 6) -> str:
    """Write a picture as a PNG file, in base64; with the `effort` of zlib, 0 to 9."""
    file = io.BytesIO()
    picture.save(file, format="PNG", compress_level=effort)
    return base64.b64encode(file.getvalue()).decode()
