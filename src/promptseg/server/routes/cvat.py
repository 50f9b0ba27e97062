"""CVAT's interactor: an image and clicks in, one dense mask out, as its serverless functions do.

The shapes are those that `cvat/apps/lambda_manager` sends to the functions in `serverless/`.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from promptseg.errors import PromptError
from promptseg.geometry import Box
from promptseg.masks import RunLength
from promptseg.prompts import Points, Prompt
from promptseg.requests import SegmentRequest
from promptseg.server import answering
from promptseg.server.access import Placed
from promptseg.server.adapters import REFUSALS, ForeignWords, image_in
from promptseg.server.answers import written
from promptseg.server.bodies import picture_of, read_json
from promptseg.server.documents import described
from promptseg.server.refusals import field
from promptseg.server.schemas import Limited, PointWords

router = APIRouter(prefix="/adapters/cvat", tags=["adapters"], responses=REFUSALS)

PointList = Annotated[list[PointWords], Limited("max_points")]
HEAD, TAIL = b'{"mask":[', b"]}"
BOX_HINT = "`obj_bbox` is [[x0, y0], [x1, y1]] or [x0, y0, x1, y1], or empty"


class Interaction(ForeignWords):
    """What CVAT sends of one object."""

    image: str = Field(description="The image file, base64.", min_length=4)
    pos_points: PointList = Field(default=[], description="Points on the object, [x, y].")
    neg_points: PointList = Field(default=[], description="Points off the object, [x, y].")
    obj_bbox: Annotated[list[PointWords | float], Field(max_length=4)] | None = Field(
        default=None, description="Two opposite corners of a box round it, or none."
    )

    def prompt(self) -> Prompt:
        """Say the same in the words of `segment`.

        Raises:
            PromptError: nothing is said, or the box has no inside.
        """
        places = [*self.pos_points, *self.neg_points]
        labels = [1] * len(self.pos_points) + [0] * len(self.neg_points)
        points = Points(places, labels) if places else None
        with field("obj_bbox"):
            box = _box(self.obj_bbox) if self.obj_bbox else None
        return Prompt(points=points, box=box)


class Drawn(BaseModel):
    """The mask of the object, as large as the image."""

    mask: list[list[int]] = Field(description="Rows of 0 and 1.")


@router.post("", response_model=Drawn, openapi_extra=described(Interaction))
async def interact(http: Request, caller: Placed) -> Response:
    """Draw one object of an image for CVAT: points on it and off it, and a box round it."""
    service = http.app.state.service
    body = await read_json(http, Interaction)
    prompt = body.prompt()
    data = await image_in("image", body.image)
    picture = await picture_of(service, caller, body, data)
    # They are large, and the model may be long in coming to this.
    del body, data
    asked = SegmentRequest.of(picture.pixels, prompt)
    answered = await answering.answer(service, http, caller, asked, picture.name)
    # Some 24 MB for a photo of 12 megapixels, which nothing else is to wait for.
    content = await written(drawn, answered.masks.runs[0])
    return Response(content, media_type="application/json")


def drawn(run: RunLength) -> bytes:
    """Write a mask as JSON, `{"mask": [[0, 1], ...]}`, without a number of Python for each pixel.

    Every row is as long as any other in this JSON, so the rows are one array of letters, within
    that of all letters.
    """
    height, width = run.size
    each = 2 * width + 2
    letters = np.full(len(HEAD) + height * each - 1 + len(TAIL), ord(","), np.uint8)
    rows = letters[len(HEAD) :][: height * each].reshape(height, each)
    rows[:, 0], rows[:, -2] = ord("["), ord("]")
    np.add(run.to_mask(), np.uint8(ord("0")), out=rows[:, 1:-2:2])
    letters[: len(HEAD)], letters[-len(TAIL) :] = list(HEAD), list(TAIL)
    return letters.tobytes()


def _box(corners: list[PointWords | float]) -> Box:
    """Make a box of two opposite corners, in whichever order, or of its four numbers."""
    numbers = [
        number
        for corner in corners
        for number in (corner if isinstance(corner, tuple) else (corner,))
    ]
    if len(numbers) != 4:
        raise PromptError(f"a box needs 4 numbers, got {len(numbers)}", hint=BOX_HINT)
    x0, y0, x1, y1 = numbers
    return Box(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
