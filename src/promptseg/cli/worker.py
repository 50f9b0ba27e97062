"""`promptseg worker`: a process that answers the images of jobs."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from promptseg import settings
from promptseg.cli import console, flags
from promptseg.settings import Settings

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from promptseg.jobs.supervisor import Supervisor


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("worker")(worker)


@flags.of_settings(Settings, "given")
def worker(
    *,
    once: Annotated[
        bool, typer.Option("--once", help="End when nothing is left to do for this model.")
    ] = False,
    memory: Annotated[
        int | None,
        typer.Option(
            metavar="BYTES",
            min=1,
            help="Most memory of the process that has the model, but for a GPU's, where the system "
            "can hold it to that. [default: no limit]",
        ),
    ] = None,
    given: dict[str, Any],
) -> int:
    """Answer the images of jobs, until the process is told to end.

    Any number of workers may be at work on a queue: of a folder on one machine, of a Redis on any
    number of machines. Each loads its model once. An image that ends the process that works on it
    is tried again, and fails in the end; the worker goes on. On SIGTERM or Ctrl+C what is in hand
    is given back; a second signal ends at once.
    """
    # Here and not above, so that `--help` is quick.
    from promptseg.jobs.queue import Queue
    from promptseg.jobs.webhooks import Webhooks

    console.listen(quiet=False)
    chosen = settings.gather(Settings, given=given).settings
    Webhooks.of(chosen)
    with Queue.of(chosen) as queue:
        if not queue.is_shared:
            from promptseg.jobs.supervisor import Supervisor

            console.note(f"at work on the queue `{queue.name}` of `{queue.jobs}`")
            supervisor = Supervisor(queue, partial(_work, chosen, once=once, most_bytes=memory))
            with _stopped_by_signals(supervisor):
                supervisor.run()
            return console.OK
    from promptseg.jobs import celery_app

    return celery_app.run_worker(chosen, once=once, most_bytes=memory)


def _work(
    chosen: Settings, folder: Path, line: Connection, *, once: bool, most_bytes: int | None
) -> None:
    """Do the work, in a process of its own."""
    from promptseg.jobs.memory import limit
    from promptseg.jobs.process import work

    console.listen(quiet=False)
    if most_bytes is not None:
        limit(most_bytes)
    work(chosen, folder, line, once=once)


@contextmanager
def _stopped_by_signals(supervisor: Supervisor) -> Iterator[None]:
    """Let Ctrl+C and SIGTERM end the work in order."""
    before = {
        number: signal.signal(number, lambda *_: supervisor.stop())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
