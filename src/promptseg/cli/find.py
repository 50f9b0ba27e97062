"""`promptseg find`: every thing that a phrase names or examples show, in any number of images."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from promptseg import settings
from promptseg.cli import console, flags
from promptseg.formats.names import METAVAR, Format
from promptseg.options import FindOptions, TidyOptions, help_of

if TYPE_CHECKING:
    from promptseg.results import Masks

logger = logging.getLogger(__name__)

# Scores that a summary lists for each concept.
SHOWN = 8


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("find")(find)


@flags.of(TidyOptions, "tidy")
def find(
    image: flags.Images,
    *,
    text: Annotated[
        list[str] | None,
        typer.Option(metavar="PHRASE", help="What to find, such as 'red car'. Repeatable."),
    ] = None,
    example: Annotated[
        list[str] | None,
        typer.Option(
            metavar="X0,Y0,X1,Y1",
            help="A box round a thing that is meant, in pixels; alone, or with one --text. "
            "Repeatable.",
        ),
    ] = None,
    counterexample: Annotated[
        list[str] | None,
        typer.Option(
            metavar="X0,Y0,X1,Y1", help="A box round a thing that is not meant. Repeatable."
        ),
    ] = None,
    threshold: Annotated[
        float, typer.Option(metavar="T", help=help_of(FindOptions, "threshold"))
    ] = FindOptions.threshold,
    most: Annotated[
        int | None,
        typer.Option("--max", metavar="N", min=1, help=help_of(FindOptions, "max_masks")),
    ] = None,
    max_iou_across: Annotated[
        float | None, typer.Option(metavar="T", help=help_of(FindOptions, "max_iou_across"))
    ] = None,
    model: flags.Model = None,
    device: flags.Device = None,
    dtype: flags.Dtype = None,
    tidy: TidyOptions,
    tile: flags.Tile = None,
    output: flags.Output = None,
    formats: Annotated[
        list[Format] | None,
        typer.Option(
            "--format",
            metavar=METAVAR,
            help="What to write. Repeatable. [default: coco where -o is given]",
        ),
    ] = None,
    point: Annotated[list[str] | None, typer.Option(hidden=True)] = None,
    box: Annotated[list[str] | None, typer.Option(hidden=True)] = None,
    as_json: flags.AsJson = False,
    quiet: flags.Quiet = False,
) -> int:
    """Find every thing that phrases name, or examples show.

    It needs a model that reads, such as SAM 3. Each --text is found by itself, and labels its
    masks. Boxes of examples are those of every image.

    Masks go to files, whose paths are printed, or with --json to stdout; with neither, a summary is
    printed. An image that fails is named, and the others are done.
    """
    # Here and not above, so that `--help` is quick: these load numpy and Pillow.
    import numpy as np

    from promptseg.cli import each_image, outputs
    from promptseg.cli import prompts as typed

    console.listen(quiet=quiet)
    defaults = settings.load()
    options = FindOptions(
        threshold=threshold, max_masks=most, max_iou_across=max_iou_across, tidy=tidy
    )
    concepts = typed.parse_concepts(
        texts=text or (),
        examples=example or (),
        counterexamples=counterexample or (),
        points=point or (),
        boxes=box or (),
    )
    if concepts[0].says_only_what_not:
        logger.warning(
            "only counterexamples are given: what is meant is left to the model, which rarely "
            "knows; add --text or --example"
        )
    found, missing = each_image.find(image)
    if not found:
        return console.NOTHING_DONE
    places = outputs.plan(output, formats or (), found, usual=Format.COCO)
    loaded = each_image.load(defaults, model, device=device, dtype=dtype, quiet=quiet)
    # A question about nothing, which a model that knows no words refuses once for all images.
    loaded.find(np.zeros((1, 1, 3), np.uint8), [])
    tiling = each_image.tiling_of(tile)
    each = each_image.Run(
        partial(loaded.find, concepts=concepts, options=options, tiling=tiling),
        places,
        defaults.max_pixels,
        as_json,
        tiled=tile is not None,
        summary=partial(_summary, list(dict.fromkeys(concept.label for concept in concepts))),
        unfinished=_unfinished(tile),
    )
    try:
        paths = console.progress(found, total=len(found), label="find", quiet=quiet)
        done = sum(each.attempt(path) for path in paths)
    finally:
        # However the loop ends, what is done is kept.
        each.finish()
    return each_image.status(done, of=len(found), missing=missing)


def _summary(labels: Sequence[str], masks: Masks) -> str:
    """Count what was found of each concept, with scores."""
    parts = []
    for label in labels:
        scores = [] if masks.labels is None else masks.scores[masks.labels == label].tolist()
        shown = ", ".join(f"{score:.2f}" for score in scores[:SHOWN])
        more = ", ..." if len(scores) > SHOWN else ""
        parts.append(f"{len(scores)} {label} ({shown}{more})" if scores else f"no {label}")
    return ", ".join(parts)


def _unfinished(tile: int | None) -> str:
    smaller = "of less than the image" if tile is None else f"of less than {tile} pixels"
    closer = f"look closer with a --tile {smaller}"
    return (
        f"as many things were found as the model answers with at once, there may be more; {closer}"
    )
