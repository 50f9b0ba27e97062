"""What others do, to be measured beside ours: transformers' SAM 2, and masks by the pixel."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64
from torch import Tensor
from torch.nn import functional

from promptseg.errors import MissingExtraError
from promptseg.geometry import Size
from promptseg.masks import RunLength
from promptseg.nn.sam2.config import Sam2Config
from promptseg.nn.sam2.model import Sam2Network
from promptseg.shapes import LogitStack
from promptseg.weights.keymaps.sam2 import TRANSFORMERS

try:
    import transformers
    from pycocotools import mask as coco
    from transformers.models.sam import image_processing_pil_sam
except ImportError as error:
    raise MissingExtraError(
        "SAM 2 is measured beside transformers and pycocotools, which are not installed",
        hint="pip install 'promptseg[dev]', on Python 3.11 or newer",
    ) from error


class Peer:
    """transformers' `Sam2Model` on a network's weights, which the two share in float32."""

    def __init__(self, network: Sam2Network) -> None:
        self.model = _hollow(network.config)
        weights = TRANSFORMERS.to_theirs(network.state_dict())
        self.model.load_state_dict(weights, assign=True)
        self.model.eval().requires_grad_(requires_grad=False)

    def encode(self, pixels: Float[Tensor, "1 3 H W"]) -> list[Tensor]:
        """Look at a normalised image once."""
        grids: list[Tensor] = self.model.get_image_embeddings(pixels)
        return grids

    def click(self, grids: list[Tensor], points: Float[Tensor, "n 2"]) -> Float[Tensor, "n 3 h w"]:
        """Answer one included point for each of `n` objects, in one batch."""
        return self.answers(grids, points)[0]

    def answers(self, grids: list[Tensor], points: Float[Tensor, "n 2"]) -> tuple[Tensor, Tensor]:
        """Do the same, with predicted IoU: `n 3 h w` and `n 3`."""
        answers = self.model(
            image_embeddings=grids,
            input_points=points[None, :, None].to(grids[0].dtype),
            input_labels=torch.ones(1, len(points), 1, dtype=torch.long),
            multimask_output=True,
        )
        return answers.pred_masks[0], answers.iou_scores[0]


class Kept(NamedTuple):
    """Masks that pass, with predicted IoU and boxes that end at their last pixel."""

    runs: list[RunLength]
    scores: Float32[np.ndarray, " k"]
    boxes: Float64[np.ndarray, "k 4"]


def filtered(
    logits: Float[Tensor, "n 3 h w"],
    scores: Float[Tensor, "n 3"],
    size: Size,
    score: float,
    stability: float,
) -> Kept:
    """Keep good masks of a whole image as transformers' mask-generation pipeline does.

    Every candidate is enlarged to the image before it is looked at (`post_process_masks`), then
    comes `filter_masks` of the processor that needs no torchvision, SAM's, whose rules are SAM 2's.
    """
    enlarged = functional.interpolate(logits, size=tuple(size), mode="bilinear")
    processor: Any = image_processing_pil_sam.SamImageProcessorPil()
    whole = [0, 0, size.width, size.height]
    runs, kept, boxes = processor.filter_masks(
        enlarged,
        scores,
        tuple(size),
        whole,
        pred_iou_thresh=score,
        stability_score_thresh=stability,
    )
    return Kept(
        [RunLength.from_coco(run) for run in runs],
        kept.numpy(),
        boxes.numpy().astype(np.float64),
    )


def coco_by_pixels(logits: LogitStack, size: Size) -> list[object]:
    """Make COCO's run lengths as most do: enlarge logits with torch, encode pixels."""
    enlarged = functional.interpolate(
        torch.from_numpy(logits)[:, None], size=tuple(size), mode="bilinear"
    )
    masks = np.asfortranarray((enlarged[:, 0] > 0).permute(1, 2, 0).numpy().astype(np.uint8))
    return [each["counts"].decode() for each in coco.encode(masks)]


def _hollow(config: Sam2Config) -> Any:
    """Make their model without weights."""
    with torch.device("meta"):
        return transformers.Sam2Model(_config(config))


def _config(config: Sam2Config) -> Any:
    """Say our sizes in transformers' words."""
    trunk, side = config.trunk, config.image_side
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": trunk.width,
        "num_attention_heads": trunk.heads,
        "image_size": [side, side],
        "window_positional_embedding_background_size": [trunk.background] * 2,
        "blocks_per_stage": list(trunk.depths),
        "embed_dim_per_stage": list(trunk.widths),
        "num_attention_heads_per_stage": [trunk.heads << stage for stage in range(4)],
        "window_size_per_stage": list(trunk.windows),
        "global_attention_blocks": list(trunk.global_blocks),
    }
    return transformers.Sam2Config(
        vision_config=transformers.Sam2VisionConfig(
            backbone_config=backbone,
            backbone_channel_list=list(reversed(trunk.widths)),
            backbone_feature_sizes=[[side // stride] * 2 for stride in (4, 8, 16)],
            fpn_hidden_size=config.channels,
        ),
        prompt_encoder_config={"hidden_size": config.channels, "image_size": side},
        mask_decoder_config={
            "hidden_size": config.channels,
            "mlp_dim": config.hidden,
            "num_attention_heads": config.heads,
            "iou_head_hidden_dim": config.channels,
        },
    )
