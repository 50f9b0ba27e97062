"""All that the command line says: results on stdout, everything else on stderr."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import typer

from promptseg.errors import OutputError, reason

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn, TaskID

Item = TypeVar("Item")

# Exit statuses of the program.
OK = 0
SOME_FAILED = 1
NOTHING_DONE = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells report it

LOGS = ("promptseg", "py.warnings")

# The bar that is on the terminal now, if any.
_bars: list[Progress] = []
# Threads that say something take turns; one that speaks may be spoken to by the log.
_speaking = threading.RLock()


def show(line: str) -> None:
    """Print one line of the result on stdout, at once.

    Raises:
        OutputError: stdout cannot be written to, such as a file on a full disk.
    """
    try:
        with _bar_lifted():
            typer.echo(line)
    except BrokenPipeError:
        raise  # who read it has seen enough
    except OSError as error:
        raise OutputError(f"cannot write to stdout: {reason(error)}") from error


def note(line: str) -> None:
    """Say something beside the result, on stderr."""
    with _bar_lifted():
        typer.echo(line, err=True)


def warn(message: str) -> None:
    """Say on stderr what a user should know but need not act on."""
    _say("warning", message, typer.colors.YELLOW)


def problem(message: str, *, hint: str | None = None) -> None:
    """Say on stderr what went wrong and, on a line of its own, how to fix it."""
    _say("error", message, typer.colors.RED)
    if hint:
        _say("hint", hint, typer.colors.CYAN)


def progress(items: Iterable[Item], *, total: int, label: str, quiet: bool) -> Iterator[Item]:
    """Pass `items` on, with a bar on stderr where that is a terminal and there is more than one."""
    with counter(total=total, label=label, quiet=quiet) as advance:
        for item in items:
            yield item
            advance()


@contextmanager
def counter(*, total: int, label: str, quiet: bool) -> Iterator[Callable[[], None]]:
    """Show a bar as `progress` does, which goes on by one with each call, from any thread."""
    if quiet or total < 2 or not is_terminal():
        yield lambda: None
        return
    with _bar(label, total=total, done=0) as (bar, task):
        yield lambda: bar.advance(task)


@contextmanager
def meter(label: str, *, total: int, done: int) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on the terminal; each call says how many are done by now, and of how many."""
    with _bar(label, total=total, done=done) as (bar, task):
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def _bar(label: str, *, total: int, done: int) -> Iterator[tuple[Progress, TaskID]]:
    # Here, because only a terminal needs it and loading it takes longer than the rest of `--help`.
    from rich import progress as rich
    from rich.console import Console

    with rich.Progress(
        rich.TextColumn("{task.description}"),
        rich.BarColumn(),
        rich.MofNCompleteColumn(),
        _rate_column(),
        rich.TimeRemainingColumn(compact=True),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    ) as bar:
        task = bar.add_task(label, total=total, completed=done)
        _bars.append(bar)
        try:
            yield bar, task
        finally:
            _bars.remove(bar)


def rate(speed: float | None) -> str:
    """Say how many are done in a second, or where it is less than one in a minute or an hour."""
    if not speed:
        return ""
    if speed >= 1:
        return f"{speed:.1f}/s"
    return f"{60 * speed:.1f}/min" if 60 * speed >= 1 else f"{3600 * speed:.1f}/h"


def _rate_column() -> ProgressColumn:
    from rich.progress import ProgressColumn, Task
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(rate(task.finished_speed or task.speed), style="progress.data.speed")

    return Rate()


def is_terminal() -> bool:
    """Tell whether someone reads stderr as it is written."""
    return sys.stderr.isatty()


def listen(*, quiet: bool) -> None:
    """Send the log of the package, and Python's warnings, to stderr as lines like our own."""
    logging.captureWarnings(capture=True)
    handler = _Handler(logging.ERROR if quiet else logging.WARNING)
    for name in LOGS:
        logging.getLogger(name).handlers = [handler]


def stop_listening() -> None:
    """Leave logging as it was before `listen`, for callers in the same process."""
    logging.captureWarnings(capture=False)
    for name in LOGS:
        logging.getLogger(name).handlers = []


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        (problem if record.levelno >= logging.ERROR else warn)(record.getMessage().strip())


def _say(kind: str, message: str, colour: str) -> None:
    # The word carries the meaning; the colour, which `echo` drops off a terminal, only helps.
    note(f"{typer.style(f'{kind}:', fg=colour, bold=True)} {message}")


@contextmanager
def _bar_lifted() -> Iterator[None]:
    """Take the bar off the terminal while a line is printed there, so that they do not mix."""
    with _speaking:
        for bar in _bars:
            bar.stop()
        yield
        for bar in _bars:
            bar.start()
