"""Label Studio's machine-learning backend: clicks and rectangles in, a brush stroke out."""

from __future__ import annotations

import asyncio
import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field
from pydantic_core import to_json

import promptseg
from promptseg.errors import ImageError
from promptseg.formats.label_studio import brush
from promptseg.geometry import Size
from promptseg.requests import SegmentRequest
from promptseg.results import Masks
from promptseg.server import answering, label_studio
from promptseg.server.access import Known, Placed
from promptseg.server.adapters import REFUSALS, ForeignWords
from promptseg.server.answers import written
from promptseg.server.bodies import picture_of, read_json
from promptseg.server.documents import described
from promptseg.server.label_studio import Tags
from promptseg.server.problems import documented
from promptseg.server.refusals import FieldError, field
from promptseg.server.schemas import Limited, decoded
from promptseg.server.service import Service
from promptseg.server.settings import ServerSettings

router = APIRouter(
    prefix="/adapters/label-studio", tags=["adapters"], responses=documented(401, 413, 429, 503)
)


class Task(ForeignWords):
    """One task: its data, of which one field is the image."""

    id: int | str | None = Field(default=None, description="Label Studio's own number of it.")
    data: dict[str, Any] = Field(default={}, description="The fields of the task.")


class Context(ForeignWords):
    """What has been drawn with the smart tools since the last answer."""

    result: Annotated[list[dict[str, Any]], Limited("max_points")] | None = Field(
        default=None, description="Regions: `keypointlabels` and `rectanglelabels`, in percent."
    )


class Parameters(ForeignWords):
    """What goes along with the tasks."""

    context: Context | None = Field(default=None, description="Nothing for a batch of tasks.")


class Predict(ForeignWords):
    """The tasks to be predicted, and the configuration of their project."""

    tasks: list[Task] = Field(description="One task where there is a context.")
    label_config: str = Field(default="", description="The labeling configuration, XML.")
    params: Parameters | None = Field(default=None, description="The context, if there is one.")


class Prediction(BaseModel):
    """What is predicted of one task."""

    result: list[dict[str, Any]] = Field(description="One region of the type `brushlabels`.")
    score: float = Field(description="Its predicted IoU.")
    model_version: str = Field(description="Which model said so.")


class Predictions(BaseModel):
    """A prediction for each task, in order."""

    results: list[Prediction]
    model_version: str


class Health(BaseModel):
    """That the backend is there."""

    status: str = "UP"
    model_class: str = "promptseg"


class Version(BaseModel):
    """Which model answers."""

    model_version: str


class Versions(BaseModel):
    """Which models there are: one."""

    versions: list[str]


@router.get("/health")
async def health(caller: Known) -> Health:
    """Say that the backend is there."""
    return Health()


@router.post("/setup")
async def setup(http: Request, caller: Known) -> Version:
    """Say which model answers; nothing of the project is kept."""
    return Version(model_version=_version(http.app.state.service))


@router.get("/versions")
async def versions(http: Request, caller: Known) -> Versions:
    """List the model's one version."""
    return Versions(versions=[_version(http.app.state.service)])


@router.post("/webhook")
async def webhook(caller: Known) -> dict[str, str]:
    """Take note of what Label Studio tells, such as a new annotation, and do nothing."""
    return {}


@router.post(
    "/predict", response_model=Predictions, responses=REFUSALS, openapi_extra=described(Predict)
)
async def predict(http: Request, caller: Placed) -> Response:
    """Draw the object that was clicked on; tasks without a context get no regions."""
    service = http.app.state.service
    body = await read_json(http, Predict)
    context = body.params.context if body.params else None
    with field("params.context.result"):
        asked = label_studio.asked((context and context.result) or [])
    version = _version(service)
    if asked is None:
        nothing = Prediction(result=[], score=0.0, model_version=version)
        several = Predictions(results=[nothing] * len(body.tasks), model_version=version)
        return Response(to_json(several), media_type="application/json")
    if len(body.tasks) != 1:
        raise FieldError(
            f"a context is about one task, got {len(body.tasks)}",
            hint="Send the task that was drawn on",
            field="tasks",
        )
    # A configuration may be long enough to keep the event loop from all others.
    tags = await asyncio.to_thread(label_studio.tags, body.label_config, target=asked.target)
    data = await asyncio.to_thread(_image, body.tasks[0], tags, service.settings)
    picture = await picture_of(service, caller, body, data)
    # They are large, and the model may be long in coming to this.
    del body, data
    prompt = label_studio.prompt(asked, Size(*picture.pixels.shape[:2]))
    request = SegmentRequest.of(picture.pixels, prompt)
    answered = await answering.answer(service, http, caller, request, picture.name)
    content = await written(_written, answered.masks, tags, asked.label, version)
    return Response(content, media_type="application/json")


def _image(task: Task, tags: Tags, settings: ServerSettings) -> bytes:
    """Return the file of a task's image, from the task itself or from Label Studio's media."""
    address = task.data.get(tags.key)
    if not isinstance(address, str):
        raise ImageError(
            f"the task has no image in its field `{tags.key:.40}`",
            hint="The tag `Image` names the field of the task that has its image",
        )
    if label_studio.is_data(address):
        return decoded(address)
    return label_studio.read_media(
        address, settings.label_studio_media, max_bytes=settings.max_bytes
    )


def _written(masks: Masks, tags: Tags, label: str, version: str) -> bytes:
    """Write a mask as a region that Label Studio shows and lets people mend."""
    height, width = masks.size
    score = round(float(masks.scores[0]), 6)
    region = {
        "id": secrets.token_hex(5),
        "type": "brushlabels",
        "from_name": tags.brush,
        "to_name": tags.image,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {"format": "rle", "rle": brush(masks.runs[0]), "brushlabels": [label]},
        "score": score,
        "readonly": False,
    }
    predicted = Prediction(result=[region], score=score, model_version=version)
    return to_json(Predictions(results=[predicted], model_version=version))


def _version(service: Service) -> str:
    return f"{service.model.name}-{promptseg.__version__}"
