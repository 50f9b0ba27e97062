"""Where a network runs and in which numbers: a value, never a global switch."""

from __future__ import annotations

import ctypes
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn

from promptseg.engine.portions import FULL, is_out_of_memory
from promptseg.errors import ConfigError, OutOfMemoryError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
KINDS = ("cpu", "cuda", "mps")

AnyNetwork = TypeVar("AnyNetwork")


@dataclass(frozen=True)
class Runtime:
    """A device that is there, and the dtype of weights, pixels and features on it.

    Prompts and logits stay float32 whatever the dtype.
    """

    device: torch.device
    dtype: torch.dtype

    @classmethod
    def choose(cls, device: str = "auto", dtype: str = "auto") -> Runtime:
        """Resolve names: the best device there is, and bfloat16 on CUDA but float32 elsewhere.

        Raises:
            ConfigError: a name that does not exist, a device that this machine does not have, or a
                dtype that the device does not have.
        """
        for name, value in (("device", device), ("dtype", dtype)):
            if not isinstance(value, str):
                raise ConfigError(f"`{name}` is a name such as `auto`, got {value!r}")
        place = _device(device)
        if dtype not in ("auto", *DTYPES):
            raise ConfigError(
                f"unknown dtype `{dtype}`", hint=f"Choose one of auto, {', '.join(DTYPES)}"
            )
        if dtype == "auto":
            return cls(place, torch.bfloat16 if _is_quick_in_bfloat16(place) else torch.float32)
        if not _multiplies(place, DTYPES[dtype]):
            raise ConfigError(
                f"device `{place}` cannot work in {dtype}",
                hint="Use `auto`, which takes what the device is good at, or float32",
            )
        return cls(place, DTYPES[dtype])

    def place(self, network: AnyNetwork) -> AnyNetwork:
        """Put a module's weights on the device, in the dtype, ready to answer; return it.

        Raises:
            OutOfMemoryError: the device has no room for them.
        """
        if isinstance(network, nn.Module):
            try:
                network.to(device=self.device, dtype=self.dtype).eval()
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                raise OutOfMemoryError(
                    f"device `{self.device}` has no room for the model", hint=FULL
                ) from error
        return network

    def own_numbers(self) -> AbstractContextManager[object]:
        """Within the block a caller's `torch.autocast` has no say: `dtype` decides."""
        # Where every torch that we allow has it.
        if self.device.type in ("cpu", "cuda"):
            return torch.autocast(self.device.type, enabled=False)
        return nullcontext()

    def free_bytes(self) -> int | None:
        """How much memory of the device is free; None where it does not say, as on a CPU."""
        if self.device.type != "cuda":
            return None
        free, _ = torch.cuda.mem_get_info(self.device)
        return free

    def trim(self) -> None:
        """Give memory that is kept for later back: by torch to a device, by glibc to the system."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        elif self.device.type == "mps":
            torch.mps.empty_cache()
        elif sys.platform == "linux":
            # Other C libraries than glibc have no such function.
            trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
            if trim is not None:
                trim(0)

    def __str__(self) -> str:
        return f"{self.device} {str(self.dtype).removeprefix('torch.')}"


def _device(name: str) -> torch.device:
    if name == "auto":
        kinds = [kind for kind in ("cuda", "mps") if _count(kind)]
        return torch.device(kinds[0] if kinds else "cpu")
    kind, _, number = name.partition(":")
    if kind not in KINDS or (number and not number.isdecimal()) or name.endswith(":"):
        raise ConfigError(
            f"unknown device `{name}`", hint="Choose auto, cpu, mps, cuda, or one card as cuda:1"
        )
    count = _count(kind)
    if int(number or 0) >= count:
        found = f"{count} `{kind}` devices" if count else f"no `{kind}` device"
        raise ConfigError(
            f"device `{name}` is not there: this machine's torch sees {found}",
            hint="Use `auto` to take the best device there is",
        )
    return torch.device(name)


def _is_quick_in_bfloat16(device: torch.device) -> bool:
    """Cards from compute capability 8.0 on have it in hardware (CUDA C++ Programming Guide)."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


def _multiplies(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a device knows a dtype, found out by a small product.

    Raises:
        OutOfMemoryError: the device has not even room for that.
    """
    try:
        one = torch.ones(2, 2, device=device, dtype=dtype)
        return bool((one @ one == 2).all())
    except (RuntimeError, TypeError) as error:
        if is_out_of_memory(error):
            raise OutOfMemoryError(f"device `{device}` has no memory left", hint=FULL) from error
        return False


def _count(kind: str) -> int:
    if kind == "cuda":
        return torch.cuda.device_count() if torch.cuda.is_available() else 0
    return int(torch.backends.mps.is_available()) if kind == "mps" else 1
