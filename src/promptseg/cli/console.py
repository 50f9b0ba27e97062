"""All that the command line says: results on stdout, everything else on stderr."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import typer

from promptseg.errors import OutputError, reason

if TYPE_CHECKING:
    from rich.progress import Progress

Item = TypeVar("Item")

# Exit statuses of the program.
OK = 0
SOME_FAILED = 1
NOTHING_DONE = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells report it

LOGS = ("promptseg", "py.warnings")

# The bar that is on the terminal now, if any.
_bars: list[Progress] = []


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
    if quiet or total < 2 or not is_terminal():
        yield from items
        return
    # Here, because only a terminal needs it and loading it takes longer than the rest of `--help`.
    from rich.console import Console
    from rich.progress import Progress

    with Progress(
        console=Console(stderr=True), transient=True, redirect_stdout=False, redirect_stderr=False
    ) as bar:
        _bars.append(bar)
        try:
            yield from bar.track(items, total=total, description=label)
        finally:
            _bars.remove(bar)


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
    for bar in _bars:
        bar.stop()
    yield
    for bar in _bars:
        bar.start()
