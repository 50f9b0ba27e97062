"""The tutorial's own `POST /segment`, for clients written to it, with its mistakes mended.

Each mistake is a test in `tests/server/test_tutorial_mistakes.py`.
"""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

import numpy as np
from fastapi import APIRouter, Request, Response
from PIL import Image
from pydantic import BaseModel, Field
from pydantic_core import to_json

from promptseg.formats.png import paint
from promptseg.geometry import Box
from promptseg.masks import RunLength
from promptseg.options import EverythingOptions, SegmentOptions, TidyOptions
from promptseg.prompts import Points, Prompt
from promptseg.requests import EverythingRequest, SegmentRequest
from promptseg.requests import Request as Asked
from promptseg.results import Masks
from promptseg.server import answering
from promptseg.server.access import Placed
from promptseg.server.adapters import REFUSALS, image_in
from promptseg.server.answers import as_png, written
from promptseg.server.bodies import picture_of, read_json
from promptseg.server.documents import described
from promptseg.server.option_words import Words
from promptseg.server.refusals import FieldError, field
from promptseg.server.schemas import BoxWords, Label, Limited, PointWords

router = APIRouter(tags=["adapters"], responses=REFUSALS)

# What the tutorial asks of its generator; its other numbers are those of `EverythingOptions`, or
# better left to the model.
MIN_REGION_AREA = 100
SHAPES = {
    "points": "Write `points` as [[x, y], ...]",
    "boxes": "Write `boxes` as [[x0, y0, x1, y1], ...]",
}


class Objects(NamedTuple):
    """What is said of each object, and how to answer."""

    prompts: tuple[Prompt, ...]
    options: SegmentOptions


Question: TypeAlias = "Objects | EverythingOptions"


class TutorialWords(Words):
    """What the tutorial's clients send, and the labels that it forgot."""

    image_base64: str = Field(description="The image file, base64.", min_length=4)
    prompt_type: Literal["point", "box", "auto"] = Field(
        default="point",
        description="Whether `points`, `boxes` or neither say what to look for; the others are "
        "passed over.",
    )
    points: Annotated[list[PointWords], Limited("max_points")] | None = Field(
        default=None, description="Points of one object, [x, y] in pixels."
    )
    labels: list[Label] | None = Field(
        default=None,
        description="For each point whether it is on the object, 1, or off it, 0. [default: on it]",
    )
    boxes: Annotated[list[BoxWords], Limited("max_objects")] | None = Field(
        default=None, description="Boxes, [x0, y0, x1, y1] in pixels, each of an object of its own."
    )
    confidence_threshold: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="Least predicted IoU of the masks that come back. Where none reaches it, of a "
        "point prompt the best comes back, of boxes the best of each.",
    )

    def question(self) -> Question:
        """Return the prompts and options that say the same in the words of the library.

        Raises:
            FieldError: what `prompt_type` needs is missing, or makes no sense.
        """
        threshold = self.confidence_threshold
        match self.prompt_type:
            case "auto":
                tidy = TidyOptions(min_score=threshold, keep_best=True)
                return EverythingOptions(min_region_area=MIN_REGION_AREA, tidy=tidy)
            case "box":
                prompts = tuple(Prompt(box=Box(*corners)) for corners in self._given("boxes"))
                return Objects(prompts, SegmentOptions(threshold=threshold))
            case "point":
                points = self._given("points")
                with field("labels"):
                    prompt = Prompt(points=Points(points, self.labels))
                return Objects((prompt,), SegmentOptions(threshold=threshold, all_candidates=True))

    def _given(self, name: str) -> list[Any]:
        values: list[Any] | None = getattr(self, name)
        if not values:
            raise FieldError(
                f"the prompt type `{self.prompt_type}` needs `{name}`",
                hint=SHAPES[name],
                field=name,
            )
        return values


class TutorialAnswer(BaseModel):
    """The masks, best first within each object, as the tutorial's clients read them."""

    masks_base64: list[str] = Field(description="PNG files, base64: 0 outside and 255 inside.")
    scores: list[float] = Field(description="The predicted IoU of each mask.")
    num_masks: int = Field(description="How many masks there are.")
    inference_time_ms: float = Field(description="How long the answer took, in milliseconds.")


@router.post("/segment", response_model=TutorialAnswer, openapi_extra=described(TutorialWords))
async def segment(http: Request, caller: Placed) -> Response:
    """Answer a client of the tutorial. New clients are better served by `/v1/segment`."""
    began = time.perf_counter()
    service = http.app.state.service
    body = await read_json(http, TutorialWords)
    question = body.question()
    data = await image_in("image_base64", body.image_base64)
    picture = await picture_of(service, caller, body, data)
    # They are large, and the model may be long in coming to this.
    del body, data
    asked: Asked
    if isinstance(question, EverythingOptions):
        asked = EverythingRequest(picture.pixels, question)
    else:
        asked = SegmentRequest(picture.pixels, *question)
    answered = await answering.answer(service, http, caller, asked, picture.name)
    content = await written(_written, passing(answered.masks), began, answering.due(http))
    return Response(content, media_type="application/json")


def passing(masks: Masks) -> Masks:
    """Leave out the best of objects that did not reach the threshold, unless none did."""
    return masks[masks.confident] if masks.confident.any() else masks


def png(run: RunLength) -> str:
    """Write a mask as a PNG file in grey, 0 and 255, in base64."""
    canvas = np.zeros(run.size, np.uint8)
    paint(canvas, run, 255)
    # Masks are so plain that more effort makes them hardly smaller.
    return as_png(Image.fromarray(canvas), effort=1)


def _written(masks: Masks, began: float, until: float) -> bytes:
    pictures = []
    for run in masks.runs:
        answering.require_time(until)
        pictures.append(png(run))
    answer = TutorialAnswer(
        masks_base64=pictures,
        scores=[round(score, 6) for score in masks.scores.tolist()],
        num_masks=len(masks),
        inference_time_ms=round((time.perf_counter() - began) * 1000, 2),
    )
    return to_json(answer)
