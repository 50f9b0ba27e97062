"""`promptseg jobs`: hand in jobs about many images, see how they stand, get what came of them."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from promptseg import settings
from promptseg.cli import console, flags
from promptseg.cli.tables import aligned, moment
from promptseg.formats.names import Format
from promptseg.settings import Settings

if TYPE_CHECKING:
    from promptseg.jobs.ledger import Status
    from promptseg.jobs.queue import Queue

# The settings that say where jobs are.
PLACE = ("jobs", "store", "queue")
HEADINGS = ("id", "state", "images", "done", "failed", "priority", "submitted")

Id = Annotated[str, typer.Argument(metavar="ID", help="The id of the job.", show_default=False)]
StatusJson = Annotated[bool, typer.Option("--json", help="Print how the job stands, as JSON.")]


def register(app: typer.Typer) -> None:
    """Add the group of commands about jobs to the program."""
    group = typer.Typer(rich_markup_mode=None)
    group.callback()(_group)
    for command in (submit, list_, watch, fetch, cancel, retry, forget):
        group.command(command.__name__.rstrip("_"))(command)
    app.add_typer(group, name="jobs")


def _group() -> None:
    """Hand in jobs about many images, see how they stand, and get what came of them.

    Jobs are kept in a folder or in a Redis, and worked on by `promptseg worker` or `promptseg
    serve`: docs/jobs.md. What no flag says is taken from PROMPTSEG_JOBS, PROMPTSEG_STORE and
    PROMPTSEG_QUEUE.
    """


@flags.of_settings(Settings, "given", only=PLACE)
def submit(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT",
            help="Images, folders of them, quoted patterns, files of queries (.jsonl), and "
            "addresses of such in a store.",
            show_default=False,
        ),
    ] = None,
    *,
    find: Annotated[
        list[str] | None,
        typer.Option(metavar="PHRASE", help="Find every thing that a phrase names. Repeatable."),
    ] = None,
    everything: Annotated[bool, typer.Option("--everything", help="Find all regions.")] = False,
    file: Annotated[
        Path | None,
        typer.Option(
            metavar="JOB.json", help="The job as JSON; what inputs and flags say counts instead."
        ),
    ] = None,
    formats: Annotated[
        list[Format] | None,
        typer.Option(
            "--format",
            metavar="|".join(each.value for each in Format if each is not Format.SHEET),
            help="What to make beside the answers. Repeatable.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Only workers with this model. [default: any]"),
    ] = None,
    priority: Annotated[
        int | None,
        typer.Option(metavar="N", help="From 0 to 9; higher ones go first. [default: 0]"),
    ] = None,
    attempts: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Tries for an image that ends its worker, to 20. [default: 3]"
        ),
    ] = None,
    item_seconds: Annotated[
        float | None,
        typer.Option(metavar="S", help="Longest that one image may take. [default: 300]"),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(metavar="S", help="Longest that the job may take. [default: no limit]"),
    ] = None,
    keep_seconds: Annotated[
        float | None,
        typer.Option(
            metavar="S", help="How long what came of it is kept. [default: 604800, a week]"
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="A second job of the same key is the first one."),
    ] = None,
    webhook: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Who is told the end, at a host that is allowed."),
    ] = None,
    then_watch: Annotated[
        bool, typer.Option("--watch", help="Show how it goes on until it has ended.")
    ] = False,
    as_json: StatusJson = False,
    given: dict[str, Any],
) -> int:
    """Hand in a job, and print its id.

    Each image is asked what the flags or the job's file say; lines of a .jsonl file have queries
    of their own. Paths are made absolute: workers on other machines need them at the same place.
    """
    # Here and not above, so that `--help` is quick.
    from promptseg.cli import submitting, watching
    from promptseg.jobs.accepting import check

    queries = [{"verb": "find", "text": phrase} for phrase in find or ()]
    queries += [{"verb": "everything"}] if everything else []
    said = {
        "formats": tuple(each.value for each in formats) if formats else None,
        "model": model,
        "priority": priority,
        "attempts": attempts,
        "item_seconds": item_seconds,
        "seconds": seconds,
        "keep_seconds": keep_seconds,
        "key": key,
        "webhook": webhook,
    }
    said = {name: value for name, value in said.items() if value is not None}
    if file is None:
        job = submitting.job_of(inputs or (), queries, said)
    else:
        job = submitting.job_of_file(file, inputs or (), queries, said)
    console.listen(quiet=False)
    chosen = _settings(given)
    check(job, webhook_hosts=chosen.webhook_hosts)
    with _open(chosen) as queue:
        taken = queue.submit(job)
        if as_json and not then_watch:
            console.show(json.dumps(queue.ledger.status(taken).as_json()))
        elif not as_json:
            console.show(taken)
        return watching.watch(queue, taken, as_json=as_json) if then_watch else console.OK


@flags.of_settings(Settings, "given", only=PLACE)
def list_(
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON for each job.")
    ] = False,
    given: dict[str, Any],
) -> None:
    """List the jobs of a queue, the latest first."""
    with _open_existing(given) as queue:
        statuses = queue.ledger.jobs()
    lines = (
        [json.dumps(status.as_json()) for status in statuses]
        if as_json
        else aligned(HEADINGS, [*map(_cells, statuses)])
    )
    for line in lines:
        console.show(line)


@flags.of_settings(Settings, "given", only=PLACE)
def watch(
    id: Id,  # noqa: A002 - so it is called in the list
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a line of JSON at each change.")
    ] = False,
    given: dict[str, Any],
) -> int:
    """Show how a job goes on until it has ended; Ctrl+C leaves it alone.

    Exit status: 0 all is done, 1 some images failed, 2 the job failed or was cancelled.
    """
    from promptseg.cli import watching

    with _open_existing(given) as queue:
        return watching.watch(queue, id, as_json=as_json)


@flags.of_settings(Settings, "given", only=PLACE)
def fetch(
    id: Id,  # noqa: A002
    *,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Folder for results.jsonl, the files of the formats and report.txt.",
            show_default=False,
        ),
    ],
    given: dict[str, Any],
) -> None:
    """Bring what came of a job into a folder, and print each file.

    What has come of a job that has not ended can be fetched as well, and the rest later, into the
    same folder.
    """
    from promptseg.cli.watching import summary
    from promptseg.jobs import manifest

    console.listen(quiet=False)
    with _open_existing(given) as queue:
        for path in manifest.fetch(queue.ledger, queue.store, id, output):
            console.show(str(path))
        status = queue.ledger.status(id)
    if not status.state.has_ended:
        console.note(f"{summary(status)}; fetch again for the rest")


@flags.of_settings(Settings, "given", only=PLACE)
def cancel(id: Id, *, as_json: StatusJson = False, given: dict[str, Any]) -> None:  # noqa: A002
    """End a job: images that wait or are worked on are cancelled, what is done stays."""
    with _open_existing(given) as queue:
        _say(queue.ledger.cancel(id), as_json=as_json)


@flags.of_settings(Settings, "given", only=PLACE)
def retry(id: Id, *, as_json: StatusJson = False, given: dict[str, Any]) -> None:  # noqa: A002
    """Let the images of a job that failed or were cancelled wait again."""
    console.listen(quiet=False)
    with _open_existing(given) as queue:
        _say(queue.retry(id), as_json=as_json)


@flags.of_settings(Settings, "given", only=PLACE)
def forget(id: Id, *, given: dict[str, Any]) -> None:  # noqa: A002
    """Drop a job that has ended, with all that came of it."""

    with _open_existing(given) as queue:
        queue.forget(id)
    console.note(f"forgot {id}")


def _settings(given: dict[str, Any]) -> Settings:
    return settings.gather(Settings, given=given).settings


def _open(chosen: Settings) -> Queue:
    from promptseg.jobs.queue import Queue

    return Queue.of(chosen)


def _open_existing(given: dict[str, Any]) -> Queue:
    """Open a queue in which there may be jobs: a folder is not made for a slip."""
    from promptseg.errors import JobError
    from promptseg.jobs.queue import FILE, REDIS, WHERE

    chosen = _settings(given)
    if chosen.jobs is not None and not chosen.jobs.startswith(REDIS):
        folder = Path(chosen.jobs) / chosen.queue
        if not (folder / FILE).exists():
            raise JobError(f"no job was ever submitted to `{folder}`", hint=WHERE)
    return _open(chosen)


def _say(status: Status, *, as_json: bool) -> None:
    from promptseg.cli.watching import summary

    if as_json:
        console.show(json.dumps(status.as_json()))
    else:
        console.note(summary(status))


def _cells(status: Status) -> tuple[str, ...]:
    counts = (status.total, status.done, status.failed, status.job.priority)
    submitted = moment(datetime.fromtimestamp(status.submitted, timezone.utc))
    return (status.id, status.state.value, *map(str, counts), submitted)
