"""The document of the API: what each address takes and answers, and the page that shows it."""

from __future__ import annotations

import asyncio
import importlib.resources
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from promptseg.server.answers import MasksBody
from promptseg.server.problems import MEANING, documented
from promptseg.server.service import Service
from promptseg.server.settings import ServerSettings

TITLE = "promptseg"
DESCRIPTION = """Which pixels are this object, where is every such thing, what is in here?

```sh
curl -F image=@photo.jpg -F 'query={"points": [[320, 200]]}' http://127.0.0.1:8000/v1/segment
```

An image comes as a part of a form, or in JSON as base64. Coordinates are pixels of the image:
points `[x, y]`, boxes `[x0, y0, x1, y1]`, sizes height and width. Masks go out as COCO's run
lengths unless another `format` is asked for. Every error has one body, whose `field` says what it
is about."""
TAGS = [
    {"name": "verbs", "description": "One image, one question."},
    {"name": "sessions", "description": "One image, refined step by step."},
    {"name": "annotator", "description": "What the page at `/` stands on."},
    {"name": "batch", "description": "Many images, many questions."},
    {"name": "jobs", "description": "Very many images, answered while nobody waits."},
    {"name": "adapters", "description": "The shapes that other tools speak."},
    {"name": "service", "description": "What runs here, and how it does."},
]
# What can be answered wherever the model is asked about an image.
REFUSALS = (401, 404, 413, 415, 422, 429, 503, 504)
# What stands before all routes answers, and what nobody expected; other sites may read.
ANYWHERE = (403, 413, 421, 500)
# These are answered under any name.
PROBES = ("/health/", "/v2/health/")
PLACE = "#/components/schemas/{model}"
REQUEST_ID = {
    "description": "Names the request; one that you send comes back.",
    "schema": {"type": "string"},
}
SERVER_TIMING = {
    "description": "How long each stage took, in milliseconds.",
    "schema": {"type": "string"},
}

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>promptseg</title>
<link rel="icon" href="docs/static/favicon.png">
<link rel="stylesheet" href="docs/static/swagger-ui.css">
<div id="document"></div>
<script src="docs/static/swagger-ui-bundle.js"></script>
<script src="docs/begin.js"></script>
</html>
"""
BEGIN = """SwaggerUIBundle({url: "openapi.json", dom_id: "#document", deepLinking: true});
"""
# Swagger's page styles its parts in place, and has pictures in its style sheet.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'"
)

router = APIRouter(include_in_schema=False)


@router.get("/docs")
async def page() -> Response:
    """Show the document, with nothing from other hosts."""
    return HTMLResponse(PAGE, headers={"Content-Security-Policy": POLICY})


@router.get("/docs/begin.js")
async def begin() -> Response:
    """Start the page; a script within it would need a hole in the policy."""
    return Response(BEGIN, media_type="text/javascript")


@router.get("/openapi.json")
async def openapi(http: Request) -> Response:
    """Hand out the document, which takes a while to make the first time."""
    written = await asyncio.to_thread(http.app.state.document)
    return Response(written, media_type="application/json")


def assets() -> Mount:
    """Serve the files of the page."""
    folder = Path(str(importlib.resources.files("fastapi_offline"))) / "static"
    return Mount("/docs/static", StaticFiles(directory=folder), name="docs")


def takes(model: type[BaseModel]) -> dict[str, Any]:
    """Describe a body that is JSON as `model` has it, or a form of its image and the rest of it."""
    schema = _named(model)
    form = {
        "type": "object",
        "properties": {
            "image": {
                "type": "string",
                "format": "binary",
                "description": "The bytes of an image file.",
            },
            "query": {**schema, "description": "All but the image, as JSON."},
        },
        "additionalProperties": False,
    }
    return {
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {
                    "schema": form,
                    "encoding": {"query": {"contentType": "application/json"}},
                },
                "application/json": {"schema": schema},
            },
        }
    }


def described(model: type[BaseModel]) -> dict[str, Any]:
    """Describe a body of JSON; `document` settles what is in its `$defs`."""
    schema = model.model_json_schema(ref_template=PLACE)
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def answers_masks() -> dict[int | str, dict[str, Any]]:
    """Describe what asking for masks of one image can be answered with."""
    return {
        200: {
            "model": MasksBody,
            "description": "The masks.",
            "headers": {"Server-Timing": SERVER_TIMING},
        },
        **documented(*REFUSALS),
    }


def document(app: FastAPI, service: Service) -> dict[str, Any]:
    """Make the document of an application, with the limits of its settings."""
    settings = service.settings
    made = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        tags=TAGS,
        routes=app.routes,
        servers=[{"url": settings.root_path}] if settings.root_path else None,
    )
    schemas: dict[str, Any] = made.setdefault("components", {}).setdefault("schemas", {})
    _settle(made, schemas, settings)
    for name in list(schemas):
        _settle(schemas[name], schemas, settings)
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    fastapis_own = _json("HTTPValidationError")
    refusal = {"description": MEANING[422], "content": _json("Problem")}
    for path, operations in made["paths"].items():
        for method, operation in operations.items():
            if service.keys is None and "security" in operation:
                operation["security"].append({})  # what needs no key, says OpenAPI
            if operation["responses"].get("422", {}).get("content") == fastapis_own:
                operation["responses"]["422"] = {**refusal}
            for status in () if path.startswith(PROBES) else ANYWHERE:
                if status != 403 or method != "get":
                    said = {"description": MEANING[status], "content": _json("Problem")}
                    operation["responses"].setdefault(str(status), said)
            for response in operation["responses"].values():
                response.setdefault("headers", {})["X-Request-ID"] = REQUEST_ID
    return made


def _json(model: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": PLACE.format(model=model)}}}


def _named(model: type[BaseModel]) -> dict[str, Any]:
    """Refer to a model's schema, and bring it along for `document` to put in its place."""
    schema = model.model_json_schema(ref_template=PLACE)
    inner = schema.pop("$defs", {})
    return {"$ref": PLACE.format(model=model.__name__), "$defs": {**inner, model.__name__: schema}}


def _settle(node: Any, schemas: dict[str, Any], settings: ServerSettings) -> None:
    """Put schemas where they are referred to, and numbers where a setting has them."""
    if isinstance(node, dict):
        for name, schema in node.pop("$defs", {}).items():
            schemas.setdefault(name, schema)
            _settle(schemas[name], schemas, settings)
        if (limit := node.pop("x-limit", None)) is not None:
            node["maxItems"] = getattr(settings, limit)
    for each in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _settle(each, schemas, settings)
