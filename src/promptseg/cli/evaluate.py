"""`promptseg evaluate`: how good a model is on a folder of photos with known masks."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import promptseg
from promptseg import settings
from promptseg.cli import console, flags

if TYPE_CHECKING:
    from promptseg.evaluate.predictor import Predictor
    from promptseg.evaluate.run import Evaluation


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("evaluate")(evaluate)


def evaluate(
    *,
    data: Annotated[
        Path,
        typer.Option(metavar="DIR", help="A folder with photos and an index.json of their masks."),
    ],
    model: flags.Model = None,
    baselines: Annotated[
        bool,
        typer.Option(
            "--baselines",
            help="Measure GrabCut, watershed, random walker and plain shapes beside it.",
        ),
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option(metavar="N", help="Take at most N masks of each domain, evenly spread."),
    ] = None,
    device: flags.Device = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print everything as JSON, every object included.")
    ] = False,
    quiet: flags.Quiet = False,
) -> int:
    """Measure a model as interactive segmentation is measured: clicks, and the tight box.

    The clicks are those of a simulated annotator; see docs/builtin-model.md for the protocol.
    Ctrl+C ends it with the methods that are done.
    """
    # Here and not above, so that `--help` is quick and needs no extra.
    from promptseg.evaluate import datasets, report
    from promptseg.evaluate.run import evaluate as measure

    console.listen(quiet=quiet)
    dataset = datasets.load(data)
    if limit is not None:
        dataset = dataset.limited(limit)
    done: list[Evaluation] = []
    status = console.OK
    try:
        for predictor in _predictors(model, device, baselines=baselines):
            watch = partial(
                console.progress, total=dataset.image_count, label=predictor.name, quiet=quiet
            )
            done.append(measure(predictor, dataset, watch=watch))
            if not quiet:
                # At once, because a method may take half an hour.
                console.note(report.mean_line(done[-1]))
    except KeyboardInterrupt:
        if not done:
            raise
        status = console.INTERRUPTED
    if as_json:
        console.show(json.dumps(report.to_json(done, dataset), allow_nan=False))
        return status
    console.show(report.mean_table(done).as_text() + "\n")
    console.show(report.domain_table(done).as_text())
    if baselines:
        console.note(report.NO_NOC)
    return status


def _predictors(model: str | None, device: str | None, *, baselines: bool) -> list[Predictor]:
    """Load the model before anything is measured, so that a wrong name costs no time."""
    from promptseg.evaluate.served import Served

    defaults = settings.load()
    loaded = promptseg.load(
        defaults.model if model is None else model,
        device=device or defaults.device,
        dtype=defaults.dtype,
        cache_bytes=defaults.cache_bytes,
    )
    predictors: list[Predictor] = [Served(loaded)]
    if baselines:
        from promptseg.evaluate.baselines import all_baselines

        predictors += all_baselines()
    return predictors
