"""What every training loop does: an optimizer, and a log that a step is written to."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import nn

from promptseg.errors import OutputError, reason


def adamw(
    parameters: Iterable[nn.Parameter], *, rate: float, weight_decay: float
) -> torch.optim.Optimizer:
    """AdamW that decays matrices and kernels, not biases and norms."""
    given = list(parameters)
    groups = [
        {"params": [each for each in given if each.ndim > 1], "weight_decay": weight_decay},
        {"params": [each for each in given if each.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98))


def require_writable(log: Path) -> None:
    """Find out before the first step, not after it.

    Raises:
        OutputError: nothing can be written there.
    """
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.open("a").close()
    except OSError as error:
        raise OutputError(f"cannot write `{log}`: {reason(error)}") from error
