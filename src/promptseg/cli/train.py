"""`promptseg train`: training of the built-in model by the project's own pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from promptseg import settings
from promptseg.cli import console, flags
from promptseg.errors import ConfigError
from promptseg.options import StreamOptions, TrainOptions, help_of

if TYPE_CHECKING:
    from promptseg.train.loop import Report

SAY_EVERY = 20


def register(app: typer.Typer) -> None:
    """Add the group of training commands to the program."""
    group = typer.Typer(help="Train a model.", rich_markup_mode=None)
    group.callback()(_group)
    group.command("builtin")(builtin)
    app.add_typer(group, name="train")


def _group() -> None:
    """Train a model."""


def builtin(
    *,
    data: Annotated[
        Path,
        typer.Option(metavar="DIR", help="A folder with photos, cut-outs and an index.json."),
    ],
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="Where the weights go, as .safetensors.")
    ],
    start: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Weights to begin with. [default: random ones]"),
    ] = None,
    steps: Annotated[
        int, typer.Option(metavar="N", min=1, help=help_of(TrainOptions, "steps"))
    ] = TrainOptions.steps,
    batch: Annotated[
        int, typer.Option(metavar="N", min=1, help=help_of(StreamOptions, "batch"))
    ] = StreamOptions.batch,
    side: Annotated[
        int, typer.Option(metavar="PIXELS", help=help_of(StreamOptions, "side"))
    ] = StreamOptions.side,
    rate: Annotated[
        float, typer.Option(metavar="R", help=help_of(TrainOptions, "rate"))
    ] = TrainOptions.rate,
    workers: Annotated[
        int, typer.Option(metavar="N", min=0, help=help_of(StreamOptions, "workers"))
    ] = StreamOptions.workers,
    seed: Annotated[
        int, typer.Option(metavar="N", help=help_of(StreamOptions, "seed"))
    ] = StreamOptions.seed,
    device: flags.Device = None,
    quiet: flags.Quiet = False,
) -> None:
    """Train the built-in model on scenes made on the fly; goes on where it stopped.

    FILE gets the averaged weights every hundred steps, FILE.state what going on needs, and
    FILE.log.jsonl a line for each step. Ctrl+C keeps what is saved.
    """
    # Here and not above, so that `--help` is quick and needs no extra.
    import torch

    from promptseg.engine.runtime import Runtime
    from promptseg.nn.tiny.config import TinyConfig
    from promptseg.nn.tiny.model import TinyNetwork
    from promptseg.train.loop import state_of, train_builtin
    from promptseg.weights.load import load_builtin

    console.listen(quiet=quiet)
    stream = StreamOptions(side=side, batch=batch, workers=workers, seed=seed)
    options = TrainOptions(steps=steps, rate=rate, stream=stream)
    chosen = Runtime.choose(device or settings.load().device).device
    torch.manual_seed(seed)
    if start and state_of(out).exists():
        raise ConfigError(
            f"`{state_of(out)}` holds a training that goes on, so `--start` would do nothing",
            hint="Leave `--start` out to go on, or name another file with `--out`",
        )
    network = load_builtin(start) if start else TinyNetwork(TinyConfig())
    reports: list[Report] = []
    for report in train_builtin(data, out, options, start=network, device=chosen):
        reports.append(report)
        if not quiet and (len(reports) == SAY_EVERY or report.step == steps):
            console.note(_line(reports))
            reports.clear()
    console.show(str(out))


def _line(reports: list[Report]) -> str:
    """Sum up the latest steps."""
    count = len(reports)
    loss, _, _, _, first, later, best = (
        sum(column) / count for column in zip(*(report.numbers for report in reports), strict=True)
    )
    seconds = sum(report.seconds for report in reports) / count
    return (
        f"step {reports[-1].step}: loss {loss:.3f}, IoU {first:.3f} then {later:.3f}"
        f" (best candidate {best:.3f}), {seconds:.2f} s a step"
    )
