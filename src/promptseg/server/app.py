"""The application: every route round one service."""

from __future__ import annotations

from functools import cache
from typing import Any

from fastapi import FastAPI

import promptseg
from promptseg.server import documents, problems
from promptseg.server.routes import (
    batch,
    cvat,
    health,
    label_studio,
    models,
    sessions,
    tutorial,
    verbs,
)
from promptseg.server.service import Service

ROUTERS = (
    verbs.router,
    sessions.router,
    batch.router,
    label_studio.router,
    cvat.router,
    tutorial.router,
    models.router,
    health.router,
    documents.router,
)


def make_app(service: Service) -> FastAPI:
    """Make the application of a service; callers reach it through `guards.guarded`."""
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
    app.state.routes = [route for router in ROUTERS for route in router.routes]
    problems.install(app)
    app.add_middleware(problems.Unexpected)
    for router in ROUTERS:
        app.include_router(router)
    app.router.routes.append(documents.assets())

    @cache
    def document() -> dict[str, Any]:
        return documents.document(app, service)

    app.openapi = document  # type: ignore[method-assign]
    return app
