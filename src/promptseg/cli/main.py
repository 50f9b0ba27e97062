"""The `promptseg` program: finds the command, and translates errors into lines and exit statuses.

A command is a module of this package with a function `register(app: typer.Typer) -> None` that adds
itself, or a group, to `app` under its name in `COMMANDS`. Its function may return an exit status,
and raises `PromptsegError` for whatever the user can fix. It imports nothing heavy when loaded.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from io import TextIOWrapper
from typing import Annotated

import typer

import promptseg
from promptseg.cli import console
from promptseg.cli.console import INTERRUPTED, NOTHING_DONE, OK
from promptseg.errors import PromptsegError

# Each command by its name, and the module that has it.
COMMANDS = {
    "segment": "segment",
    "find": "find",
    "everything": "everything",
    "run": "run",
    "jobs": "jobs",
    "worker": "worker",
    "convert": "convert",
    "annotate": "annotate",
    "serve": "serve",
    "keys": "keys",
    "models": "models",
    "doctor": "doctor",
    "evaluate": "evaluate",
    "train": "train",
    "bench": "bench",
}


def run() -> None:
    """Run the program on the arguments of the process, and end it with the exit status."""
    # A file's name may hold bytes that are no text; where they can, they go out as they came in.
    if isinstance(sys.stdout, TextIOWrapper):
        is_utf8 = sys.stdout.encoding.lower().replace("-", "") == "utf8"
        sys.stdout.reconfigure(errors="surrogateescape" if is_utf8 else "backslashreplace")
    sys.exit(main(sys.argv[1:]))


def main(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit status."""
    arguments = list(arguments) or ["--help"]
    try:
        command = typer.main.get_command(build(arguments[0]))
        status = command.main(arguments, prog_name="promptseg", standalone_mode=False)
    except PromptsegError as error:
        console.problem(str(error), hint=error.hint)
        return NOTHING_DONE
    except typer.TyperException as error:
        console.problem(_plain(error.format_message()), hint=f"Try `{_help_of(error)}`")
        return NOTHING_DONE
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    finally:
        console.stop_listening()
    if status == INTERRUPTED:
        console.note("interrupted")
    return status or OK


def build(first: str = "") -> typer.Typer:
    """Make the program; where `first` is the name of a command, with no other command in it."""
    app = typer.Typer(
        add_completion=False,
        # Plain help is the same in a terminal, a pipe and the documentation, and is quick.
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    app.callback()(_program)
    for name in (first,) if first in COMMANDS else COMMANDS:
        import_module(f"promptseg.cli.{COMMANDS[name]}").register(app)
    return app


def _show_version(asked: bool) -> None:
    if asked:
        console.show(f"promptseg {promptseg.__version__}")
        raise typer.Exit


def _program(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", is_eager=True, callback=_show_version
        ),
    ] = False,
) -> None:
    """Click on an object in a photo, or draw a box round it, and get its mask.

    Exit status: 0 done, 1 some inputs failed, 2 nothing could be done, 130 interrupted.
    """


def _plain(message: str) -> str:
    """Write a message of the parser as ours are: lower case first, no full stop."""
    return message[:1].lower() + message[1:].rstrip(".")


def _help_of(error: typer.TyperException) -> str:
    context: typer.Context | None = getattr(error, "ctx", None)
    return f"{context.command_path if context else 'promptseg'} --help"
