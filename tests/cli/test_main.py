"""The program itself: help, version, and errors as lines and exit statuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import typer

import promptseg
from promptseg.cli import main as program
from promptseg.errors import WeightsError


def test_nothing_shows_the_help(capsys):
    """`promptseg` alone says what there is, and is no error."""
    assert program.main([]) == program.OK
    assert "segment" in capsys.readouterr().out


def test_version(capsys):
    """`--version` prints the package's own."""
    assert program.main(["--version"]) == program.OK
    assert capsys.readouterr().out == f"promptseg {promptseg.__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [["segmnet"], ["--nonsense"], ["segment"], ["segment", "a.jpg", "--threshold", "x"]],
)
def test_a_mistake_in_the_command_is_two_lines(capsys, arguments):
    """An unknown command or flag, or a missing argument, is a sentence and where to read more."""
    assert program.main(arguments) == program.NOTHING_DONE
    said = capsys.readouterr()
    assert said.out == ""
    error, hint = said.err.splitlines()
    assert error.startswith("error: ")
    assert hint.startswith("hint: Try `promptseg")


def failing(error):
    def register(app):
        @app.command("segment")
        def segment():
            """Fail."""
            raise error

    return register


def test_our_errors_become_error_and_hint(capsys, monkeypatch):
    """What the library raises on purpose is said on stderr, and the status is 2."""
    error = WeightsError("the weights are damaged", hint="Get them again")
    monkeypatch.setattr("promptseg.cli.segment.register", failing(error))
    assert program.main(["segment"]) == program.NOTHING_DONE
    assert capsys.readouterr().err == "error: the weights are damaged\nhint: Get them again\n"


def test_an_interruption_is_130(capsys, monkeypatch):
    """Ctrl+C ends with the status that shells expect, and without a traceback."""
    monkeypatch.setattr("promptseg.cli.segment.register", failing(KeyboardInterrupt()))
    assert program.main(["segment"]) == program.INTERRUPTED
    assert capsys.readouterr().err == "interrupted\n"


def test_a_status_that_a_command_returns_is_passed_on(monkeypatch):
    """A command says how it ended by returning a number."""

    def register(app: typer.Typer):
        app.command("segment")(lambda: 1)

    monkeypatch.setattr("promptseg.cli.segment.register", register)
    assert program.main(["segment"]) == 1


def test_help_loads_nothing_heavy():
    """The help of the program and of a command loads neither torch nor numpy."""
    code = (
        "import sys; from promptseg.cli.main import main; "
        "main(['--help']); main(['segment', '--help']); "
        "sys.exit(bool({'torch', 'rich', 'numpy', 'PIL', 'cv2'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)


def test_a_closed_pipe_is_no_traceback():
    """A reader that goes away ends the program quietly, with status 1."""
    code = (
        "import os, sys; from promptseg.cli import main; "
        "sys.argv = ['promptseg', '--help']; "
        "read, write = os.pipe(); os.close(read); os.dup2(write, 1); main.run()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, timeout=60
    )
    assert ended.returncode == 1
    assert ended.stderr == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_behind_stdout_is_said(tmp_path):
    """One sentence, not a traceback."""
    code = "from promptseg.cli.main import run; run()"
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-c", code, "models", "list"], stdout=full, stderr=subprocess.PIPE
        )
    assert done.returncode == 2
    assert done.stderr.decode().startswith("error: cannot write to stdout: no space left on device")
    assert b"Traceback" not in done.stderr
