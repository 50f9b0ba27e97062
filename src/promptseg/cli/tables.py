"""Lists in a terminal: aligned columns, and moments as everybody's clocks can read them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone


def aligned(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Write rows as lines of aligned columns under headings."""
    cells = [headings, *rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(headings))]
    return [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]


def moment(when: datetime) -> str:
    """Write a moment to the second."""
    return when.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
