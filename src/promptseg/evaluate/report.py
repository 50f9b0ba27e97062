"""What was measured, as JSON for programs and as tables for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from promptseg.evaluate.datasets import Dataset
from promptseg.evaluate.metrics import CLICK_CAP, Scores
from promptseg.evaluate.run import Evaluation

PROTOCOL = (
    "First click at the most interior point of the mask; each next click at the most interior "
    "point of the largest error region, included or excluded as the error is. IoU after 1, 3 and 5 "
    "clicks and for the tight box; NoC is the number of clicks to reach 80, 85 and 90 % IoU, at "
    "most 20. Means over the masks of a domain, then over the domains. A model's own choice among "
    "its candidates counts; best is the best of the candidates."
)
NO_NOC = f"NoC is not given where a method was given fewer than {CLICK_CAP} clicks."


@dataclass(frozen=True)
class Column:
    """One column of a table: its heading, the field of `Scores` it shows and its decimals."""

    heading: str
    field: str
    decimals: int = 3


COLUMNS = (
    Column("1 click", "click_1"),
    Column("3 clicks", "click_3"),
    Column("5 clicks", "click_5"),
    Column("box", "box"),
    Column("best 1", "best_click_1"),
    Column("best 3", "best_click_3"),
    Column("best 5", "best_click_5"),
    Column("best box", "best_box"),
    Column("NoC@80", "noc_80", 2),
    Column("NoC@85", "noc_85", 2),
    Column("NoC@90", "noc_90", 2),
)
ESSENTIAL = COLUMNS[:4]


@dataclass(frozen=True)
class Table:
    """Cells of text under headings; the first column names the rows."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def as_text(self) -> str:
        """Align the cells for a terminal."""
        widths = [max(map(len, column)) for column in zip(self.headings, *self.rows, strict=True)]
        lines = []
        for row in (self.headings, *self.rows):
            name, *cells = row
            padded = [name.ljust(widths[0])]
            padded += [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
            lines.append("  ".join(padded))
        return "\n".join(lines)

    def as_markdown(self) -> str:
        """Write the table for a document."""
        lines = [self.headings, ("---", *["---:"] * (len(self.headings) - 1)), *self.rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def to_json(evaluations: Sequence[Evaluation], dataset: Dataset) -> dict[str, object]:
    """Write everything: means, domains, every object, and apart from them the time it took.

    Overlaps are rounded to 4 decimals; two runs differ only under `timing`.
    """
    return {
        "protocol": PROTOCOL,
        "data": {
            "name": dataset.folder.resolve().name,
            "masks": len(dataset),
            "images": dataset.image_count,
        },
        "predictors": [_evaluation_json(evaluation) for evaluation in evaluations],
    }


def mean_line(evaluation: Evaluation) -> str:
    """Say the means of one predictor in a line."""
    cells = _cells(evaluation.summary.mean, ESSENTIAL)
    scores = (f"{each.heading} {cell}" for each, cell in zip(ESSENTIAL, cells, strict=True))
    return f"{evaluation.predictor}: {', '.join(scores)}"


def mean_table(evaluations: Sequence[Evaluation]) -> Table:
    """One row for each predictor: its means over the domains."""
    rows = [(each.predictor, *_cells(each.summary.mean, COLUMNS)) for each in evaluations]
    return Table(("mean over domains", *(column.heading for column in COLUMNS)), tuple(rows))


def domain_table(evaluations: Sequence[Evaluation]) -> Table:
    """One row for each predictor in each domain."""
    rows = [
        (f"{domain}, {each.predictor}", *_cells(scores, ESSENTIAL))
        for domain in (evaluations[0].summary.domains if evaluations else ())
        for each in evaluations
        for scores in (each.summary.domains[domain],)
    ]
    return Table(("domain, method", *(column.heading for column in ESSENTIAL)), tuple(rows))


def _cells(scores: Scores, columns: Sequence[Column]) -> list[str]:
    values = [(getattr(scores, column.field), column.decimals) for column in columns]
    return ["-" if value is None else f"{value:.{decimals}f}" for value, decimals in values]


def _evaluation_json(evaluation: Evaluation) -> dict[str, object]:
    summary = evaluation.summary
    return {
        "name": evaluation.predictor,
        "cap": evaluation.cap,
        "mean": _rounded(asdict(summary.mean)),
        "domains": {
            name: {"masks": summary.masks[name], **_rounded(asdict(scores))}
            for name, scores in summary.domains.items()
        },
        "objects": [_rounded(asdict(trace)) for trace in evaluation.traces],
        "timing": _rounded(asdict(evaluation.timing)),
    }


def _rounded(values: dict[str, object]) -> dict[str, object]:
    return {key: _short(value) for key, value in values.items()}


def _short(value: object) -> object:
    if isinstance(value, tuple):
        return [_short(each) for each in value]
    return round(value, 4) if isinstance(value, float) else value
