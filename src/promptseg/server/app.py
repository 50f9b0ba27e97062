"""The application: every route round one service."""

from __future__ import annotations

from functools import cache
from typing import Any

from fastapi import FastAPI
from pydantic_core import to_json

import promptseg
from promptseg.server import documents, label_studio, page, problems
from promptseg.server.annotator import Annotator
from promptseg.server.routes import (
    batch,
    canvas,
    cvat,
    files,
    folder,
    health,
    jobs,
    models,
    sessions,
    tutorial,
    verbs,
)
from promptseg.server.routes import label_studio as label_studio_route
from promptseg.server.routes import page as page_route
from promptseg.server.service import Service
from promptseg.server.whole_files import WholeFiles

ROUTERS = (
    verbs.router,
    sessions.router,
    canvas.router,
    folder.router,
    files.router,
    batch.router,
    jobs.router,
    label_studio_route.router,
    cvat.router,
    tutorial.router,
    models.router,
    health.router,
    documents.router,
    page_route.router,
)


def make_app(service: Service) -> FastAPI:
    """Make the application of a service; callers reach it through `guards.guarded`.

    Raises:
        ConfigError: the annotator's folder is not there, or Label Studio's.
    """
    label_studio.require_media(service.settings.label_studio_media)
    app = FastAPI(
        title=documents.TITLE,
        version=promptseg.__version__,
        description=documents.DESCRIPTION,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = service
    app.state.annotator = Annotator.of(service)
    app.state.routes = [route for router in ROUTERS for route in router.routes]
    problems.install(app)
    app.add_middleware(problems.Unexpected)
    app.add_middleware(WholeFiles)
    for router in ROUTERS:
        app.include_router(router)
    app.router.routes += [documents.assets(), page.mount()]

    @cache
    def document() -> dict[str, Any]:
        return documents.document(app, service)

    @cache
    def written() -> bytes:
        return to_json(document())

    app.openapi = document  # type: ignore[method-assign]
    app.state.document = written
    return app
