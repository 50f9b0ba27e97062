"""The page's keys: one table, which the page obeys and the guide repeats."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

from places import ROOT
from promptseg.server import page

GUIDE = ROOT / "docs" / "annotator.md"
KEYBOARD = page.folder() / "js" / "keyboard.js"
LINE = re.compile(r'\{ group: "([^"]+)", keys: "([^"]+)", what: "([^"]+)"(.*)\}')


class Line(NamedTuple):
    """A line of the table, as `keyboard.js` has it."""

    group: str
    keys: str
    what: str
    rest: str


def lines() -> list[Line]:
    return [Line(*found) for found in LINE.findall(KEYBOARD.read_text(encoding="utf-8"))]


def guide() -> Iterator[str]:
    """Write the table of the guide: what the mouse does first."""
    yield "| keys | |"
    yield "|---|---|"
    mouse = [line for line in lines() if line.group == "Mouse"]
    keys = [line for line in lines() if line.group != "Mouse"]
    for group, members in groupby([*mouse, *keys], key=lambda line: line.group):
        yield f"| **{group}** | |"
        for _, written, what, _ in members:
            chords = ", ".join(f"`{chord}`" for chord in written.split(", "))
            yield f"| {chords} | {what} |"


def test_every_line_is_read():
    """The table is written so that each of its lines is one line of the file."""
    assert len(lines()) == len(re.findall(r"\bkeys: \"", KEYBOARD.read_text(encoding="utf-8"))) > 40


def test_guide_has_every_key():
    """The guide's table is the page's."""
    assert "\n".join(guide()) in GUIDE.read_text(encoding="utf-8")


def test_no_key_does_two_things():
    """A chord that is obeyed stands in the table once."""
    chords = [chord for line in lines() if "does:" in line.rest for chord in line.keys.split(", ")]
    assert sorted(set(chords)) == sorted(chords)


def test_what_hands_know_is_there():
    """Keys that annotators know from other tools do here what they do there."""
    obeyed = {chord for line in lines() for chord in line.keys.split(", ")}
    assert obeyed >= {"Enter", "N", "Esc", "Ctrl+Z", "Ctrl+Shift+Z", "1-9", "Delete", "?"}
