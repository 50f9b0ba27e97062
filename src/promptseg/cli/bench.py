"""`promptseg bench`: what a newcomer waits for, on this machine."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from promptseg import settings
from promptseg.cli import console, flags


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("bench")(bench)


def bench(
    *,
    model: flags.Model = None,
    device: flags.Device = None,
    clicks: Annotated[
        int, typer.Option(metavar="N", min=1, help="How many clicks to take the quantiles of.")
    ] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Measure import, first mask, encoding and warm clicks on this machine.

    Takes a minute; nothing else should be running. Nothing is judged and nothing is kept.
    """
    # Here and not above, so that `--help` is quick: it loads torch.
    from promptseg.bench.first_light import measure

    defaults = settings.load()
    found = measure(model or defaults.model, device=device or defaults.device, clicks=clicks)
    if as_json:
        console.show(json.dumps(found.as_json(), allow_nan=False))
        return
    for line in found.lines():
        console.show(line)
