"""Writing SAM 2 and SAM 3 in our layout, and SAM 2 in one of those that others read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import safetensors.torch
import torch
from torch import Tensor

from promptseg.errors import ConfigError
from promptseg.io.files import write_atomically
from promptseg.nn.sam2.model import Sam2Network
from promptseg.nn.sam3.model import Sam3Network
from promptseg.weights.header import Header, identity_of
from promptseg.weights.identify import KEYMAPS
from promptseg.weights.layouts import OURS, Layout

# What a file of the layout is called, and what it holds, which other programs go by.
SUFFIXES: dict[Layout, tuple[str, ...]] = {
    "promptseg": (".safetensors",),
    "transformers": (".safetensors",),
    "meta": (".pt", ".pth"),
}


def convert(network: Sam2Network | Sam3Network, path: str | Path, layout: Layout) -> str:
    """Write a network's tensors as they are; return the network's digest, the same in all layouts.

    Our layout has sizes and digest in its header, and the rules that take phrases apart. The file
    appears whole or not at all.

    Raises:
        ConfigError: the file's ending is not that of the layout, or SAM 3 is to be written in a
            layout of others, of which it lacks tensors that play no part.
        OutputError: the file cannot be written.
    """
    path = Path(path)
    if isinstance(network, Sam3Network) and layout != OURS:
        raise ConfigError(
            f"SAM 3 is written in our layout only, not in `{layout}`: the tensors that play no "
            "part in its answers, which that layout has, are not kept",
            hint="Keep the file that it was loaded from for other programs",
        )
    if path.suffix not in SUFFIXES[layout]:
        wanted = " or ".join(f"`{suffix}`" for suffix in SUFFIXES[layout])
        raise ConfigError(
            f"a file in the layout `{layout}` ends in {wanted}, got `{path}`",
            hint="Change the ending, or choose another layout",
        )
    ours = network.state_dict()
    rules = _rules_of(network)
    digest = identity_of(network.config, ours, rules)
    named = ours if layout == OURS else KEYMAPS[layout].to_theirs(ours)
    # Copies, as both formats would keep two names of one tensor, or rows of one, together.
    tensors = {name: each.detach().cpu().clone() for name, each in named.items()}
    if layout == "meta":
        write_atomically(path, lambda file: _write_zip(tensors, file))
        return digest
    # transformers looks for this mark.
    metadata = {"format": "pt"}
    if layout == OURS:
        metadata = Header(network.config, digest, rules).to_metadata()
    content = safetensors.torch.save(tensors, metadata=metadata)
    write_atomically(path, lambda file: file.write(content))
    return digest


def _rules_of(network: Sam2Network | Sam3Network) -> str:
    if isinstance(network, Sam3Network) and network.tokenizer is not None:
        return network.tokenizer.to_json()
    return ""


def _write_zip(tensors: Mapping[str, Tensor], file: BinaryIO) -> None:
    try:
        torch.save({"model": dict(tensors)}, file)
    except RuntimeError as error:
        # torch's writer puts an error of its own over that of a full disk.
        if isinstance(error.__context__, OSError):
            raise error.__context__ from error
        raise
