"""Random tensors that any implementation can make again: functions of seed, name and shape."""

from __future__ import annotations

import hashlib
import math

import torch
from torch import Tensor, nn


def seeded(seed: int, name: str, shape: torch.Size) -> Tensor:
    """Normal numbers; what is multiplied with many inputs is small, so that answers stay in scale.

    Norms are near the identity without being it.
    """
    digest = hashlib.sha256(f"{seed} {name} {tuple(shape)}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:6], "big"))
    values = torch.randn(shape, generator=generator)
    if len(shape) > 1 and name.endswith("weight"):
        transposed = "upscale" in name
        return values / math.sqrt(shape[0] if transposed else math.prod(shape[1:]))
    if "norm" in name and name.endswith("weight"):
        return 1 + 0.1 * values
    if name.endswith(("weight", "bias")):
        return 0.1 * values
    return values


def fill(network: nn.Module, seed: int) -> nn.Module:
    """Give a network its seeded weights, ready to answer."""
    weights = {
        name: seeded(seed, name, tensor.shape) for name, tensor in network.state_dict().items()
    }
    network.load_state_dict(weights, assign=True)
    return network.eval().requires_grad_(requires_grad=False)
