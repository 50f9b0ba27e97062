"""What is known of models and of weights on this machine, to be shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from promptseg.weights.catalog import APACHE, BUILTIN_SOURCE, Local, Published, Source
from promptseg.weights.download import at_hand, page
from promptseg.weights.load import examine

HEADINGS = ("model", "size", "licence", "source", "on this machine")


@dataclass(frozen=True)
class Row:
    """A model of the catalogue; `path` is where it lies on this machine, if it does."""

    name: str
    megabytes: int
    licence: str
    source: str
    path: str | None

    def as_json(self) -> dict[str, object]:
        """Return everything, by field."""
        return asdict(self)


@dataclass(frozen=True)
class Facts:
    """What weights are; `licence` and `source` are known of models that were named only."""

    path: str
    name: str
    family: str
    version: str | None
    size: str | None
    layout: str
    parameters: int
    dtypes: tuple[str, ...]
    bytes: int
    licence: str | None
    source: str | None

    def as_json(self) -> dict[str, object]:
        """Return everything, by field."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Say it to people."""
        told = {
            **asdict(self),
            "parameters": f"{self.parameters / 1e6:.2f} million",
            "dtypes": ", ".join(self.dtypes),
            "bytes": f"{self.bytes:,}",
        }
        return [f"{name + ':':<12}{value}" for name, value in told.items() if value is not None]


def row(source: Source) -> Row:
    """Look up a model of the catalogue on this machine."""
    path = at_hand(source)
    there = None if path is None else str(path)
    if isinstance(source, Published):
        return Row(source.name, source.megabytes, source.licence, page(source), there)
    size = round(path.stat().st_size / 1e6) if path else 0
    return Row(source.name, size, APACHE, "in the package", there)


def table(rows: Sequence[Row]) -> list[str]:
    """Write rows as lines of aligned columns under headings."""
    cells = [
        HEADINGS,
        *(
            (each.name, f"{each.megabytes} MB", each.licence, each.source, each.path or "no")
            for each in rows
        ),
    ]
    widths = [max(len(line[i]) for line in cells) for i in range(len(HEADINGS))]
    return [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]


def facts(source: Source) -> Facts:
    """Look into weights on this machine.

    Raises:
        WeightsError: they are not there, are damaged, not those of that name, or of a kind that is
            not known.
    """
    stored, found = examine(source)
    licence, origin = _origin(source)
    return Facts(
        path=str(stored.path),
        name=found.name,
        family=found.family,
        version=found.version,
        size=found.size,
        layout=found.layout,
        parameters=sum(each.numel() for each in found.tensors.values() if each.is_floating_point()),
        dtypes=tuple(
            sorted({str(each.dtype).removeprefix("torch.") for each in stored.tensors.values()})
        ),
        bytes=Path(stored.path).stat().st_size,
        licence=licence,
        source=origin,
    )


def _origin(source: Source) -> tuple[str | None, str | None]:
    if isinstance(source, Published):
        return source.licence, page(source)
    if source == BUILTIN_SOURCE:
        return APACHE, "in the package"
    return None, None if isinstance(source, Local) else page(source)
