"""The annotator's page: `/`, and its files below `/web`."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from promptseg.server import page

router = APIRouter(include_in_schema=False)


@router.api_route("/", methods=["GET", "HEAD"])
async def start(http: Request) -> Response:
    """Show the page to whoever looks at the service in a browser."""
    return await page.files().get_response("index.html", http.scope)
