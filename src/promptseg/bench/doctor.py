"""What this machine can do for promptseg, and what to change: `promptseg doctor`."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import torch
from huggingface_hub import constants

import promptseg
from promptseg.bench.machine import processor, product_rate
from promptseg.engine.runtime import DTYPES, Runtime
from promptseg.errors import ConfigError, PromptsegError
from promptseg.settings import Settings
from promptseg.weights import catalog
from promptseg.weights.download import at_hand

LIBRARIES = ("torch", "numpy", "pillow", "safetensors", "huggingface_hub")
# What each extra brings, by the module to look for.
EXTRAS = {"evaluate": "skimage", "train": "cv2"}
# A quotient of rates above which another dtype is worth a hint.
WORTH_IT = 1.3
# SAM 2's features of an image in float32 are 27 MB.
SAM2_FEATURE_BYTES = 32 * 2**20
# The largest checkpoint of the catalogue, and as much again while it is written.
ROOM = 2 * 10**9
NOTHING = "nothing"
CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, kw_only=True)
class DeviceFacts:
    """A device, and its rate of matrix products in each dtype it has, in GFLOP/s."""

    name: str
    model: str
    free_bytes: int | None
    gflops: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What was found; `advice` says what to change, in whole sentences."""

    system: str
    versions: dict[str, str]
    devices: tuple[DeviceFacts, ...]
    runtime: str
    cores: int
    usable_cores: float
    threads: int
    memory_bytes: int | None
    cache_bytes: int
    hub_cache: str
    hub_free_bytes: int
    model: str
    models_at_hand: tuple[str, ...]
    extras: dict[str, bool]
    advice: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        """Return everything, by field; sizes in bytes."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Say it to people."""
        memory = "unknown" if self.memory_bytes is None else _amount(self.memory_bytes)
        extras = ", ".join(f"{name} {'yes' if has else 'no'}" for name, has in self.extras.items())
        told = [
            ("system", self.system),
            ("versions", ", ".join(f"{name} {each}" for name, each in self.versions.items())),
            *(("device", _device_line(device)) for device in self.devices),
            ("auto means", self.runtime),
            (
                "threads",
                f"{self.threads}, on {self.usable_cores:g} of {self.cores} cores",
            ),
            ("free memory", memory),
            ("feature cache", f"up to {_amount(self.cache_bytes)}"),
            ("default model", self.model),
            ("models here", ", ".join(self.models_at_hand)),
            ("hub cache", f"{self.hub_cache}, {_amount(self.hub_free_bytes)} free"),
            ("extras", extras),
        ]
        advice = [f"- {each}" for each in self.advice] or ["nothing to change"]
        return [*(f"{name + ':':<15}{value}" for name, value in told), "", *advice]


def diagnose(settings: Settings) -> Diagnosis:
    """Look at this machine; takes about a second."""
    devices = tuple(_devices())
    hub = Path(constants.HF_HUB_CACHE)
    there = next(each for each in (hub, *hub.parents) if each.exists())
    known = {name: at_hand(source) for name, source in catalog.NAMED.items()}
    found = Diagnosis(
        system=f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        versions={"promptseg": promptseg.__version__, **_versions(LIBRARIES)},
        devices=devices,
        runtime=_runtime(settings),
        cores=os.cpu_count() or 1,
        usable_cores=usable_cores(),
        threads=torch.get_num_threads(),
        memory_bytes=free_memory(),
        cache_bytes=settings.cache_bytes,
        hub_cache=str(hub),
        hub_free_bytes=shutil.disk_usage(there).free,
        model=settings.model,
        models_at_hand=tuple(name for name, path in known.items() if path is not None),
        extras={name: find_spec(module) is not None for name, module in EXTRAS.items()},
        advice=(),
    )
    return replace(found, advice=tuple(advise(found)))


def advise(found: Diagnosis) -> list[str]:
    """Say what to change, the most useful first."""
    advice = []
    cpu_only = [device.name for device in found.devices] == ["cpu"]
    if cpu_only and shutil.which("nvidia-smi"):
        advice.append(
            "there is an NVIDIA driver, but this torch has no CUDA: "
            "install the build of torch that https://pytorch.org names for your driver"
        )
    if found.threads > found.usable_cores:
        advice.append(
            f"{found.threads} threads share {found.usable_cores:g} cores and hinder each other: "
            f"set OMP_NUM_THREADS={max(1, int(found.usable_cores))}"
        )
    for device in found.devices:
        single, half = device.gflops.get("float32"), device.gflops.get("bfloat16")
        if device.name == "cpu" and cpu_only and single and half and half > WORTH_IT * single:
            advice.append(
                f"this CPU multiplies {half / single:.1f} times as fast in bfloat16: for the large "
                "models try `--dtype bfloat16`, which moves a pixel here and there"
            )
    if found.models_at_hand == (catalog.BUILTIN,):
        advice.append(
            "only the small built-in model is here; SAM 2.1 is far better: "
            "`promptseg models pull sam2.1-base-plus`, then `--model sam2.1-base-plus`"
        )
    if found.hub_free_bytes < ROOM:
        advice.append(
            f"{_amount(found.hub_free_bytes)} are free for downloads in {found.hub_cache}: "
            "make room, or set HF_HOME to a folder on another disk"
        )
    if found.runtime.startswith(NOTHING):
        advice.append(f"the device or dtype in your settings cannot be had: {found.runtime}")
    try:
        catalog.find(found.model)
    except ConfigError as error:
        advice.append(f"the model in your settings is not known: {error}")
    if constants.HF_HUB_OFFLINE:
        advice.append("HF_HUB_OFFLINE is set, so no model is downloaded: unset it to pull one")
    if found.cache_bytes < SAM2_FEATURE_BYTES:
        advice.append(
            f"a feature cache of {_amount(found.cache_bytes)} holds no image of SAM 2: set "
            f"PROMPTSEG_CACHE_BYTES to {SAM2_FEATURE_BYTES} for each image to be kept"
        )
    return advice


def usable_cores() -> float:
    """How many cores this process may use: those it is bound to, and its group's share of time."""
    affinity = getattr(os, "sched_getaffinity", None)
    bound = len(affinity(0)) if affinity else os.cpu_count() or 1
    quota, _, period = _read(CGROUP / "cpu.max").partition(" ")
    if quota.isdecimal() and period.strip().isdecimal():
        return min(float(bound), int(quota) / int(period))
    return float(bound)


def free_memory() -> int | None:
    """How much memory is free, in bytes; None where the system does not tell it in a file."""
    lines = _read(Path("/proc/meminfo")).splitlines()
    told = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    limit, used = (_read(CGROUP / name).strip() for name in ("memory.max", "memory.current"))
    if limit.isdecimal() and used.isdecimal():
        told.append(max(0, int(limit) - int(used)))
    return min(told, default=None)


def _devices() -> list[DeviceFacts]:
    names = ["cpu"]
    if torch.cuda.is_available():
        names += [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        names.append("mps")
    found = []
    for name in names:
        runtime = Runtime(torch.device(name), torch.float32)
        rates = {dtype: _rate(name, dtype) for dtype in DTYPES}
        found.append(
            DeviceFacts(
                name=name,
                model=torch.cuda.get_device_name(name) if name.startswith("cuda") else processor(),
                free_bytes=runtime.free_bytes(),
                gflops={dtype: rate for dtype, rate in rates.items() if rate is not None},
            )
        )
    return found


def _rate(device: str, dtype: str) -> float | None:
    """Return the rate of products in a dtype; None where the device lacks it, or all memory."""
    try:
        place = Runtime.choose(device, dtype).device
        # Small, because a CPU without float16 takes a second for a large one.
        return product_rate(place, DTYPES[dtype], side=512 if device == "cpu" else 4096, times=8)
    except (PromptsegError, RuntimeError):
        return None


def _runtime(settings: Settings) -> str:
    try:
        return str(Runtime.choose(settings.device, settings.dtype))
    except PromptsegError as error:
        return f"{NOTHING}: {error}"


def _versions(names: Sequence[str]) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found


def _device_line(device: DeviceFacts) -> str:
    free = "" if device.free_bytes is None else f", {_amount(device.free_bytes)} free"
    rates = ", ".join(f"{name} {rate:.0f}" for name, rate in device.gflops.items())
    return f"{device.name} ({device.model}{free}): GFLOP/s {rates}"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def _amount(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 10**9 else f"{size / 1e6:.0f} MB"
