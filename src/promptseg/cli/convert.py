"""`promptseg convert`: files of masks from one format to another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from promptseg import settings
from promptseg.cli import console, flags
from promptseg.errors import ConfigError, MaskError
from promptseg.formats.names import METAVAR, PICTURES, Format


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("convert")(convert)


def convert(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="IN",
            help="A file of masks, or a folder of them: COCO, YOLO, labelme, GeoJSON, SAM's "
            "records or PNG, told by what is in it.",
            show_default=False,
        ),
    ],
    *,
    to: Annotated[
        Format | None,
        typer.Option("--to", metavar=METAVAR, help="The format to write, which must be said."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="Folder for the files, or the one file. [default: the current folder]",
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="The photos, for formats that do not say how large they are, and for overlays.",
        ),
    ] = None,
    quiet: flags.Quiet = False,
) -> None:
    """Write masks in another format, and print the paths of the files.

    What each format keeps is in docs/formats.md; where a mask itself would change, a warning says
    so, or it is an error.
    """
    # Here and not above, so that `--help` is quick: these load numpy and Pillow.
    from promptseg.cli import outputs
    from promptseg.formats import recognise
    from promptseg.formats.answers import merged
    from promptseg.formats.places import Photos
    from promptseg.io.images import read

    console.listen(quiet=quiet)
    defaults = settings.load()
    if to is None:
        raise ConfigError("no format to write is given", hint=f"Name one with `--to`: {METAVAR}")
    if to in PICTURES and images is None:
        raise ConfigError(
            f"`{to.value}` is drawn on the photo, which is not given",
            hint="Name the folder of the photos with `--images`",
        )
    answers = merged(recognise.read(source, images=images))
    if not answers:
        raise MaskError(f"`{source}` has no images, so there is nothing to write")
    photos = Photos(images)
    places = outputs.plan(output, [to], [Path(answer.name) for answer in answers], hint=source)
    if source.is_dir():
        places.require_apart([path for path in source.rglob("*") if path.is_file()])
    if to is Format.PNG and not any(len(masks) for _, masks in answers):
        console.warn("no image has a mask, and masks are what PNG files are written of")
    for name, masks in answers:
        photo = None
        if to in PICTURES:
            photo = read(photos.require(name), max_pixels=defaults.max_pixels)
        for file in places.write(photo, Path(name), masks, name=name):
            if not places.is_of_run(file):
                console.show(str(file))
    for file in places.documents():
        console.show(str(file))
