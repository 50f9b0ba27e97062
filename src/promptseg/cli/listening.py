"""The service in a terminal: its settings said, its address shown, and then its life."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import fields

from promptseg.cli import console
from promptseg.errors import ConfigError, MissingExtraError
from promptseg.server.settings import ServerSettings
from promptseg.settings import Gathered

# What the service stands on beside the package's own needs.
EXTRA = ("fastapi", "httptools", "prometheus_client", "pydantic", "starlette", "uvicorn", "uvloop")


def listen(
    gathered: Gathered[ServerSettings], *, on_listening: Callable[[str], object] = console.show
) -> None:
    """Serve until the process is told to end; `on_listening` is given the address.

    Raises:
        ConfigError: the settings cannot be served.
        MissingExtraError: the extra `server` is not installed.
    """
    chosen = gathered.settings
    if chosen.folder is not None and not chosen.folder.is_dir():
        raise ConfigError(
            f"there is no folder `{chosen.folder}`", hint="Name the folder of the images"
        )
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
            on_listening=lambda: on_listening(
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
