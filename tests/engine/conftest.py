"""The engine round a network whose answers can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fake_network import FakeNetwork
from promptseg.engine.cache import FeatureCache
from promptseg.engine.runtime import Runtime
from promptseg.engine.segmenter import Segmenter


@pytest.fixture
def two_threads():
    """Torch with two threads, whatever the machine has."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def network():
    """The fake network, counting its calls."""
    return FakeNetwork()


@pytest.fixture
def runtime():
    """The CPU in float32."""
    return Runtime.choose("cpu", "float32")


@pytest.fixture
def segmenter(network, runtime):
    """The fake network behind the engine."""
    return Segmenter(network, runtime, FeatureCache(2**20))


@pytest.fixture
def white():
    """A white image, 14 wide and 28 high, on which the fake's scores are 0.25, 0.75 and 0.5."""
    return np.full((28, 14, 3), 255, dtype=np.uint8)
