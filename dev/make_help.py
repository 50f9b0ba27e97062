"""Writes `docs/cli/*.md`: what `--help` says, one page for the program and for each command."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from promptseg.cli.main import build

FOLDER = Path(__file__).parent.parent / "docs" / "cli"
WIDTH = 92


def pages() -> dict[str, str]:
    """Make every page, by file name."""
    root = typer.main.get_group(build())
    return dict(_walk(root, _context(root, "promptseg")))


def _walk(command: Any, context: typer.Context) -> Iterator[tuple[str, str]]:
    path = context.command_path
    text = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
    yield f"{path.replace(' ', '-')}.md", f"# `{path}`\n\n```text\n{text}\n```\n"
    for name, below in getattr(command, "commands", {}).items():
        yield from _walk(below, _context(below, name, parent=context))


def _context(command: Any, name: str, *, parent: typer.Context | None = None) -> typer.Context:
    settings = {**command.context_settings, "terminal_width": WIDTH}
    return typer.Context(command, info_name=name, parent=parent, **settings)


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
        print(FOLDER / name)
