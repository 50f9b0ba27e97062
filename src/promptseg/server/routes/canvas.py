"""What the annotator's canvas shows of a session: tiles of the image, masks of a list of steps."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from promptseg.engine.scheduler import Answered
from promptseg.geometry import Size
from promptseg.options import SegmentOptions, TidyOptions
from promptseg.prompts import MaskHint, Prompt
from promptseg.requests import SegmentRequest
from promptseg.results import Masks
from promptseg.server.access import Admitted
from promptseg.server.annotator import Annotator
from promptseg.server.answering import answer, timed
from promptseg.server.answers import respond, written
from promptseg.server.bodies import prompt_of, read_json
from promptseg.server.documents import answers_masks, described
from promptseg.server.drawing import MOST_STEPS
from promptseg.server.keys import Caller
from promptseg.server.mask_words import Rle, require_size
from promptseg.server.option_words import Words, options_of
from promptseg.server.problems import documented
from promptseg.server.refusals import FieldError, field
from promptseg.server.replays import replay
from promptseg.server.schemas import OneObject, TidyWords
from promptseg.server.service import Service
from promptseg.tidying import tidy

# The page asks for a square again when it comes back to it, and what a session shows stays.
TILE_CACHE = {"Cache-Control": "private, max-age=86400, immutable"}

Name = Annotated[str, Path(alias="id", description="The id of an open session.")]
Place = Annotated[int, Query(ge=0, le=2**20)]

router = APIRouter(prefix="/v1", tags=["annotator"])


class StepsWords(Words):
    """All that was said of an object, oldest first, and what it began as."""

    steps: Annotated[list[OneObject], Field(max_length=MOST_STEPS, fail_fast=True)] = Field(
        default=[], description="Each as `/prompts` takes it: what more is said."
    )
    base: Rle | None = Field(default=None, description="A mask that the first step starts from.")
    all_candidates: bool = Field(
        default=True, description="Every candidate mask, best first, not only the best one."
    )
    tidy: TidyWords = Field(  # type: ignore[valid-type]
        default=TidyWords(), description="What is done to the masks once they are found."
    )


class SizeOfImage(Words):
    """Pixels each way."""

    height: int
    width: int


class MaskToTidy(Words):
    """A mask, and what is to be done to it."""

    rle: Rle = Field(description="The mask.")
    tidy: TidyWords = Field(description="What is done to it.")  # type: ignore[valid-type]
    size: SizeOfImage | None = Field(default=None, description="The image's, to be checked.")


@router.get(
    "/sessions/{id}/tile",
    responses={
        200: {"content": {"image/jpeg": {}}, "description": "The square."},
        **documented(401, 404, 422, 429, 503),
    },
    response_class=Response,
    operation_id="tile",
)
async def tile(
    http: Request,
    caller: Admitted,
    name: Name,
    level: Annotated[int, Query(ge=0, le=32, description="0 is the full size, each next half.")],
    x: Place,
    y: Place,
) -> Response:
    """Show a square of a session's image; `x` and `y` count squares from the upper left corner."""
    service: Service = http.app.state.service
    annotator: Annotator = http.app.state.annotator
    picture = service.sessions.get(caller.owner, name).picture
    data = await written(annotator.pyramids.tile, picture, level, x, y)
    return Response(data, media_type="image/jpeg", headers=TILE_CACHE)


@router.post(
    "/sessions/{id}/masks",
    responses=answers_masks(),
    openapi_extra=described(StepsWords),
    operation_id="masks_of_steps",
)
async def masks_of_steps(http: Request, caller: Admitted, name: Name) -> Response:
    """What are the masks of an object of which all this was said, step by step?

    The answer is that of `/prompts` to the same steps one by one, and the session stays as it is.
    """
    service: Service = http.app.state.service
    annotator: Annotator = http.app.state.annotator
    service.sessions.get(caller.owner, name)
    words = await read_json(http, StepsWords)
    state = service.sessions.get(caller.owner, name)
    _require_points(words, service.settings.max_points)
    with timed(http, "decode"):
        prompts = await _prompts(service, caller, words, state.size)
    options = SegmentOptions(threshold=state.options.threshold, all_candidates=words.all_candidates)

    async def ask(prompt: Prompt, how: SegmentOptions) -> Masks:
        request = SegmentRequest(state.picture.pixels, (prompt,), how)
        return (await answer(service, http, caller, request, state.picture.name)).masks

    replays = annotator.replays
    found = await replay(prompts, options, name=state.picture.name, replays=replays, ask=ask)
    if found is None:
        runs = [] if words.base is None else [words.base]
        found = Masks.of(runs, size=state.size)
    return await _tidied(http, found, words.tidy)


@router.post(
    "/tidy",
    responses=answers_masks(),
    openapi_extra=described(MaskToTidy),
    operation_id="tidy",
)
async def tidy_mask(http: Request, caller: Admitted) -> Response:
    """Clean a mask of holes, specks and rough edges; no mask comes back where nothing is left."""
    words = await read_json(http, MaskToTidy)
    if words.size is not None:
        require_size(words.rle.size, Size(words.size.height, words.size.width), field="rle")
    return await _tidied(http, Masks.of([words.rle], size=words.rle.size), words.tidy)


async def _tidied(http: Request, masks: Masks, how: BaseModel) -> Response:
    masks = await written(tidy, masks, options_of(how, TidyOptions))
    return await respond(http, Answered(masks, 0.0, 0.0, 0.0), format="rle")


def _require_points(words: StepsWords, most: int) -> None:
    count = sum(len(step.points or ()) for step in words.steps)
    if count > most:
        raise FieldError(
            f"an object has at most {most} points, and these are {count}",
            hint="Accept the object, or take steps back",
            field="steps",
        )


async def _prompts(service: Service, caller: Caller, words: StepsWords, size: Size) -> list[Prompt]:
    """Return what each step says; the first one starts from the base, unless it has a hint."""
    if words.base is not None:
        require_size(words.base.size, size, field="base")
    prompts = []
    for number, step in enumerate(words.steps):
        with field(f"steps.{number}"):
            prompts.append(await prompt_of(service, caller, step, size))
    if words.base is not None and prompts and prompts[0].hint is None:
        mask = await asyncio.to_thread(words.base.to_mask)
        prompts[0] = replace(prompts[0], hint=MaskHint(mask))
    return prompts
