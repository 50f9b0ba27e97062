"""Many photos: `promptseg run` beside a plain loop over the library, on the same cores.

Both are processes of their own that write a PNG of each mask, and take turns. They are watched from
the first photos to the last, so that starting Python and loading the model count for neither.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from promptseg.bench.contest import HEADING, Contest
from promptseg.bench.first_light import COMMAND_CODE, photo
from promptseg.bench.machine import processor
from promptseg.errors import MissingExtraError, PromptsegError
from promptseg.formats import png
from promptseg.geometry import Size

if TYPE_CHECKING:
    import psutil  # type: ignore[import-untyped]

SIZE = Size(480, 640)
POINT = (320, 240)
PHOTOS = 200
# Photos after which it is measured, and after which memory should not grow any more.
WARM, STEADY = 20, 50
LOOK_SECONDS = 0.05
MEMORY_MB = 1e6
LOOP_CODE = f"""
import sys
from pathlib import Path
import promptseg
from promptseg.formats import png
model = promptseg.load()
for path in sorted(Path(sys.argv[1]).glob("*.jpg")):
    png.write([(path.name, model.segment(path, promptseg.Points([{POINT}])))], sys.argv[2])
"""


@dataclass(frozen=True, kw_only=True)
class Side:
    """How a process went through the photos, from the `WARM`th on.

    `seconds` are for each photo. `busy` is the share of all cores' time that it had, and `others`
    the share that the rest of the machine had; memory is at the `STEADY`th photo and at the end.
    """

    seconds: float
    busy: float
    others: float
    steady_bytes: int
    last_bytes: int

    def line(self, name: str) -> str:
        """Say it to people, in columns."""
        return (
            f"{name:<38}{1 / self.seconds:>9.1f}{self.busy:>9.0%}{self.others:>9.0%}"
            f"{self.steady_bytes / MEMORY_MB:>12.0f}{self.last_bytes / MEMORY_MB:>9.0f}"
        )


SIDE_HEADING = (
    f"{'turn':<38}{'photos/s':>9}{'cores':>9}{'others':>9}{f'MB at {STEADY}':>12}{'MB last':>9}"
)


@dataclass(frozen=True, kw_only=True)
class BulkBench:
    """Turns of ours and of the loop, the contest of both, and how far their masks agree."""

    machine: str
    photos: int
    contest: Contest
    ours: tuple[Side, ...]
    peers: tuple[Side, ...]
    least_iou: float
    equal: int

    def as_json(self) -> dict[str, object]:
        """Return everything, in seconds and bytes."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Say it to people."""
        return [
            f"{self.photos} photos of {SIZE.width} x {SIZE.height}, a point each; {self.machine}",
            HEADING,
            self.contest.line(),
            SIDE_HEADING,
            *(side.line("promptseg run") for side in self.ours),
            *(side.line("plain loop") for side in self.peers),
        ]


def measure(*, photos: int = PHOTOS, rounds: int = 3) -> BulkBench:
    """Measure everything; nothing else should be running. Takes some two minutes.

    Raises:
        MissingExtraError: psutil is not installed.
        PromptsegError: a process ended with an error.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _make(folder, photos)
        ours, peers = [_ours(folder, "ours", photos)], []
        for number in range(rounds):
            peers.append(_loop(folder, f"loop-{number}", photos))
            ours.append(_ours(folder, f"ours-{number}", photos))
        overlaps = [
            _overlap(folder / "ours" / file.name, file)
            for file in sorted((folder / "loop-0").glob("*.png"))
        ]
    # Each turn of the loop is between two of ours.
    ratios = [
        2 * peer.seconds / (before.seconds + after.seconds)
        for before, peer, after in zip(ours, peers, ours[1:], strict=False)
    ]
    equal, least = overlaps.count(1.0), min(overlaps)
    return BulkBench(
        machine=f"{processor()}, {os.cpu_count()} cores, torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads",
        photos=photos,
        contest=Contest(
            task="a photo, from file to file",
            ours=median(side.seconds for side in ours),
            peer=median(side.seconds for side in peers),
            ratio=(median(ratios), min(ratios), max(ratios)),
            agreement=f"{equal} of {len(overlaps)} masks equal, least IoU {least:.4f}",
        ),
        ours=tuple(ours),
        peers=tuple(peers),
        least_iou=least,
        equal=equal,
    )


def _make(folder: Path, photos: int) -> None:
    """Make photos, no two alike, and a file of queries about them."""
    (folder / "photos").mkdir()
    query = {"verb": "segment", "points": [POINT]}
    lines = []
    for number in range(photos):
        name = f"photos/{number:04}.jpg"
        Image.fromarray(photo(SIZE, seed=11 + number)).save(folder / name, quality=90)
        lines.append(json.dumps({"image": name, "queries": [query]}))
    (folder / "queries.jsonl").write_text("\n".join(lines))


def _ours(folder: Path, name: str, photos: int) -> Side:
    queries = str(folder / "queries.jsonl")
    arguments = ["run", queries, "-o", str(folder / name), "--format", "png", "--quiet"]
    return _watched(COMMAND_CODE, arguments, folder / name, photos)


def _loop(folder: Path, name: str, photos: int) -> Side:
    arguments = [str(folder / "photos"), str(folder / name)]
    return _watched(LOOP_CODE, arguments, folder / name, photos)


def _watched(code: str, arguments: Sequence[str], output: Path, photos: int) -> Side:
    """Run a process, and look how far it is by the files that it has written."""
    try:
        import psutil  # a heavy package that only benchmarks need
    except ImportError as error:
        raise MissingExtraError(
            "this benchmark needs psutil, which is not installed", hint="Run `pip install psutil`"
        ) from error
    cores = psutil.cpu_count()
    looks: list[_Look] = []
    command = [sys.executable, "-c", code, *arguments]
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said) as process,
    ):
        watched = psutil.Process(process.pid)
        while process.poll() is None and (not looks or looks[-1].written < photos):
            time.sleep(LOOK_SECONDS)
            look = _Look.now(watched, output)
            if look is not None and look.written >= WARM:
                looks.append(look)
        if process.wait() or len(looks) < 2:
            said.seek(0)
            raise PromptsegError(
                f"a measured process ended with status {process.returncode}: "
                f"{said.read()[-500:].decode(errors='replace').strip()}"
            )
    first, last = looks[0], looks[-1]
    wall = last.time - first.time
    busy = (last.cpu - first.cpu) / wall / cores
    steady = next((look for look in looks if look.written >= STEADY), last)
    return Side(
        seconds=wall / max(last.written - first.written, 1),
        busy=busy,
        others=(last.machine - first.machine) / wall / cores - busy,
        steady_bytes=steady.resident,
        last_bytes=last.resident,
    )


@dataclass(frozen=True)
class _Look:
    """How far a process is: files written, seconds of it and of the machine, memory."""

    time: float
    written: int
    cpu: float
    machine: float
    resident: int

    @classmethod
    def now(cls, process: psutil.Process, output: Path) -> _Look | None:
        import psutil

        try:
            own, resident = process.cpu_times(), process.memory_info().rss
        except psutil.Error:  # it has just ended
            return None
        all_cores = psutil.cpu_times()
        written = sum(1 for _ in output.glob("[!.]*.png"))
        working = all_cores.user + all_cores.nice + all_cores.system
        return cls(time.perf_counter(), written, own.user + own.system, working, resident)


def _overlap(one: Path, other: Path) -> float:
    [[_, ours]], [[_, theirs]] = png.read(one), png.read(other)
    first, second = ours.runs[0].to_mask(), theirs.runs[0].to_mask()
    either = np.count_nonzero(first | second)
    return float(np.count_nonzero(first & second) / either) if either else 1.0
