"""`promptseg run`: a file of queries about many images, answered once and never twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from promptseg import settings
from promptseg.cli import console, flags
from promptseg.errors import OutputError, PromptsegError
from promptseg.formats.names import METAVAR, Format

# Broken lines that are named one by one.
SHOWN = 20


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("run")(run)


def run(
    queries: Annotated[
        Path,
        typer.Argument(
            metavar="QUERIES.jsonl",
            help="One line of JSON for each image, with its queries: docs/queries.md.",
            show_default=False,
        ),
    ],
    *,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Folder for results.jsonl and for the files of the formats.",
            show_default=False,
        ),
    ],
    model: flags.Model = None,
    device: flags.Device = None,
    dtype: flags.Dtype = None,
    formats: Annotated[
        list[Format] | None,
        typer.Option(
            "--format",
            metavar=METAVAR,
            help="What to write beside results.jsonl, of each image with all its queries. "
            "Repeatable.",
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Do the I-th of N parts of the images, for machines that share the work.",
            show_default=False,
        ),
    ] = None,
    quiet: flags.Quiet = False,
) -> int:
    """Answer a file of queries about many images.

    Queries are of find, segment and everything, mixed, any number about each image. Each answer is
    a line of DIR/results.jsonl as soon as it is known. The same command goes on where it stopped:
    what is done there, by the same model about the same image, is not done again, and what failed
    is tried again. With `--shard` answers are in DIR/results-I-of-N.jsonl, and a run without it in
    the same folder puts all parts together. A line that cannot be understood, an image or a query
    that fails is named, and the others are done.
    """
    # Here and not above, so that `--help` is quick: these load numpy and Pillow.
    from promptseg import queries as files
    from promptseg.cli import each_image, outputs
    from promptseg.cli.answering import answer
    from promptseg.cli.job import Job, require_some_answerable
    from promptseg.cli.shard import Shard, others
    from promptseg.formats.outcomes import ROOM_HINT, OutcomeLog
    from promptseg.io.files import resolved

    console.listen(quiet=quiet)
    defaults = settings.load()
    part = Shard() if shard is None else Shard.parse(shard)
    part.require_apart(formats or ())
    asked, broken = files.read(queries)
    for line, error in broken[:SHOWN]:
        console.problem(f"{queries}, line {line}: {error}", hint=error.hint)
    if len(broken) > SHOWN:
        console.problem(f"{queries}: and {len(broken) - SHOWN} more lines that make no sense")
    if not asked:
        return console.NOTHING_DONE
    results = output / part.file_name
    if resolved(results) == resolved(queries):
        raise OutputError(
            f"results would go into the file of queries, `{queries}`",
            hint="Give that file another name, or choose another folder with `-o`",
        )
    paths = [image.path for image in asked]
    read = [queries, *(each.mask for image in asked for each in image.questions if each.mask)]
    places = outputs.plan_folder(output, formats or (), paths, read=read)
    # Files are named as in a run of all.
    asked = [image for image in asked if part.has(image.name)]
    if not asked:
        console.note(f"no image is in part {shard}")
        return console.OK
    total = sum(len(image.questions) for image in asked)
    with OutcomeLog(results) as log:
        # No image comes twice, so that nothing of one is kept.
        bulk = replace(defaults, cache_bytes=0)
        loaded = each_image.load(bulk, model, device=device, dtype=dtype, quiet=quiet)
        require_some_answerable(loaded, asked)
        for other in others(results):
            log.learn_from(other)
        job = Job(loaded, places, log, defaults.max_pixels)
        try:
            try:
                with console.counter(total=total, label="run", quiet=quiet) as job.advance:
                    answer(job, asked)
            except KeyboardInterrupt:
                job.finish()
                raise
            job.finish()
        except PromptsegError as error:
            console.problem(
                str(error), hint=ROOM_HINT if each_image.has_no_room(error) else error.hint
            )
            job.unwritten += 1
    if not quiet:
        console.note(job.said)
    return each_image.status(job.done, of=total, missing=len(broken) + job.unwritten)
