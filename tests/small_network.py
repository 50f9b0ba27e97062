"""The built-in network at a size that answers in milliseconds, with random weights."""

from __future__ import annotations

import torch
from torch import nn

from promptseg.nn.tiny.config import TinyConfig
from promptseg.nn.tiny.model import TinyNetwork

SMALL = TinyConfig(
    image_side=64,
    widths=(3, 5, 7, 11, 13),
    depths=(1, 1, 1, 1),
    decoder_widths=(5, 7, 11, 13),
    embedding=4,
    heads=2,
    sweeps=1,
)


def small_network(seed: int = 3) -> TinyNetwork:
    """Make the network without touching the caller's random numbers; norms are not the identity."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = TinyNetwork(SMALL, digest=f"random {seed}")
        for module in network.modules():
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                nn.init.normal_(module.weight, 1.0, 0.2)
                nn.init.normal_(module.bias, 0.0, 0.2)
                nn.init.normal_(module.running_mean, 0.0, 0.2)
    return network.eval()
