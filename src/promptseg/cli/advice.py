"""What a user of the built-in model is told once: that there are better ones, how to get them."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from promptseg.cli import console

LINE = (
    "`builtin` is small and quick; for better masks get SAM 2.1 once with "
    "`promptseg models pull sam2.1-tiny` (156 MB) and ask with `--model sam2.1-tiny`; "
    "`promptseg models list` has larger ones"
)
MARK = "told-of-better-models"


def name_better_models(model: str, *, quiet: bool) -> None:
    """Say it on a terminal, once on this machine, to a user of the built-in model who has none."""
    if quiet or model != "builtin" or not console.is_terminal() or _was_told():
        return
    # Here and not above: it loads torch, as the command that calls does in any case.
    from promptseg.weights import catalog, download

    if any(download.at_hand(each) for each in catalog.PUBLISHED.values()):
        return
    console.note(LINE)
    _remember()


def state_folder(environment: Mapping[str, str]) -> Path:
    """Return where this program may remember what no user would miss.

    That is `promptseg` in XDG_STATE_HOME, which counts if it is absolute (XDG Base Directory
    Specification), or in `~/.local/state`; on Windows in LOCALAPPDATA.

    Raises:
        RuntimeError: the user has no home.
    """
    home, usual = "XDG_STATE_HOME", (".local", "state")
    if sys.platform == "win32":
        home, usual = "LOCALAPPDATA", ("AppData", "Local")
    given = Path(environment.get(home, ""))
    return (given if given.is_absolute() else Path.home().joinpath(*usual)) / "promptseg"


def _was_told() -> bool:
    try:
        return (state_folder(os.environ) / MARK).exists()
    except (OSError, RuntimeError):
        return False


def _remember() -> None:
    try:
        mark = state_folder(os.environ) / MARK
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
    except (OSError, RuntimeError):
        # It will be said again, which is no reason to fail.
        return
