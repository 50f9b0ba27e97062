"""What a weights file of ours says about itself: its header, and the digest of its tensors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor

from promptseg.errors import WeightsError
from promptseg.nn.sam2.config import Sam2Config
from promptseg.nn.sam3.config import Sam3Config
from promptseg.nn.tiny.config import TinyConfig

FORMAT = "promptseg-1"
TINY = "tiny"
SAM2 = "sam2"
SAM3 = "sam3"
SAVE_HINT = "Weights files are written by `promptseg train` and `promptseg models convert`"

AnyConfig: TypeAlias = TinyConfig | Sam2Config | Sam3Config
CONFIGS: dict[str, type[AnyConfig]] = {TINY: TinyConfig, SAM2: Sam2Config, SAM3: Sam3Config}

Record = TypeVar("Record")


@dataclass(frozen=True)
class Header:
    """The metadata of a weights file: `config` makes the network, `digest` proves its tensors.

    It proves the sizes of SAM 2 and SAM 3 too, which the tensors do not tell; see `identity_of`.
    `tokenizer` are the rules by which SAM 3 takes phrases apart, as JSON, empty where there are
    none.
    """

    config: AnyConfig
    digest: str
    tokenizer: str = ""

    @property
    def family(self) -> str:
        """The name of the network's kind."""
        return family_of(self.config)

    def to_metadata(self) -> dict[str, str]:
        """Write the header as safetensors has it, all strings."""
        written = {
            "format": FORMAT,
            "family": self.family,
            "config": json.dumps(asdict(self.config)),
            "digest": self.digest,
            "tokenizer": self.tokenizer,
        }
        return {name: text for name, text in written.items() if text or name != "tokenizer"}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> Header:
        """Read a header back.

        Raises:
            WeightsError: the file is of another format or family, or its sizes make no sense.
        """
        if metadata.get("format") != FORMAT:
            found = metadata.get("format", "none")
            raise WeightsError(f"its format is `{found}`, not `{FORMAT}`", hint=SAVE_HINT)
        kind = CONFIGS.get(metadata.get("family", ""))
        if kind is None:
            known = " or ".join(f"`{family}`" for family in CONFIGS)
            raise WeightsError(
                f"its family is `{metadata.get('family')}`, not {known}",
                hint="A newer version of promptseg may know more families",
            )
        return cls(
            _config(kind, metadata.get("config", "")),
            metadata.get("digest", ""),
            metadata.get("tokenizer", ""),
        )


def family_of(config: AnyConfig) -> str:
    """Return the name of a network's kind."""
    return next(name for name, kind in CONFIGS.items() if isinstance(config, kind))


def identity_of(config: AnyConfig, tensors: Mapping[str, Tensor], tokenizer: str = "") -> str:
    """Return the digest that names a network: two that answer differently have not the same.

    For SAM 2 and SAM 3 it is over sizes and tensors, and over the tokens of the rules that take
    phrases apart, which files write in more ways than one; for the built-in kind over tensors.
    """
    if isinstance(config, TinyConfig):
        return digest_of(tensors)
    sizes = json.dumps(asdict(config), sort_keys=True)
    return digest_of(tensors, sizes=sizes + (_tokens_of(tokenizer) if tokenizer else ""))


def _tokens_of(tokenizer: str) -> str:
    """Return what of a tokenizer's JSON is the same whoever wrote it: tokens, and how they join."""
    model = json.loads(tokenizer).get("model", {})
    return json.dumps([model.get("vocab"), model.get("merges")], sort_keys=True)


def digest_of(tensors: Mapping[str, Tensor], *, sizes: str = "") -> str:
    """Return SHA-256 over `sizes`, then names, dtypes, shapes and bytes, sorted by name."""
    total = hashlib.sha256(sizes.encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def _config(kind: type[AnyConfig], text: str) -> AnyConfig:
    try:
        return _filled(kind, json.loads(text))
    except (ValueError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise WeightsError("the sizes in its header make no network", hint=SAVE_HINT) from error


def _filled(kind: type[Record], values: object) -> Record:
    """Make a record of the fields that JSON gives; records within it are known by their defaults.

    Raises:
        ValueError: a field is missing, or is none of the record's.
    """
    default: Any = kind()
    known = {field.name for field in fields(default)}
    if not isinstance(values, dict) or set(values) != known:
        raise ValueError(f"fields {values}")
    return kind(**{name: _like(getattr(default, name), each) for name, each in values.items()})


def _like(default: object, value: object) -> Any:
    """Turn lists back into tuples and objects into records, which JSON does not have.

    A record may be absent, as the memory half of a network for images is.
    """
    if is_dataclass(default) and value is not None:
        return _filled(type(default), value)
    return tuple(value) if isinstance(value, list) else value
