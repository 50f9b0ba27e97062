"""`promptseg annotate`: a page in the browser where a person clicks and gets masks."""

from __future__ import annotations

import os
import sys
import threading
import webbrowser
from pathlib import Path
from typing import Annotated, Any

import typer

from promptseg import settings
from promptseg.cli import console, flags
from promptseg.cli.listening import listen
from promptseg.server.settings import ServerSettings

# Without one of these there is no screen, and a browser would be one that takes the terminal.
SCREENS = ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY")
EVERYWHERE = {"//0.0.0.0:": "//127.0.0.1:", "//[::]:": "//[::1]:"}


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command("annotate")(annotate)


@flags.of_settings(ServerSettings, "given", but=("folder",))
def annotate(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="FOLDER", help="Folder of images.", show_default=False),
    ] = None,
    *,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Open no browser; the address is on stdout.")
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="File of settings: TOML, with the names of the flags below."
        ),
    ] = None,
    given: dict[str, Any],
) -> None:
    """Open a page in the browser where you click on objects, and get their masks.

    What you draw on the images of FOLDER is kept beside each, as COCO. Without FOLDER you open
    images in the page, and it keeps them. This is `promptseg serve` with a folder: all else that it
    can do, this can.
    """
    if folder is not None:
        given["folder"] = folder
    gathered = settings.gather(ServerSettings, file=config, given=given)

    def show(address: str) -> None:
        console.show(address)
        if not no_browser and _has_screen():
            # Some browsers are waited for.
            threading.Thread(
                target=webbrowser.open, args=(_reachable(address),), daemon=True
            ).start()

    listen(gathered, on_listening=show)


def _has_screen() -> bool:
    return sys.platform in ("darwin", "win32") or any(map(os.environ.get, SCREENS))


def _reachable(address: str) -> str:
    """Return the address by which this machine reaches what listens at all of its own."""
    for everywhere, here in EVERYWHERE.items():
        address = address.replace(everywhere, here)
    return address
