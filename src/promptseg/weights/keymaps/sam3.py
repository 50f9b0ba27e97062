"""SAM 3's tensors as Meta publishes them (`.pt`) and as transformers does (`.safetensors`).

Both publish one file with both halves. Of either layout there are dialects, which differ in what
stands before names: the published file, and what a program saves that has one half of the network.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import NamedTuple

from promptseg.weights.keymap import KeyMap, fitting, together
from promptseg.weights.keymaps.sam3_clicker import NUMBERED_MLP, meta_clicker, transformers_clicker
from promptseg.weights.keymaps.sam3_encoders import (
    meta_neck,
    meta_text,
    meta_trunk,
    transformers_neck,
    transformers_text,
    transformers_trunk,
)
from promptseg.weights.keymaps.sam3_finder import meta_finder, transformers_finder
from promptseg.weights.layouts import Layout


class Dialect(NamedTuple):
    """A way to name SAM 3's tensors; `marks` are beginnings of names that only it has."""

    layout: Layout
    marks: tuple[str, ...]
    keymap: KeyMap


def dialect_of(names: Collection[str]) -> Dialect | None:
    """Return the dialect of names, or None where they are not of SAM 3."""
    for dialect in DIALECTS:
        if any(name.startswith(dialect.marks) for name in names):
            return dialect
    return None


def without_idle_neck(keymap: KeyMap, names: Collection[str]) -> KeyMap:
    """Let the second neck be unused where nothing is there that reads it, as in an image model."""
    ours = {name: new for old, new in keymap.renames.items() for name in fitting(old, names)}
    clicked = {name for name, new in ours.items() if new.startswith("clicker.")}
    neck = {name for name in clicked if ours[name].startswith("clicker.neck.")}
    return replace(keymap, unused=(*keymap.unused, *neck)) if clicked == neck else keymap


def _meta(detector: str, tracker: str, *, numbered: bool = False) -> KeyMap:
    """Name what Meta's image model has, both necks within, and its tracker."""
    backbone = f"{detector}backbone."
    return together(
        meta_trunk(f"{backbone}vision_backbone.trunk.", "trunk."),
        meta_neck(f"{backbone}vision_backbone.convs.", "finder.neck."),
        meta_text(f"{backbone}language_backbone.", "finder.text."),
        meta_finder(detector, "finder."),
        meta_neck(f"{backbone}vision_backbone.sam2_convs.", "clicker.neck."),
        meta_clicker(tracker, "clicker.", numbered=numbered),
    )


def _transformers_finder(prefix: str) -> KeyMap:
    """Name what `Sam3Model` has."""
    return together(
        transformers_trunk(f"{prefix}vision_encoder.backbone.", "trunk."),
        transformers_neck(f"{prefix}vision_encoder.neck.fpn_layers.", "finder.neck."),
        transformers_text(prefix, "finder.text."),
        transformers_finder(prefix, "finder."),
    )


def _transformers_clicker(tracker: str, neck: str) -> KeyMap:
    """Name what `Sam3TrackerVideoModel` has, but for the trunk."""
    return together(
        transformers_neck(f"{neck}fpn_layers.", "clicker.neck."),
        transformers_clicker(tracker, "clicker."),
    )


# Where Meta's image model keeps the tracker.
_WITHIN = "inst_interactive_predictor.model."
# The first that fits is taken.
DIALECTS = (
    # As `Sam3VideoModel` of transformers 5 saves it.
    Dialect(
        "transformers",
        ("tracker_model.tracker_model.",),
        together(
            _transformers_finder("detector_model."),
            _transformers_clicker("tracker_model.tracker_model.", "tracker_neck."),
        ),
    ),
    # As its `Sam3TrackerModel` and `Sam3TrackerVideoModel` do.
    Dialect(
        "transformers",
        ("tracker_model.detector_model.", "tracker_model.tracker_neck."),
        together(
            transformers_trunk("tracker_model.detector_model.vision_encoder.backbone.", "trunk."),
            _transformers_clicker("tracker_model.", "tracker_model.tracker_neck."),
        ),
    ),
    # Published.
    Dialect(
        "transformers",
        ("detector_model.", "tracker_model.", "tracker_neck."),
        together(
            _transformers_finder("detector_model."),
            _transformers_clicker("tracker_model.", "tracker_neck."),
        ),
    ),
    # As `Sam3Model` saves it.
    Dialect(
        "transformers",
        ("detr_encoder.", "detr_decoder.", "dot_product_scoring.", "text_encoder.text_model."),
        _transformers_finder(""),
    ),
    # The trackers by the names that they have as modules.
    Dialect(
        "transformers",
        ("vision_encoder.backbone.layers.", "vision_encoder.backbone.embeddings."),
        together(
            transformers_trunk("vision_encoder.backbone.", "trunk."),
            _transformers_clicker("", "vision_encoder.neck."),
        ),
    ),
    # Published; and the same with perceptrons as in SAM 2, by which it can be told from the former.
    Dialect("meta", (f"tracker.{NUMBERED_MLP}",), _meta("detector.", "tracker.", numbered=True)),
    Dialect("meta", ("detector.", "tracker."), _meta("detector.", "tracker.")),
    # The image model by itself, which has what it needs of the tracker within it.
    Dialect("meta", (f"{_WITHIN}{NUMBERED_MLP}",), _meta("", _WITHIN, numbered=True)),
    Dialect(
        "meta",
        ("backbone.vision_backbone.", "backbone.language_backbone.", "segmentation_head."),
        _meta("", _WITHIN),
    ),
)
