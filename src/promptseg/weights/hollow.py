"""A network that has the names and shapes of its weights, and no weights yet."""

from __future__ import annotations

from typing import TypeAlias

import torch

from promptseg.errors import WeightsError
from promptseg.nn.sam2.config import Sam2Config
from promptseg.nn.sam2.model import Sam2Network
from promptseg.nn.sam2.video import sam2_of
from promptseg.nn.sam3.config import Sam3Config
from promptseg.nn.sam3.model import Sam3Network, sam3_of
from promptseg.nn.tiny.model import TinyNetwork
from promptseg.weights.header import AnyConfig

AnyNetwork: TypeAlias = TinyNetwork | Sam2Network | Sam3Network


def hollow(config: AnyConfig, *, digest: str = "") -> AnyNetwork:
    """Make a network without memory or random numbers: sizes in a damaged file may be huge.

    Raises:
        WeightsError: the sizes make no network.
    """
    try:
        with torch.device("meta"):
            if isinstance(config, Sam2Config):
                return sam2_of(config, digest=digest)
            if isinstance(config, Sam3Config):
                return sam3_of(config, digest=digest)
            return TinyNetwork(config, digest=digest)
    except (RuntimeError, TypeError, ValueError, ArithmeticError, LookupError) as error:
        raise WeightsError(f"the sizes in its header make no network: {config}") from error
