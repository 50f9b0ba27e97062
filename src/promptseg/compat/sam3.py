"""The public names of `sam3` for batches of images, for code that was written for it.

All of them are here, wherever `sam3` keeps them: change `import sam3` to `from promptseg.compat
import sam3`, and `from sam3... import ...` to `from promptseg.compat.sam3 import ...`. Names and
arguments are those of sam3's guide to batched inference; `docs/coming-from-sam3.md` has that
guide, and lists what differs.
"""

from __future__ import annotations

from promptseg.compat.sam3_batch import Collated, collate_fn_api, copy_data_to_device
from promptseg.compat.sam3_data import Datapoint, FindQueryLoaded, Image, InferenceMetadata
from promptseg.compat.sam3_model import Output, Sam3ImageModel, Stage, build_sam3_image_model
from promptseg.compat.sam3_results import PostProcessImage, Results, plot_results
from promptseg.compat.sam3_transforms import (
    ComposeAPI,
    NormalizeAPI,
    RandomResizeAPI,
    ToTensorAPI,
)

__all__ = [
    "Collated",
    "ComposeAPI",
    "Datapoint",
    "FindQueryLoaded",
    "Image",
    "InferenceMetadata",
    "NormalizeAPI",
    "Output",
    "PostProcessImage",
    "RandomResizeAPI",
    "Results",
    "Sam3ImageModel",
    "Stage",
    "ToTensorAPI",
    "build_sam3_image_model",
    "collate_fn_api",
    "copy_data_to_device",
    "plot_results",
]
