"""The files of the annotator's page, as they lie in the package, and what a browser may do with it.

Nothing is built: the page is plain modules, sent as they are written.
"""

from __future__ import annotations

import importlib.resources
from pathlib import Path

from starlette.responses import FileResponse, Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

# Nothing from other hosts, no script or style but those of its files, and nobody may frame it.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; font-src 'self'; manifest-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    # It is asked each time whether the file is still the same, so that no two releases mix.
    "Cache-Control": "no-cache",
}
# Systems differ about these, and a browser runs no module of another kind.
KINDS = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}


class PageFiles(StaticFiles):
    """Files of the page, each with its kind and the page's policy."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Send a file, or that it has not changed."""
        response = await super().get_response(path, scope)
        response.headers.update(HEADERS)
        if isinstance(response, FileResponse) and (kind := KINDS.get(Path(path).suffix.lower())):
            charset = "; charset=utf-8" if kind.startswith("text/") else ""
            response.headers["Content-Type"] = f"{kind}{charset}"
        return response


def folder() -> Path:
    """Return where the files are."""
    return Path(str(importlib.resources.files("promptseg.server"))) / "web"


def files() -> PageFiles:
    """Make what sends them."""
    return PageFiles(directory=folder(), check_dir=False)


def mount() -> Mount:
    """Serve them below `/web`."""
    return Mount("/web", files(), name="web")
