"""`promptseg serve`: the model as a service over HTTP."""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from promptseg import settings
from promptseg.cli import console, flags
from promptseg.errors import MissingExtraError
from promptseg.server.settings import ServerSettings
from promptseg.settings import Gathered

# What the service stands on beside the package's own needs.
EXTRA = ("fastapi", "httptools", "prometheus_client", "pydantic", "starlette", "uvicorn", "uvloop")


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
    gathered = settings.gather(ServerSettings, file=config, given=given)
    chosen = gathered.settings
    # Here and not above, so that `--help` is quick and needs no extra.
    try:
        from promptseg.server import addresses, logs, run
    except ModuleNotFoundError as error:
        if error.name not in EXTRA:
            raise
        raise MissingExtraError(
            f"the service needs the package `{error.name}`",
            hint='Install it: pip install "promptseg[server]"',
        ) from None
    run.check(chosen)
    _say_settings(gathered)
    with (
        addresses.bind(chosen.host, chosen.port) as taken,
        logs.logging_to(sys.stderr, chosen.log_format),
    ):
        service = run.build(chosen)
        run.serve(
            service,
            taken,
            on_listening=lambda: console.show(
                addresses.url(taken, tls=chosen.certificate is not None)
            ),
        )


def _say_settings(gathered: Gathered[ServerSettings]) -> None:
    """Print each setting with its source; keys and private keys are files, and stay unread."""
    rows = [
        (each.name, _shown(getattr(gathered.settings, each.name)), gathered.sources[each.name])
        for each in fields(gathered.settings)
    ]
    name_width, value_width = (max(len(row[column]) for row in rows) for column in (0, 1))
    for name, value, source in rows:
        console.note(f"{name:<{name_width}}  {value:<{value_width}}  ({source})")


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(value) or "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "-" if value in (None, "") else str(value)
