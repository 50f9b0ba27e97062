"""Small SAM 2 weights in files, in every layout that people have."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from jaxtyping import config
from safetensors.torch import save_file
from torch import Tensor

from promptseg.weights import identify
from promptseg.weights.keymaps.sam2 import META, TRANSFORMERS
from small_sam2 import FITTING, small_sam2

COMMIT = "0123456789abcdef0123456789abcdef01234567"
# The small sizes stand in for the published one of this name, wherever `known_sizes` is asked for.
NAME = "sam2.1-tiny"


@pytest.fixture
def known_sizes(monkeypatch) -> None:
    """Let the small sizes be those of the published tiny model."""
    monkeypatch.setattr(identify, "SIZES", {**identify.SIZES, "tiny": FITTING})


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Path:
    """An empty home of the hub's files on this machine."""
    home = tmp_path / "hub-home"
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(home))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    return home


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Let annotations be unchecked, as they are for users: what is of a wrong type comes in."""
    config.update("jaxtyping_disable", True)  # noqa: FBT003
    yield
    config.update("jaxtyping_disable", False)  # noqa: FBT003


@pytest.fixture
def no_network(monkeypatch) -> None:
    """Let no name of a host be found, as where there is no network."""

    def not_found(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", not_found)


def meta_tensors(network=None) -> dict[str, Tensor]:
    return cloned(META.to_theirs((network or small_sam2()).state_dict()))


def transformers_tensors(network=None) -> dict[str, Tensor]:
    return cloned(TRANSFORMERS.to_theirs((network or small_sam2()).state_dict()))


def cloned(tensors) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in tensors.items()}


def write_meta(path: Path, tensors=None) -> Path:
    """Write a checkpoint as Meta does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"model": meta_tensors() if tensors is None else tensors}, path)
    return path


def write_transformers(path: Path, tensors=None) -> Path:
    """Write a file as transformers does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = transformers_tensors() if tensors is None else tensors
    save_file(tensors, path, metadata={"format": "pt"})
    return path


def in_cache(hub: Path, repository: str, file: str) -> Path:
    """Return where the hub's cache has a file, and make the cache know it."""
    folder = hub / "hub" / f"models--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True, exist_ok=True)
    (folder / "refs" / "main").write_text(COMMIT)
    return folder / "snapshots" / COMMIT / file
