"""The half of SAM 3 that is clicked, but for its neck: SAM 2's tensors, some by other names.

Meta's names are those that transformers converts (Apache-2.0, `convert_sam3_video_to_hf.py` in
https://github.com/huggingface/transformers). A prefix ends with its dot, or is empty.
"""

from __future__ import annotations

from collections.abc import Mapping

from promptseg.weights.keymap import KeyMap
from promptseg.weights.keymaps import sam2

# What SAM 2 has of its own: looking at images.
_LOOKING = ("trunk.", "neck.")
# Beginnings of names of SAM 2 that Meta changed.
_MOVED = {"memory_attention.": "transformer.encoder.", "memory_encoder.": "maskmem_backbone."}
# Layers of the decoder's perceptrons, which are numbered as in SAM 2 or have names.
_MLP = "sam_mask_decoder.transformer.layers.{}.mlp."
NUMBERED_MLP = _MLP.format(0) + "layers."
_NUMBERED, _NAMED = ("layers.0", "layers.1"), ("lin1", "lin2")


def meta_clicker(theirs: str, ours: str, *, numbered: bool) -> KeyMap:
    """Name all that prompts and memory need."""
    rules = {name: new for name, new in sam2.META.renames.items() if not name.startswith(_MLP)}
    layers = zip(_NUMBERED if numbered else _NAMED, _NUMBERED, strict=True)
    rules |= {
        f"{_MLP}{name}.{{}}": f"mask_decoder.transformer.layers.{{}}.mlp.{new}.{{}}"
        for name, new in layers
    }
    return KeyMap(
        renames=_named(theirs, ours, rules), stacks=_named(theirs, ours, sam2.META.stacks)
    )


def transformers_clicker(theirs: str, ours: str) -> KeyMap:
    """Name all that prompts and memory need."""
    return KeyMap(
        renames=_named(theirs, ours, sam2.TRANSFORMERS.renames, moved={}),
        copies={
            f"{theirs}{copy}": f"{theirs}{original}"
            for copy, original in sam2.TRANSFORMERS.copies.items()
        },
    )


def _named(
    theirs: str, ours: str, rules: Mapping[str, str], moved: Mapping[str, str] = _MOVED
) -> dict[str, str]:
    return {
        f"{theirs}{_moved(name, moved)}": f"{ours}{new}"
        for name, new in rules.items()
        if not new.startswith(_LOOKING)
    }


def _moved(name: str, moved: Mapping[str, str]) -> str:
    for before, after in moved.items():
        if name.startswith(before):
            return after + name.removeprefix(before)
    return name
