"""Whose weights a file holds that are none of ours, by the names of a few tensors."""

from __future__ import annotations

import re
from collections.abc import Iterable

SAM31 = "SAM 3.1"
SAM31_HINT = "SAM 3.1 follows many objects by a network of its own, which is not here: take `sam3`"

# A name, or the beginning of one, that only this family has. The first that fits is taken.
_MARKS = {
    # Its tracker lies one level deeper than SAM 3's, and follows many objects at once
    # (https://github.com/facebookresearch/sam3/issues/506).
    r"tracker\.model\.": SAM31,
    r"image_encoder\.blocks\.0\.": "SAM 1",
    r"vision_encoder\.layers\.0\.attn\.": "SAM 1",
    r"image_encoder\.layers\.0\.": "MobileSAM",
    r"image_encoder\.trunk\.body\.": "EdgeTAM",
    r"(backbone\.|module\.|resnet\.)?layer1\.0\.conv1\.": "a ResNet",
    r"(module\.|model\.)?features\.0\.": "an image classifier such as VGG or MobileNet",
    r"model\.0\.(conv|cv1)\.": "YOLO",
    r"(backbone\.|module\.|vit\.)?(blocks|encoder\.layer)\.0\.": "a vision transformer",
    r"(model|language_model)\.(layers|embed_tokens)\.": "a language model",
    r"unet\.|model\.diffusion_model\.|down_blocks\.0\.": "a diffusion model",
}


def looks_like(names: Iterable[str]) -> str | None:
    """Name the family that the names of tensors are typical of, or None."""
    names = tuple(names)
    for mark, family in _MARKS.items():
        if any(re.match(mark, name) for name in names):
            return family
    return None


def is_named_sam31(name: str) -> bool:
    """Tell whether a file or a repository is called as SAM 3.1's are."""
    return name.lower().startswith("sam3.1")
