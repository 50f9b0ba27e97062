"""Devices and dtypes are chosen by name and refused by name."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from promptseg.engine import runtime
from promptseg.engine.runtime import Runtime
from promptseg.errors import ConfigError, OutOfMemoryError


@pytest.fixture
def bare(monkeypatch):
    """A machine with neither CUDA nor MPS."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.fixture
def two_cards(monkeypatch):
    """A machine with two CUDA cards."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(runtime, "_multiplies", lambda device, dtype: dtype != torch.float16)


def test_auto_is_float32_on_the_cpu_of_a_bare_machine(bare):
    """Without an accelerator `auto` means the CPU, in float32."""
    assert Runtime.choose() == Runtime(torch.device("cpu"), torch.float32)


def test_auto_is_bfloat16_on_cuda(two_cards):
    """CUDA goes before everything else, in bfloat16."""
    assert Runtime.choose() == Runtime(torch.device("cuda"), torch.bfloat16)


def test_a_card_has_a_number(two_cards):
    """`cuda:1` is the second of two cards."""
    assert Runtime.choose("cuda:1", "bfloat16").device == torch.device("cuda", 1)


def test_a_card_that_is_not_there_is_refused(two_cards):
    """`cuda:2` does not exist where there are two cards."""
    with pytest.raises(ConfigError, match=r"`cuda:2` is not there: .* 2 `cuda` devices"):
        Runtime.choose("cuda:2")


@pytest.mark.parametrize("name", ["cuda", "mps", "cuda:0"])
def test_an_accelerator_that_is_not_there_is_refused(bare, name):
    """Nobody gets the CPU who asked for something else."""
    with pytest.raises(ConfigError, match=f"`{name}` is not there"):
        Runtime.choose(name)


@pytest.mark.parametrize(
    "name", ["", "gpu", "CUDA", "cuda:", "cuda:-1", "cpu:x", "meta", "cpu:0:1"]
)
def test_an_unknown_device_is_refused(name):
    """A device is one of four words, perhaps with a number."""
    with pytest.raises(ConfigError, match="unknown device") as caught:
        Runtime.choose(name)
    assert "auto" in str(caught.value.hint)


@pytest.mark.parametrize("name", ["", "fp16", "float64", "int8"])
def test_an_unknown_dtype_is_refused(name):
    """A dtype is one of three, or `auto`."""
    with pytest.raises(ConfigError, match="unknown dtype") as caught:
        Runtime.choose("cpu", name)
    assert "bfloat16" in str(caught.value.hint)


def test_a_network_is_placed_ready_to_answer():
    """Weights take the dtype, and layers that behave otherwise in training stop doing so."""
    network = nn.Sequential(nn.Linear(2, 3), nn.Dropout())
    placed = Runtime.choose("cpu", "bfloat16").place(network)
    assert placed is network
    assert not placed[1].training
    assert placed[0].weight.dtype == torch.bfloat16


def test_a_runtime_reads_as_device_and_dtype():
    """The text names both, for logs and for cache keys."""
    assert str(Runtime.choose("cpu", "float16")) == "cpu float16"


def test_a_dtype_that_the_device_lacks_is_refused(two_cards):
    """The cards of this fixture have no float16."""
    with pytest.raises(ConfigError, match="`cuda:1` cannot work in float16"):
        Runtime.choose("cuda:1", "float16")


def test_auto_takes_float32_where_a_card_lacks_bfloat16(two_cards, monkeypatch):
    """Older cards only emulate bfloat16."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert Runtime.choose("cuda").dtype == torch.float32


def test_what_a_device_can_multiply_is_tried():
    """The CPU multiplies floats of all widths; `meta` holds no numbers to compare."""
    cpu = torch.device("cpu")
    assert all(runtime._multiplies(cpu, dtype) for dtype in runtime.DTYPES.values())
    assert not runtime._multiplies(torch.device("meta"), torch.float32)


def test_a_full_device_is_said_to_be_full(monkeypatch):
    """Want of memory is not mistaken for want of a dtype."""

    def full(*_, **__):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    network = nn.Linear(2, 3)
    monkeypatch.setattr(network, "to", full)
    with pytest.raises(OutOfMemoryError, match="`cpu` has no room for the model"):
        Runtime.choose("cpu").place(network)
    monkeypatch.setattr(torch, "ones", full)
    with pytest.raises(OutOfMemoryError, match="`cpu` has no memory left"):
        Runtime.choose("cpu", "bfloat16")
