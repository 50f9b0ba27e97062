"""What others do, to be measured beside ours: transformers' SAM 2 and 3, and masks by the pixel."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64
from torch import Tensor
from torch.nn import functional

from promptseg.errors import MissingExtraError
from promptseg.geometry import Size
from promptseg.masks import RunLength
from promptseg.nn.sam2.config import Sam2Config
from promptseg.nn.sam2.model import Sam2Network
from promptseg.nn.sam3.config import Sam3Config
from promptseg.nn.sam3.model import Sam3Finder
from promptseg.shapes import LogitStack
from promptseg.weights.keymaps.sam2 import TRANSFORMERS
from promptseg.weights.keymaps.sam3 import dialect_of

try:
    import transformers
    from pycocotools import mask as coco
    from transformers.initialization import no_init_weights
    from transformers.modeling_outputs import BaseModelOutputWithPooling
    from transformers.models.sam import image_processing_pil_sam
    from transformers.models.sam3.modeling_sam3 import Sam3VisionEncoderOutput
except ImportError as error:
    raise MissingExtraError(
        "SAM 2 and 3 are measured beside transformers and pycocotools, which are not installed",
        hint="pip install 'promptseg[dev]', on Python 3.11 or newer",
    ) from error

# transformers' label of a box that is none.
_NO_BOX = -10


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


class FindingPeer:
    """transformers' `Sam3Model` on a network's weights, which the two share.

    What it does for an image and for phrases once is kept by the caller (`look`, `read`), as its
    documentation says one may. `faithful` makes it answer as Meta's release does, for the masks to
    be compared: norms of the trunk have another epsilon, presence has no bound, and a question of
    words alone has the token of the whole image, which takes a box that is none.
    """

    def __init__(self, network: Sam3Finder, *, faithful: bool = False) -> None:
        self.model = _uninitialised(network.config)
        known = self.model.state_dict()
        dialect = dialect_of(known)
        assert dialect is not None
        weights = dialect.keymap.to_theirs(network.state_dict())
        weights |= {name: torch.zeros_like(known[name]) for name in dialect.keymap.idle(known)}
        self.model.load_state_dict(weights, assign=True)
        self.model.to(dtype=next(network.parameters()).dtype).eval()
        self.model.requires_grad_(requires_grad=False)
        self.faithful = faithful
        if faithful:
            self.model.detr_decoder.clamp_presence_logit_max_val = math.inf
            for module in self.model.vision_encoder.backbone.modules():
                if isinstance(module, torch.nn.LayerNorm):
                    module.eps = 1e-5

    def look(self, pixels: Float[Tensor, "1 3 H W"]) -> Any:
        """Look at a normalised image once."""
        return self.model.get_vision_features(pixels)

    def read(self, ids: Tensor, attended: Tensor) -> Tensor:
        """Read phrases once: token by token."""
        features: Tensor = self.model.get_text_features(ids, attention_mask=attended).pooler_output
        return features

    def find(self, seen: Any, phrases: Tensor, attended: Tensor) -> Any:
        """Answer phrases on an image in one batch; every question needs the image of its own."""
        count = len(phrases)
        image = Sam3VisionEncoderOutput(
            fpn_hidden_states=_expanded(seen.fpn_hidden_states, count),
            fpn_position_encoding=_expanded(seen.fpn_position_encoding, count),
        )
        asked = {
            "vision_embeds": image,
            "text_embeds": BaseModelOutputWithPooling(pooler_output=phrases),
            "attention_mask": attended,
        }
        if not self.faithful:
            return self.model(**asked)
        with _without_pooling():
            return self.model(
                **asked,
                input_boxes=phrases.new_zeros(count, 1, 4),
                input_boxes_labels=torch.full((count, 1), _NO_BOX),
            )

    def draw(
        self, answer: Any, row: int, slots: Sequence[int], size: Size
    ) -> Bool[Tensor, "k H W"]:
        """Make the masks of some slots of one question.

        `post_process_instance_segmentation` of transformers needs torchvision, so its steps are
        here: all masks become probabilities, those that are kept are enlarged and compared with a
        half. They come as integers of 8 bytes, and whoever keeps them makes them bits. Meta's
        release enlarges logits.
        """
        masks, bar = answer.pred_masks[row], 0.0
        if not self.faithful:
            masks, bar = masks.sigmoid(), 0.5
        if not slots:
            return torch.zeros(0, *size, dtype=torch.bool)
        kept = masks[list(slots)][None]
        enlarged = functional.interpolate(kept, size=tuple(size), mode="bilinear")[0]
        return (enlarged > bar).to(torch.long).bool()


def scores_of(answer: Any) -> Float[Tensor, "n q"]:
    """Return the scores of all slots."""
    scores: Tensor = answer.pred_logits.sigmoid() * answer.presence_logits.sigmoid()
    return scores


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


def _uninitialised(config: Sam3Config) -> Any:
    """Make their model with memory that nothing has been written to; buffers are made."""
    with no_init_weights():
        return transformers.Sam3Model(_finding_config(config))


def _finding_config(config: Sam3Config) -> Any:
    """Say our sizes of SAM 3 in transformers' words."""
    own, trunk, side = config.finder, config.trunk, config.grid_side
    assert own is not None
    sizes = {
        "hidden_size": config.channels,
        "num_attention_heads": config.heads,
        "intermediate_size": config.hidden,
    }
    return transformers.Sam3Config(
        vision_config={
            "model_type": "sam3_vision_model",
            "fpn_hidden_size": config.channels,
            "backbone_feature_sizes": [[times * side] * 2 for times in (4, 2, 1)],
            "backbone_config": {
                "model_type": "sam3_vit_model",
                "hidden_size": trunk.width,
                "intermediate_size": trunk.hidden,
                "num_hidden_layers": trunk.depth,
                "num_attention_heads": trunk.heads,
                "image_size": config.image_side,
                "patch_size": trunk.patch,
                "window_size": trunk.window,
                "global_attn_indexes": list(trunk.global_blocks),
                "pretrain_image_size": trunk.background * trunk.patch,
            },
        },
        text_config={
            "model_type": "clip_text_model",
            "vocab_size": own.text.vocabulary,
            "hidden_size": own.text.width,
            "intermediate_size": own.text.hidden,
            "projection_dim": own.text.width // 2,
            "num_hidden_layers": own.text.depth,
            "num_attention_heads": own.text.heads,
            "max_position_embeddings": own.text.context,
            "hidden_act": "gelu",
            # No token of ours; they serve what makes text, and have to be in the vocabulary.
            "bos_token_id": own.text.vocabulary - 2,
            "eos_token_id": own.text.vocabulary - 1,
        },
        geometry_encoder_config={**sizes, "num_layers": own.exemplar_layers, "roi_size": own.roi},
        detr_encoder_config={**sizes, "num_layers": own.fusion_layers},
        detr_decoder_config={
            **sizes,
            "num_layers": own.detector_layers,
            "num_queries": own.queries,
        },
        mask_decoder_config={"hidden_size": config.channels, "num_attention_heads": config.heads},
    )


def _expanded(maps: Sequence[Tensor], count: int) -> tuple[Tensor, ...]:
    return tuple(each.expand(count, -1, -1, -1) for each in maps)


@contextmanager
def _without_pooling() -> Iterator[None]:
    """Spare transformers torchvision, of which it needs what lies in a box; here none counts."""

    def nothing(maps: Tensor, boxes: Sequence[Tensor], side: int) -> Tensor:
        return maps.new_zeros(sum(map(len, boxes)), maps.shape[1], side, side)

    module: Any = sys.modules[transformers.Sam3Model.__module__]
    before = getattr(module, "torchvision", None)
    module.torchvision = SimpleNamespace(ops=SimpleNamespace(roi_align=nothing))
    try:
        yield
    finally:
        module.torchvision = before
