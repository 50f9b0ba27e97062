"""Reading weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from promptseg.errors import WeightsError, reason
from promptseg.nn.tiny.model import TinyNetwork
from promptseg.weights.header import Header, digest_of

DAMAGED_HINT = "Copy or download it again, or leave the model out to use the built-in one"


def load(path: Path) -> TinyNetwork:
    """Make the network of a weights file, in float32.

    Raises:
        WeightsError: the file is missing, damaged, or of another kind.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = Header.from_metadata(file.metadata() or {})
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        return _network(header, tensors)
    except WeightsError as error:
        raise WeightsError(
            f"cannot use the weights `{path}`: {error}", hint=error.hint or DAMAGED_HINT
        ) from error
    except SafetensorError as error:
        raise WeightsError(
            f"`{path}` is not a safetensors file, or it is damaged", hint=DAMAGED_HINT
        ) from error
    except OSError as error:
        raise WeightsError(f"cannot read the weights `{path}`: {reason(error)}") from error


def _network(header: Header, tensors: Mapping[str, Tensor]) -> TinyNetwork:
    network = _hollow(header)
    expected = network.state_dict()
    if missing := sorted(expected.keys() - tensors.keys()):
        raise WeightsError(f"{len(missing)} tensors are missing, first: `{missing[0]}`")
    if unknown := sorted(tensors.keys() - expected.keys()):
        raise WeightsError(f"{len(unknown)} tensors are unknown, first: `{unknown[0]}`")
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise WeightsError(
                f"tensor `{name}` is {tuple(tensor.shape)}, not {tuple(expected[name].shape)}"
            )
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise WeightsError(f"tensor `{name}` holds NaN or infinity")
    if digest_of(tensors) != header.digest:
        raise WeightsError("its tensors are not those it was written with: their digest differs")
    network.load_state_dict(
        {name: tensor.to(expected[name].dtype) for name, tensor in tensors.items()}, assign=True
    )
    return network.eval()


def _hollow(header: Header) -> TinyNetwork:
    """Make a network without memory or random numbers: sizes in a damaged header may be huge."""
    try:
        with torch.device("meta"):
            return TinyNetwork(header.config, digest=header.digest)
    except (RuntimeError, TypeError, ValueError, ArithmeticError, LookupError) as error:
        raise WeightsError(f"the sizes in its header make no network: {header.config}") from error
