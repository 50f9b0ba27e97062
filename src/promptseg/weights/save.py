"""Writing weights."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
import torch

from promptseg.errors import WeightsError
from promptseg.io.files import write_atomically
from promptseg.nn.tiny.model import TinyNetwork
from promptseg.weights.header import Header, digest_of


def save(network: TinyNetwork, path: str | Path) -> str:
    """Write a network as fp16 safetensors with its sizes in the header; return the tensors' digest.

    The file appears whole or not at all.

    Raises:
        WeightsError: a weight is not a number, or too large for fp16.
        OutputError: the file cannot be written.
    """
    tensors = {}
    for name, tensor in network.state_dict().items():
        stored = tensor.detach().cpu()
        if stored.is_floating_point():
            stored = stored.to(torch.float16)
            if not bool(stored.isfinite().all()):
                raise WeightsError(f"tensor `{name}` holds values that fp16 cannot")
        tensors[name] = stored.contiguous()
    header = Header(network.config, digest_of(tensors))
    content = safetensors.torch.save(tensors, metadata=header.to_metadata())
    write_atomically(path, lambda file: file.write(content))
    return header.digest
