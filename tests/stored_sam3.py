"""Small SAM 3 weights in files, in every layout that people have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from promptseg.nn.sam3.config import ClickerConfig, Sam3Config
from promptseg.weights import identify
from promptseg.weights.hollow import hollow
from promptseg.weights.keymap import KeyMap
from promptseg.weights.keymaps.sam3 import DIALECTS
from small_sam3 import CLICKER_ONLY, FINDER_ONLY, SMALL, small_sam3, small_tokenizer

NO_MEMORY = replace(CLICKER_ONLY, clicker=ClickerConfig(memory=None))


class Kind(NamedTuple):
    """A way to name tensors, by one of its marks, and what it has of the network."""

    mark: str
    config: Sam3Config

    @property
    def keymap(self) -> KeyMap:
        return next(dialect.keymap for dialect in DIALECTS if self.mark in dialect.marks)

    @property
    def layout(self) -> str:
        return next(dialect.layout for dialect in DIALECTS if self.mark in dialect.marks)


# Where the perceptrons of the tracker's decoder lie that are named as in SAM 2.
_NUMBERED = "sam_mask_decoder.transformer.layers.0.mlp.layers."
KINDS = {
    "meta": Kind("detector.", SMALL),
    "meta, numbered": Kind(f"tracker.{_NUMBERED}", SMALL),
    "meta, finder only": Kind("detector.", FINDER_ONLY),
    "meta, clicker only": Kind("detector.", CLICKER_ONLY),
    "meta's image model": Kind("backbone.vision_backbone.", SMALL),
    "meta's image model, numbered": Kind(f"inst_interactive_predictor.model.{_NUMBERED}", SMALL),
    "meta's image model, finder only": Kind("backbone.vision_backbone.", FINDER_ONLY),
    "transformers": Kind("detector_model.", SMALL),
    "transformers, finder only": Kind("detector_model.", FINDER_ONLY),
    "transformers, no memory": Kind("detector_model.", replace(SMALL, clicker=NO_MEMORY.clicker)),
    "transformers' Sam3VideoModel": Kind("tracker_model.tracker_model.", SMALL),
    "transformers' Sam3Model": Kind("detr_encoder.", FINDER_ONLY),
    "transformers' Sam3TrackerVideoModel": Kind("tracker_model.detector_model.", CLICKER_ONLY),
    "transformers' Sam3TrackerModel": Kind("tracker_model.detector_model.", NO_MEMORY),
    "transformers' tracker, bare": Kind("vision_encoder.backbone.layers.", CLICKER_ONLY),
}
WHOLE = ("meta", "transformers")


@pytest.fixture
def known_sam3(monkeypatch) -> None:
    """Let the small sizes be those of the published model."""
    monkeypatch.setattr(identify, "SIZES3", {"sam3": SMALL})


@cache
def whole_weights(seed: int) -> dict[str, Tensor]:
    """The tensors of the whole small network, by our names."""
    return small_sam3(SMALL, seed).state_dict()


def tensors_of(name: str, seed: int = 5) -> dict[str, Tensor]:
    """The tensors of a file of a kind, by its names; idle ones are there too, as they would be."""
    kind = KINDS[name]
    ours = {each: whole_weights(seed)[each] for each in hollow(kind.config).state_dict()}
    theirs = kind.keymap.to_theirs(ours)
    idle = {
        pattern.format(*"000"): torch.full((3,), float("nan")) for pattern in kind.keymap.unused
    }
    return {each: tensor.clone() for each, tensor in (theirs | idle).items()}


def write(folder: Path, name: str, tensors: Mapping[str, Tensor] | None = None) -> Path:
    """Write a file of a kind, by the name that its publisher gives it."""
    tensors = tensors_of(name) if tensors is None else dict(tensors)
    folder.mkdir(parents=True, exist_ok=True)
    if KINDS[name].layout == "meta":
        torch.save({"model": tensors}, folder / "sam3.pt")
        return folder / "sam3.pt"
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder / "model.safetensors"


def write_tokenizer(folder: Path) -> Path:
    """Put a tokenizer of few words beside weights."""
    path = folder / "tokenizer.json"
    path.write_text(small_tokenizer().to_json())
    return path
