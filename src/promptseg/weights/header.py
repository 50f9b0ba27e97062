"""What a weights file of ours says about itself: its header, and the digest of its tensors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor

from promptseg.errors import WeightsError
from promptseg.nn.tiny.config import TinyConfig

FORMAT = "promptseg-1"
TINY = "tiny"
SAVE_HINT = "Weights files are written by `promptseg train`"


@dataclass(frozen=True)
class Header:
    """The metadata of a weights file: `config` makes the network, `digest` proves its tensors."""

    config: TinyConfig
    digest: str

    def to_metadata(self) -> dict[str, str]:
        """Write the header as safetensors has it, all strings."""
        return {
            "format": FORMAT,
            "family": TINY,
            "config": json.dumps(asdict(self.config)),
            "digest": self.digest,
        }

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> Header:
        """Read a header back.

        Raises:
            WeightsError: the file is of another format or family, or its sizes make no sense.
        """
        if metadata.get("format") != FORMAT:
            found = metadata.get("format", "none")
            raise WeightsError(f"its format is `{found}`, not `{FORMAT}`", hint=SAVE_HINT)
        if metadata.get("family") != TINY:
            raise WeightsError(
                f"its family is `{metadata.get('family')}`, not `{TINY}`",
                hint=f"This version knows the family `{TINY}`; a newer one may know more",
            )
        return cls(_config(metadata.get("config", "")), metadata.get("digest", ""))


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """Return SHA-256 over names, dtypes, shapes and bytes, sorted by name."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def _config(text: str) -> TinyConfig:
    try:
        values = json.loads(text)
        known = {field.name for field in fields(TinyConfig)}
        if not isinstance(values, dict) or set(values) != known:
            raise ValueError(text)
        return TinyConfig(**{name: _tupled(each) for name, each in values.items()})
    except (ValueError, TypeError, ArithmeticError) as error:
        raise WeightsError("the sizes in its header make no network", hint=SAVE_HINT) from error


def _tupled(value: object) -> Any:
    """Turn lists back into tuples, which JSON does not have."""
    return tuple(value) if isinstance(value, list) else value
