"""Very many images, answered while nobody waits: `/v1/jobs`."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request
from pydantic_core import to_json
from starlette.responses import Response, StreamingResponse

from promptseg.jobs.job import KEY_LETTERS
from promptseg.jobs.ledger import Status, UnknownJobError
from promptseg.server.access import Admitted, Known
from promptseg.server.bodies import read_json
from promptseg.server.documents import described
from promptseg.server.events import APART_SECONDS, MEDIA_TYPE, Event, EventResponse, Source
from promptseg.server.job_words import JobBody, JobsBody, JobStatus, status_words
from promptseg.server.jobs import Jobs
from promptseg.server.problems import documented

if TYPE_CHECKING:
    from promptseg.server.service import Service

# Between two looks at a job of which nothing changes, in seconds.
MOST_APART_SECONDS = 1.0
MOST_LISTED = 1000
LINES = "application/jsonl"
FILE = "application/octet-stream"

OPERATIONS = (
    "show_job",
    "show_results",
    "show_manifest",
    "show_report",
    "cancel_job",
    "retry_job",
    "forget_job",
)
LINKS = {
    name: {"operationId": name, "parameters": {"id": "$response.body#/id"}} for name in OPERATIONS
}
EVENTS = (
    "`event: progress` with the status of the job at first, and whenever it changes, then `event: "
    "result` with the last one; it ends without where the service does. `event: error` has the "
    "body of an error. Lines that begin with a colon say nothing."
)
REFUSALS = (401, 404, 422, 429, 503)

Name = Annotated[str, Path(alias="id", description="The id of a job.")]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=KEY_LETTERS,
        description="As `key` of the body, which goes before it.",
    ),
]

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


def _sends(kind: str, description: str) -> dict[int | str, dict[str, Any]]:
    """Describe answers of a kind that is not JSON."""
    # A stream is no text to those who take its events apart.
    content = {kind: {"schema": {} if kind == MEDIA_TYPE else {"type": "string"}}}
    return {200: {"content": content, "description": description}, **documented(*REFUSALS)}


@router.post(
    "",
    status_code=202,
    responses={
        202: {
            "model": JobStatus,
            "description": "It is taken on, or was before, by its key.",
            "headers": {"Location": {"description": "Its address.", "schema": {"type": "string"}}},
            "links": LINKS,
        },
        **documented(401, 404, 409, 413, 415, 422, 429, 503, 504),
    },
    openapi_extra=described(JobBody),
    operation_id="submit_job",
)
async def submit_job(http: Request, caller: Admitted, key: Key = None) -> Response:
    """Ask queries about each of many images that lie where the service can read them.

    They are answered while nobody waits, also after a restart. What comes of them is kept until
    some time after the end.
    """
    service: Service = http.app.state.service
    jobs = _jobs(http)
    words = await read_json(http, JobBody)
    make = partial(words.as_job, key=key, within=service.settings.job_inputs)
    status = await jobs.submit(caller.owner, make)
    address = f"{http.scope.get('root_path', '')}{router.prefix}/{status.id}"
    return _said(status, 202, {"Location": address})


@router.get("", responses={200: {"model": JobsBody}, **documented(*REFUSALS)})
async def list_jobs(
    http: Request,
    caller: Known,
    limit: Annotated[int, Query(ge=1, le=MOST_LISTED, description="Most to list.")] = 100,
) -> Response:
    """How do my jobs stand? The latest come first."""
    parts = await _jobs(http).latest(caller.owner, limit)
    return StreamingResponse(parts, media_type="application/json")


@router.get(
    "/{id}",
    responses={200: {"model": JobStatus}, **documented(*REFUSALS)},
    operation_id="show_job",
)
async def show_job(http: Request, caller: Known, name: Name) -> Response:
    """How does a job stand?"""
    return _said(await _jobs(http).status(caller.owner, name))


@router.get(
    "/{id}/events",
    responses=_sends(MEDIA_TYPE, EVENTS),
    response_class=Response,
    operation_id="watch_job",
)
async def watch_job(http: Request, caller: Admitted, name: Name) -> Response:
    """Be told how a job stands, until it has ended and all about it is written."""
    service: Service = http.app.state.service
    first = await _jobs(http).status(caller.owner, name)
    return EventResponse(_told(service, caller.owner, first))


@router.get(
    "/{id}/results",
    responses=_sends(LINES, "A line of JSON for each query, as `promptseg run` writes them."),
    response_class=Response,
    operation_id="show_results",
)
async def show_results(http: Request, caller: Admitted, name: Name) -> Response:
    """What was found so far, in the order of the images."""
    parts = await _jobs(http).results(caller.owner, name)
    return StreamingResponse(parts, media_type=LINES)


@router.get(
    "/{id}/manifest",
    responses=_sends(LINES, "A line of JSON for each image that has ended."),
    response_class=Response,
    operation_id="show_manifest",
)
async def show_manifest(http: Request, caller: Admitted, name: Name) -> Response:
    """What became of each image so far, and the names of its files."""
    parts = await _jobs(http).manifest(caller.owner, name)
    return StreamingResponse(parts, media_type=LINES)


@router.get(
    "/{id}/report",
    responses=_sends("text/plain", "A line of numbers, then one for each problem."),
    response_class=Response,
    operation_id="show_report",
)
async def show_report(http: Request, caller: Admitted, name: Name) -> Response:
    """How did it go so far, for people?"""
    parts = await _jobs(http).report(caller.owner, name)
    return StreamingResponse(parts, media_type="text/plain")


@router.get(
    "/{id}/images/{number}/files/{name}",
    responses=_sends(FILE, "The file."),
    response_class=Response,
    operation_id="show_job_file",
)
async def show_job_file(
    http: Request,
    caller: Admitted,
    job: Name,
    number: Annotated[
        int, Path(ge=0, le=2**31 - 1, description="Of the image in the job, counted from 0.")
    ],
    name: Annotated[str, Path(description="Of the file, as the manifest has it.")],
) -> Response:
    """Get a file that a format of the job has for an image."""
    parts = await _jobs(http).file(caller.owner, job, number, name)
    return StreamingResponse(parts, media_type=FILE)


@router.post(
    "/{id}/cancel",
    responses={200: {"model": JobStatus}, **documented(*REFUSALS)},
    operation_id="cancel_job",
)
async def cancel_job(http: Request, caller: Known, name: Name) -> Response:
    """End what is left of a job; what has ended stays."""
    return _said(await _jobs(http).cancel(caller.owner, name))


@router.post(
    "/{id}/retry",
    responses={200: {"model": JobStatus}, **documented(*REFUSALS)},
    operation_id="retry_job",
)
async def retry_job(http: Request, caller: Admitted, name: Name) -> Response:
    """Let images that failed or were cancelled wait again, with all their attempts."""
    return _said(await _jobs(http).retry(caller.owner, name))


@router.delete(
    "/{id}",
    status_code=204,
    responses=documented(*REFUSALS, 409),
    operation_id="forget_job",
)
async def forget_job(http: Request, caller: Known, name: Name) -> None:
    """Drop a job that has ended, and all that came of it."""
    await _jobs(http).forget(caller.owner, name)


async def _told(service: Service, owner: str, status: Status) -> Source:
    """Tell how a job stands whenever that changes, until all is written or the service ends."""
    assert service.jobs is not None
    told: dict[str, Any] = {}
    apart = APART_SECONDS
    while not status.is_reported:
        if (said := status_words(status)) != told:
            yield Event.of("progress", said)
            told, apart = said, APART_SECONDS
        await asyncio.sleep(apart)
        if service.phase == "draining":
            return
        apart = min(2 * apart, MOST_APART_SECONDS)
        status = await service.jobs.status(owner, status.id)
    yield Event.of("result", status_words(status))


def _said(
    status: Status, status_code: int = 200, headers: dict[str, str] | None = None
) -> Response:
    content = to_json(status_words(status))
    return Response(content, status_code, headers=headers, media_type="application/json")


def _jobs(http: Request) -> Jobs:
    """Return the jobs of the service.

    Raises:
        UnknownJobError: it keeps none.
    """
    service: Service = http.app.state.service
    if service.jobs is None:
        raise UnknownJobError(
            "this service keeps no jobs", hint="Its operator says where with `--jobs`"
        )
    return service.jobs
