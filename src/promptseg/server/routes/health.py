"""How the service is: for probes, in the words of KServe too, and for Prometheus."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

import promptseg
from promptseg.server.access import Known
from promptseg.server.problems import documented
from promptseg.server.service import Service

router = APIRouter(tags=["service"])

NOT_READY: dict[int | str, dict[str, Any]] = {
    503: {"description": "It starts, or is about to end.", "content": {"application/json": {}}}
}


@router.get("/health/live", summary="Is the process alive?")
async def live() -> dict[str, str]:
    """Answers as long as the process does, however busy the model is."""
    return {"status": "alive"}


@router.get("/health/ready", summary="Are requests taken?", responses=NOT_READY)
async def ready(http: Request) -> JSONResponse:
    """200 when the model has warmed up; 503 until then, and from the moment it is to end."""
    phase = _service(http).phase
    return JSONResponse({"status": phase}, 200 if phase == "ready" else 503)


@router.get("/v2", summary="What runs, as KServe asks it")
async def about() -> dict[str, Any]:
    """Names the program and its version."""
    return {"name": "promptseg", "version": promptseg.__version__, "extensions": []}


@router.get("/v2/health/live", summary="Is the process alive, as KServe asks it")
async def kserve_live() -> dict[str, bool]:
    """Answers as long as the process does."""
    return {"live": True}


@router.get(
    "/v2/health/ready", summary="Are requests taken, as KServe asks it", responses=NOT_READY
)
async def kserve_ready(http: Request) -> JSONResponse:
    """200 or 503, as `/health/ready`."""
    is_ready = _service(http).phase == "ready"
    return JSONResponse({"ready": is_ready}, 200 if is_ready else 503)


@router.get(
    "/v2/models/{name:path}/ready",
    summary="Does this model take requests, as KServe asks it",
    responses=documented(401, 404, 429) | NOT_READY,
)
async def kserve_model_ready(http: Request, name: str, caller: Known) -> JSONResponse:
    """200 or 503, as `/health/ready`; 404 for another model than the one that is loaded."""
    _require_model(http, name)
    is_ready = _service(http).phase == "ready"
    return JSONResponse({"name": name, "ready": is_ready}, 200 if is_ready else 503)


@router.get(
    "/v2/models/{name:path}",
    summary="What this model is, as KServe asks it",
    responses=documented(401, 404, 429),
)
async def kserve_model(http: Request, name: str, caller: Known) -> dict[str, Any]:
    """Names the model; it is asked by `/v1`, and so has no tensors to name."""
    _require_model(http, name)
    known = {"name": name, "versions": [promptseg.__version__], "platform": "promptseg"}
    return known | {"inputs": [], "outputs": []}


@router.get(
    "/metrics",
    summary="Counts, for Prometheus",
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
        **documented(401, 429),
    },
)
async def metrics(http: Request, caller: Known) -> Response:
    """Latencies by stage, what waits, sizes of batches, hits of the cache, jobs, memory."""
    service = _service(http)
    jobs = None if service.jobs is None else await service.jobs.counts()
    return Response(service.metrics.render(service, jobs), media_type=CONTENT_TYPE_LATEST)


def _require_model(http: Request, name: str) -> None:
    if name != _service(http).model.name:
        raise HTTPException(404)


def _service(http: Request) -> Service:
    service: Service = http.app.state.service
    return service
