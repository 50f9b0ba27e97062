"""The machine that is measured on: its processor, and its rate of matrix products."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from promptseg.nn.parts.products import linear


def processor() -> str:
    """Return the processor's name, where the system tells it."""
    names = Path("/proc/cpuinfo")
    if names.exists():
        for line in names.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or sys.platform


def product_rate(
    device: torch.device, dtype: torch.dtype, *, side: int = 1024, times: int = 12
) -> float:
    """Return the GFLOP/s of the product of two square matrices, as the networks multiply."""
    matrix = torch.ones(side, side, device=device, dtype=dtype)
    best = min(seconds(lambda: linear(matrix, matrix)[0, 0].item()) for _ in range(times))
    return 2 * side**3 / best / 1e9


def seconds(work: Callable[[], object]) -> float:
    """Return how long it took."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
