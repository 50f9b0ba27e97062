"""Two ways to do one thing, measured in turns so that a busy machine is busy for both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median

from promptseg.bench.machine import seconds

Work = Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class Contest:
    """What one task took ours and a peer, in seconds (or bytes, where `unit` says so).

    `ratio` is the peer's share over ours by rounds: the median, the lowest and the highest. `floor`
    is ours over the time that its products alone would take at the machine's rate. `agreement` says
    how near the answers are.
    """

    task: str
    ours: float
    peer: float | None = None
    ratio: tuple[float, float, float] | None = None
    floor: float | None = None
    agreement: str = ""
    unit: str = "s"

    def as_json(self) -> dict[str, object]:
        """Return everything."""
        return asdict(self)

    def line(self) -> str:
        """Say it to people, in columns."""
        peer = "-" if self.peer is None else self._said(self.peer)
        ratio = "-"
        if self.ratio:
            ratio = "{:.2f}x ({:.2f}..{:.2f})".format(*self.ratio)
        floor = "-" if self.floor is None else f"{self.floor:.1f}"
        return (
            f"{self.task:<38}{self._said(self.ours):>12}{peer:>12}{ratio:>21}{floor:>7}"
            f"  {self.agreement}"
        ).rstrip()

    def _said(self, value: float) -> str:
        return f"{value / 1e9:.2f} GB" if self.unit == "bytes" else f"{1e3 * value:.1f} ms"


HEADING = f"{'task':<38}{'ours':>12}{'peer':>12}{'peer / ours':>21}{'floor':>7}  agreement"


def compete(
    task: str, ours: Work, peer: Work, *, rounds: int, floor: float | None = None
) -> Contest:
    """Measure both in turns, A B B A, after one time each; `floor` is in seconds."""
    ours(), peer()
    mine, theirs = [], []
    for _ in range(rounds):
        first, second, third, fourth = (seconds(work) for work in (ours, peer, peer, ours))
        mine.append((first + fourth) / 2)
        theirs.append((second + third) / 2)
    ratios = [b / a for a, b in zip(mine, theirs, strict=True)]
    return Contest(
        task=task,
        ours=median(mine),
        peer=median(theirs),
        ratio=(median(ratios), min(ratios), max(ratios)),
        floor=None if floor is None else median(mine) / floor,
    )


def alone(task: str, ours: Work, *, rounds: int) -> Contest:
    """Measure what has no peer."""
    ours()
    return Contest(task=task, ours=median(seconds(ours) for _ in range(rounds)))


def better(contests: Sequence[Contest]) -> Contest:
    """Return the one in which the peer was quicker."""
    return min(contests, key=lambda contest: contest.peer or 0.0)
