"""`promptseg bench`: how quick and how large it is on this machine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from promptseg import settings
from promptseg.cli import console, flags
from promptseg.errors import ConfigError

if TYPE_CHECKING:
    from promptseg.bench.bulk import BulkBench
    from promptseg.bench.everything import EverythingBench
    from promptseg.bench.first_light import FirstLight
    from promptseg.bench.sam2 import Sam2Bench
    from promptseg.bench.sam3 import Sam3Bench
    from promptseg.bench.server import ServerBench

FIRST_LIGHT, SAM2, EVERYTHING, SAM3, SERVER, BULK = SUITES = (
    "first-light",
    "sam2",
    "everything",
    "sam3",
    "server",
    "bulk",
)


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("bench")(bench)


def bench(
    *,
    model: flags.Model = None,
    device: flags.Device = None,
    clicks: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="How many clicks to take the quantiles of. [default: 50]"
        ),
    ] = None,
    suite: Annotated[
        str,
        typer.Option(
            metavar="SUITE",
            help="first-light; sam2: SAM 2 on the CPU beside transformers; everything: the same "
            "for all regions of a photo; sam3: SAM 3 and 16 phrases, half an hour and 16 GB; "
            "server: the service beside the tutorials' kind; bulk: `promptseg run` beside a plain "
            "loop.",
        ),
    ] = FIRST_LIGHT,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="sam2 and everything: tiny, small, base-plus or large. [default: tiny]",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Measure import, first mask, encoding and warm clicks on this machine.

    Takes a minute; nothing else should be running. Nothing is judged and nothing is kept. The other
    suites compare SAM 2 and SAM 3 with random weights to transformers, and the service to a simple
    one, and take several minutes.
    """
    if suite not in SUITES:
        raise ConfigError(f"unknown suite `{suite}`", hint=f"Choose one of {', '.join(SUITES)}")
    defaults = settings.load()
    found: FirstLight | Sam2Bench | EverythingBench | Sam3Bench | ServerBench | BulkBench
    # Here and not above, so that `--help` is quick: they load torch.
    if suite == SAM2:
        _refuse(suite, {"--model": model, "--device": device, "--clicks": clicks})
        from promptseg.bench import sam2

        found = sam2.measure(size or "tiny")
    elif suite == EVERYTHING:
        _refuse(suite, {"--model": model, "--device": device, "--clicks": clicks})
        from promptseg.bench import everything

        found = everything.measure(size or "tiny")
    elif suite == SAM3:
        others = {"--model": model, "--device": device, "--clicks": clicks, "--size": size}
        _refuse(suite, others)
        from promptseg.bench import sam3

        found = sam3.measure()
    elif suite == SERVER:
        others = {"--model": model, "--device": device, "--clicks": clicks, "--size": size}
        _refuse(suite, others)
        from promptseg.bench import server

        found = server.measure()
    elif suite == BULK:
        others = {"--model": model, "--device": device, "--clicks": clicks, "--size": size}
        _refuse(suite, others)
        from promptseg.bench import bulk

        found = bulk.measure()
    else:
        _refuse(suite, {"--size": size})
        from promptseg.bench import first_light

        found = first_light.measure(
            defaults.model if model is None else model,
            device=device or defaults.device,
            clicks=clicks or 50,
        )
    if as_json:
        console.show(json.dumps(found.as_json(), allow_nan=False))
        return
    for line in found.lines():
        console.show(line)


def _refuse(suite: str, flags_of_others: Mapping[str, object]) -> None:
    for flag, value in flags_of_others.items():
        if value is not None:
            raise ConfigError(f"`{flag}` means nothing to the suite `{suite}`", hint="Leave it out")
