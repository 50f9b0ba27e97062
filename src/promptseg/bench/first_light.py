"""How long the first mask takes on this machine, and a warm click: numbers, no verdict."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image

import promptseg
from promptseg.api import Model, load
from promptseg.bench.machine import processor, product_rate, seconds
from promptseg.bench.processes import Finished, run_python
from promptseg.geometry import Size
from promptseg.prompts import Points
from promptseg.shapes import ImageArray

FULL_HD = Size(1080, 1920)
IMPORT_CODE = (
    "import sys, time; began = time.perf_counter(); import promptseg; "
    "print(time.perf_counter() - began, 'torch' in sys.modules)"
)
COMMAND_CODE = "from promptseg.cli.main import run; run()"


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where it was measured; `gflops` is for a product of two 1024 x 1024 float32 matrices."""

    system: str
    processor: str
    cores: int
    threads: int
    device: str
    gflops: float
    versions: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Quantiles:
    """The spread of repeated measurements, in seconds."""

    median: float
    p95: float
    worst: float
    count: int

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Quantiles:
        """Summarise measurements."""
        return cls(
            median=median(seconds),
            p95=float(np.quantile(seconds, 0.95, method="higher")),
            worst=max(seconds),
            count=len(seconds),
        )


@dataclass(frozen=True, kw_only=True)
class FirstLight:
    """What a newcomer waits for.

    `import_seconds` is `import promptseg` in a new process and `import_loads_torch` should be
    false. `command` is a new process from command line to written mask of a 1080p photo, run for
    the second time, with its peak memory. `encode`, `click` (image and prompt in, mask out,
    features cached) and `session_click` are of a loaded model on a 1080p image.
    """

    machine: Machine
    model: str
    import_seconds: float
    import_loads_torch: bool
    command_seconds: float
    command_peak_bytes: int
    encode: Quantiles
    click: Quantiles
    session_click: Quantiles

    def as_json(self) -> dict[str, object]:
        """Return everything, in seconds and bytes."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Say it to people."""
        machine = self.machine
        versions = ", ".join(f"{name} {number}" for name, number in machine.versions.items())
        torch_note = "loads torch" if self.import_loads_torch else "without torch"
        return [
            f"{machine.processor}, {machine.cores} cores, {machine.threads} threads, "
            f"{machine.device}, {machine.gflops:.0f} GFLOP/s float32",
            f"{machine.system}; {versions}; model {self.model}",
            f"import promptseg              {self.import_seconds:.3f} s, {torch_note}",
            f"command line to written mask  {self.command_seconds:.2f} s, "
            f"peak memory {self.command_peak_bytes / 1e9:.2f} GB",
            f"encode a 1080p image          {_milliseconds(self.encode)}",
            f"warm click, 1080p             {_milliseconds(self.click)}",
            f"warm click in a session       {_milliseconds(self.session_click)}",
        ]


def measure(name: str | None = None, *, device: str = "auto", clicks: int = 50) -> FirstLight:
    """Measure everything once on this machine; nothing else should be running.

    Raises:
        ConfigError: an unknown model or device.
        PromptsegError: the command line failed in its own process.
    """
    imports = [run_python(IMPORT_CODE, []) for _ in range(3)]
    command = _cold_command(name, device)
    model = load(name, device=device)
    image = photo(FULL_HD)
    encode = Quantiles.of(_encode(model, image, count=7))
    return FirstLight(
        machine=_machine(model),
        model=model.name,
        import_seconds=median(float(each.output.split()[0]) for each in imports),
        import_loads_torch=imports[0].output.split()[1] == "True",
        command_seconds=command.seconds,
        command_peak_bytes=command.peak_bytes,
        encode=encode,
        click=Quantiles.of(_click(model, image, count=clicks)),
        session_click=Quantiles.of(_session_click(model, image, count=clicks)),
    )


def photo(size: Size, *, seed: int = 11) -> ImageArray:
    """Make a scene of shaded discs with a little noise, the same each time."""
    random = np.random.default_rng(seed)
    rows, columns = np.ogrid[: size.height, : size.width]
    scene = np.empty((*size, 3), np.float32)
    scene[:] = (columns / size.width * 60 + rows / size.height * 40 + 60)[..., None]
    for _ in range(12):
        x, y = random.uniform(0, size.width), random.uniform(0, size.height)
        radius = random.uniform(0.05, 0.2) * size.height
        scene[np.hypot(columns - x, rows - y) < radius] = random.uniform(20, 235, 3)
    scene += random.normal(0, 4, scene.shape)
    pixels: ImageArray = scene.clip(0, 255).astype(np.uint8)
    return pixels


def _cold_command(name: str | None, device: str) -> Finished:
    """Run the command line in a new process, as the second time and all after it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photo.jpg"
        Image.fromarray(photo(FULL_HD)).save(path, quality=92)
        arguments = ["segment", str(path), "--point", "960,540", "--device", device, "--quiet"]
        arguments += ["--model", name] if name else []
        arguments += ["-o", str(Path(folder) / "mask.png")]
        run_python(
            COMMAND_CODE, arguments
        )  # compiles what was never imported, fills the disk's cache
        return run_python(COMMAND_CODE, arguments)


def _encode(model: Model, image: ImageArray, *, count: int) -> list[float]:
    """Open sessions on images that differ in a pixel, so that none is in the cache."""
    taken = []
    for number in range(count + 1):
        image = image.copy()
        image[0, 0] = number
        taken.append(seconds(partial(model.session, image)))
    return taken[1:]  # the first one warms up


def _click(model: Model, image: ImageArray, *, count: int) -> list[float]:
    places = [Points([point]) for point in _places(count + 3)]
    return [seconds(partial(model.segment, image, place)) for place in places][3:]


def _session_click(model: Model, image: ImageArray, *, count: int) -> list[float]:
    """Click five times on each object, as people do."""
    taken: list[float] = []
    for start in range(0, count + 5, 5):
        with model.session(image) as session:
            taken += [
                seconds(partial(session.add, Points([place]))) for place in _places(5, seed=start)
            ]
    return taken[5 : count + 5]


def _places(count: int, *, seed: int = 0) -> list[tuple[float, float]]:
    random = np.random.default_rng(seed)
    x, y = random.uniform(0, FULL_HD.width, count), random.uniform(0, FULL_HD.height, count)
    return list(zip(x.tolist(), y.tolist(), strict=True))


def _machine(model: Model) -> Machine:
    return Machine(
        system=f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        processor=processor(),
        cores=os.cpu_count() or 1,
        threads=torch.get_num_threads(),
        device=str(model.runtime.device),
        gflops=product_rate(model.runtime.device, torch.float32),
        versions={
            "promptseg": promptseg.__version__,
            **{name: version(name) for name in ("torch", "numpy", "pillow")},
        },
    )


def _milliseconds(times: Quantiles) -> str:
    return (
        f"median {1e3 * times.median:.1f} ms, 95th percentile {1e3 * times.p95:.1f} ms, "
        f"worst {1e3 * times.worst:.1f} ms of {times.count}"
    )
