"""Training states on disk: written whole or not at all, and read back to go on."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from pickle import UnpicklingError
from typing import Generic, TypeVar

import torch
from torch import nn

from promptseg.errors import WeightsError
from promptseg.io.files import write_atomically

# What torch raises for an empty file, one that is cut short, or one of another kind.
UNREADABLE = (
    UnpicklingError,
    EOFError,
    OSError,
    RuntimeError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
)

Network = TypeVar("Network", bound=nn.Module)


class Average(Generic[Network]):
    """A running average of a network's weights and statistics, better than the last of them."""

    def __init__(self, network: Network, *, decay: float) -> None:
        self.network = deepcopy(network).eval().requires_grad_(requires_grad=False)
        self.decay = decay

    @torch.no_grad()
    def update(self, network: Network, step: int) -> None:
        """Move towards the network, faster in the first steps."""
        decay = min(self.decay, (1 + step) / (10 + step))
        pairs = zip(self.network.state_dict().values(), network.state_dict().values(), strict=True)
        for average, value in pairs:
            if average.is_floating_point():
                average.lerp_(value.to(average.dtype), 1 - decay)
            else:
                average.copy_(value)


def save_state(
    path: Path,
    *,
    network: Network,
    average: Average[Network],
    optimizer: torch.optim.Optimizer,
    step: int,
) -> None:
    """Write everything that going on needs."""
    state = {
        "network": network.state_dict(),
        "average": average.network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "step": step,
    }
    write_atomically(path, lambda file: torch.save(state, file))


def load_state(
    path: Path, *, network: Network, average: Average[Network], optimizer: torch.optim.Optimizer
) -> int:
    """Read a state into what is given; return its step.

    Raises:
        WeightsError: the file is not a training state of this network.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        network.load_state_dict(state["network"])
        average.network.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        return int(state["step"])
    except UNREADABLE as error:
        raise WeightsError(
            f"cannot go on from `{path}`: it is not a training state of this network",
            hint="Remove the file to start anew",
        ) from error
