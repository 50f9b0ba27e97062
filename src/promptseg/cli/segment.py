"""`promptseg segment`: masks of one object, or of several boxes, in any number of images."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from promptseg import settings
from promptseg.cli import console, flags
from promptseg.formats.names import METAVAR, Format
from promptseg.options import SegmentOptions, TidyOptions, help_of


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("segment")(segment)


@flags.of(TidyOptions, "tidy")
def segment(
    image: flags.Images,
    *,
    point: Annotated[
        list[str] | None,
        typer.Option(metavar="X,Y", help="A point on the object, in pixels. Repeatable."),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="X,Y", help="A point that is not on the object. Repeatable."),
    ] = None,
    box: Annotated[
        list[str] | None,
        typer.Option(
            metavar="X0,Y0,X1,Y1",
            help="A box round the object, in pixels. Repeated, each box is an object.",
        ),
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(metavar="HINT.png", help="A rough mask of the object, at the image's size."),
    ] = None,
    model: flags.Model = None,
    device: flags.Device = None,
    dtype: flags.Dtype = None,
    threshold: Annotated[
        float,
        typer.Option(metavar="T", help=help_of(SegmentOptions, "threshold")),
    ] = SegmentOptions.threshold,
    all_candidates: Annotated[
        bool,
        typer.Option("--all-candidates", help=help_of(SegmentOptions, "all_candidates")),
    ] = SegmentOptions.all_candidates,
    tidy: TidyOptions,
    tile: flags.Tile = None,
    output: flags.Output = None,
    formats: Annotated[
        list[Format] | None,
        typer.Option(
            "--format",
            metavar=METAVAR,
            help="What to write: docs/formats.md. Repeatable. [default: png where -o is given]",
        ),
    ] = None,
    text: Annotated[str | None, typer.Option(hidden=True)] = None,
    as_json: flags.AsJson = False,
    quiet: flags.Quiet = False,
) -> int:
    """Segment one object, or each of several boxes.

    Points, a box and a mask together mark one object; several boxes alone are as many objects.

    Masks go to files, whose paths are printed, or with --json to stdout; with neither, a summary is
    printed. An image that fails is named, and the others are done.
    """
    # Here and not above, so that `--help` is quick: these load numpy and Pillow.
    from promptseg.cli import each_image, outputs
    from promptseg.cli import prompts as typed

    console.listen(quiet=quiet)
    defaults = settings.load()
    options = SegmentOptions(threshold=threshold, all_candidates=all_candidates, tidy=tidy)
    prompts = typed.parse(
        points=point or (),
        exclude=exclude or (),
        boxes=box or (),
        mask=mask,
        text=text,
        max_pixels=defaults.max_pixels,
    )
    found, missing = each_image.find(image)
    if not found:
        return console.NOTHING_DONE
    places = outputs.plan(output, formats or (), found, hint=mask)
    loaded = each_image.load(defaults, model, device=device, dtype=dtype, quiet=quiet)
    tiling = each_image.tiling_of(tile)
    ask = partial(loaded.segment, prompts=prompts, options=options, tiling=tiling)
    each = each_image.Run(
        ask, places, defaults.max_pixels, as_json, prompts, tiled=tile is not None
    )
    try:
        paths = console.progress(found, total=len(found), label="segment", quiet=quiet)
        done = sum(each.attempt(path) for path in paths)
    finally:
        # However the loop ends, what is done is kept.
        each.finish()
    return each_image.status(done, of=len(found), missing=missing)
