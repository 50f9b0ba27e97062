"""`sam2`'s public names for images, for code that was written for it.

Change `from sam2.build_sam import build_sam2`, `from sam2.sam2_image_predictor import
SAM2ImagePredictor` and `from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator` to
`from promptseg.compat.sam2 import ...`. Names, arguments, shapes and dtypes
are those of https://github.com/facebookresearch/sam2; `docs/coming-from-sam2.md` lists what
differs.
"""

from __future__ import annotations

from promptseg.compat.built import Sam2, build_sam2, build_sam2_hf
from promptseg.compat.generator import SAM2AutomaticMaskGenerator
from promptseg.compat.predictor import Prediction, Predictions, SAM2ImagePredictor

__all__ = [
    "Prediction",
    "Predictions",
    "SAM2AutomaticMaskGenerator",
    "SAM2ImagePredictor",
    "Sam2",
    "build_sam2",
    "build_sam2_hf",
]
