"""`promptseg everything`: all regions of any number of images."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

import promptseg
from promptseg import settings
from promptseg.cli import console, flags
from promptseg.formats.names import METAVAR, Format
from promptseg.options import EverythingOptions, TidyOptions

if TYPE_CHECKING:
    from promptseg.engine.everything import Search
    from promptseg.engine.large import TiledSearch
    from promptseg.io.windows import LargeImage
    from promptseg.results import Masks
    from promptseg.shapes import ImageArray
    from promptseg.tiles import Tiling


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("everything")(everything)


@flags.of(TidyOptions, "tidy")
@flags.of(EverythingOptions, "options")
def everything(
    image: flags.Images,
    *,
    model: flags.Model = None,
    device: flags.Device = None,
    dtype: flags.Dtype = None,
    options: EverythingOptions,
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
    as_json: flags.AsJson = False,
    quiet: flags.Quiet = False,
) -> int:
    """Find all regions of images: a grid of points is asked, good answers are kept.

    Masks go to files, whose paths are printed, or with --json to stdout; with neither, a summary is
    printed. An image that fails is named, and the others are done. Ctrl+C, or the end of the time
    budget, keeps what was found until then; with --tile, in the tiles that were done.
    """
    # Here and not above, so that `--help` is quick: these load numpy and Pillow.
    from promptseg.cli import each_image, outputs

    console.listen(quiet=quiet)
    defaults = settings.load()
    found, missing = each_image.find(image)
    if not found:
        return console.NOTHING_DONE
    places = outputs.plan(output, formats or (), found, usual=Format.COCO, numbers=True)
    loaded = each_image.load(defaults, model, device=device, dtype=dtype, quiet=quiet)
    # One bar: over the points of a lone image, else over images.
    options = replace(options, tidy=tidy)
    ask = _Ask(loaded, options, each_image.tiling_of(tile), quiet=quiet or len(found) > 1)
    each = each_image.Run(ask, places, defaults.max_pixels, as_json, tiled=tile is not None)
    try:
        done = 0
        for path in console.progress(found, total=len(found), label="everything", quiet=quiet):
            done += each.attempt(path)
            if ask.interrupted:
                raise KeyboardInterrupt
    finally:
        # However the loop ends, what is done is kept.
        each.finish()
    return each_image.status(done, of=len(found), missing=missing)


@dataclass
class _Ask:
    """Looks for everything until done, out of time or interrupted."""

    model: promptseg.Model
    options: EverythingOptions
    tiling: Tiling | None
    quiet: bool
    interrupted: bool = False

    def __call__(self, image: ImageArray | LargeImage) -> Masks:
        search = self.model.search(image, options=self.options, tiling=self.tiling)
        parts = console.progress(
            _parts(search), total=search.total, label="everything", quiet=self.quiet
        )
        try:
            deque(parts, maxlen=0)
        except KeyboardInterrupt:
            self.interrupted = True
        return search.masks()


def _parts(search: Search | TiledSearch) -> Iterator[int]:
    """Hand out every point, or every tile, when it has been asked."""
    done = 0
    for step in search:
        yield from range(done, step.done)
        done = step.done
