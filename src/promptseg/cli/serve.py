"""`promptseg serve`: the model as a service over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from promptseg import settings
from promptseg.cli import flags
from promptseg.cli.listening import listen
from promptseg.server.settings import ServerSettings


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("serve")(serve)


@flags.of_settings(ServerSettings, "given")
def serve(
    *,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="File of settings: TOML, with the names of the flags below."
        ),
    ] = None,
    given: dict[str, Any],
) -> None:
    """Answer questions about images over HTTP, until the process is told to end.

    What no flag says is taken from PROMPTSEG_ variables, then from FILE. The settings and where
    each comes from are said on stderr, and the address on stdout once it is listened at. On SIGTERM
    or Ctrl+C every request that was taken is answered first; a second signal ends at once.
    """
    listen(settings.gather(ServerSettings, file=config, given=given))
