"""`promptseg doctor`: what this machine can do, and what to change."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from promptseg import settings
from promptseg.cli import console


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("doctor")(doctor)


def doctor(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Show what this machine can do for promptseg, and what to change.

    Devices and how fast they multiply, threads, memory, caches, models at hand.
    """
    # Here and not above, so that `--help` is quick: it loads torch.
    from promptseg.bench.doctor import diagnose

    found = diagnose(settings.load())
    if as_json:
        console.show(json.dumps(found.as_json(), allow_nan=False))
        return
    for line in found.lines():
        console.show(line)
