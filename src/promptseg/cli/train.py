"""`promptseg train`: training of the built-in model by the project's own pipeline."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from promptseg.cli import console

if TYPE_CHECKING:
    from promptseg.train.loop import Report

SAY_EVERY = 20


def register(app: typer.Typer) -> None:
    """Add the group of training commands to the program."""
    group = typer.Typer(help="Train a model.", rich_markup_mode=None, no_args_is_help=True)
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
    steps: Annotated[int, typer.Option(metavar="N", min=1, help="How many steps in all.")] = 20_000,
    batch: Annotated[int, typer.Option(metavar="N", min=1, help="Scenes in a step.")] = 4,
    side: Annotated[
        int, typer.Option(metavar="PIXELS", help="Side of a scene, a multiple of 32.")
    ] = 256,
    rate: Annotated[float, typer.Option(metavar="R", help="Learning rate at its height.")] = 1.5e-3,
    workers: Annotated[
        int, typer.Option(metavar="N", min=0, help="Processes that make scenes.")
    ] = 1,
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of scenes and prompts.")] = 0,
    device: Annotated[
        str, typer.Option(metavar="DEVICE", help="auto, cpu, cuda, cuda:1 or mps.")
    ] = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing on the way.")] = False,
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
    from promptseg.train.loop import TrainOptions, train_builtin
    from promptseg.weights.load import load

    console.listen(quiet=quiet)
    options = TrainOptions(steps=steps, rate=rate)
    stream = replace(options.stream, side=side, batch=batch, workers=workers, seed=seed)
    chosen = Runtime.choose(device).device
    torch.manual_seed(seed)
    network = load(start) if start else TinyNetwork(TinyConfig())
    reports: list[Report] = []
    for report in train_builtin(
        data, out, replace(options, stream=stream), start=network, device=chosen
    ):
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
