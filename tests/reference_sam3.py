"""SAM 3 as transformers has it, made to follow Meta's release where the two differ.

There are the network that finds, and the tracker, which is clicked; both with our weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import contextmanager
from types import SimpleNamespace

import torch
from torch import Tensor, nn
from transformers import (
    Sam3Config as ReferenceConfig,
)
from transformers import (
    Sam3Model,
    Sam3TrackerConfig,
    Sam3TrackerModel,
    Sam3TrackerVideoConfig,
    Sam3VideoConfig,
)
from transformers.models.sam3 import modeling_sam3
from transformers.models.sam3.modeling_sam3 import Sam3VisionEncoderOutput

from plain_sam3_finder import plain_roi_align
from promptseg.nn.outputs import Examples, MaskLogits, PromptTensors
from promptseg.nn.sam3.config import Sam3Config
from promptseg.nn.sam3.model import Sam3Network
from promptseg.nn.sam3.tokenizer import TokenIds
from promptseg.weights.keymaps.sam3 import DIALECTS

# Where Meta's release has 1e-5, transformers has 1e-6.
EPSILON = 1e-5
# transformers' label of a box that is none.
NO_BOX = -10


def image_config(config: Sam3Config) -> ReferenceConfig:
    """The sizes of `Sam3Model`."""
    own = config.finder
    sizes = {
        "hidden_size": config.channels,
        "num_attention_heads": config.heads,
        "intermediate_size": config.hidden,
    }
    return ReferenceConfig(
        vision_config=_vision(config),
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


def tracker_config(config: Sam3Config) -> Sam3TrackerConfig:
    """The sizes of `Sam3TrackerModel`, which knows nothing of memory."""
    return Sam3TrackerConfig(vision_config=_vision(config), **_clicks(config))


def video_tracker_config(config: Sam3Config) -> Sam3TrackerVideoConfig:
    """The sizes of `Sam3TrackerVideoModel`."""
    memory = config.clicker.memory
    return Sam3TrackerVideoConfig(
        vision_config=_vision(config),
        **_clicks(config),
        image_size=config.image_side,
        num_maskmem=memory.slots,
        memory_attention_hidden_size=config.channels,
        memory_attention_num_layers=memory.layers,
        memory_attention_feed_forward_hidden_size=memory.hidden,
        memory_encoder_hidden_size=config.channels,
        memory_encoder_output_channels=memory.channels,
        mask_downsampler_embed_dim=config.channels,
        memory_fuser_num_layers=memory.blocks,
        memory_fuser_embed_dim=config.channels,
        memory_fuser_intermediate_dim=4 * config.channels,
    )


def video_config(config: Sam3Config) -> Sam3VideoConfig:
    """The sizes of `Sam3VideoModel`, which is the whole."""
    return Sam3VideoConfig(
        detector_config=image_config(config).to_dict(),
        tracker_config=video_tracker_config(config).to_dict(),
    )


def _vision(config: Sam3Config) -> dict[str, object]:
    trunk, side = config.trunk, config.grid_side
    return {
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
    }


def _clicks(config: Sam3Config) -> dict[str, dict[str, int]]:
    return {
        "prompt_encoder_config": {
            "hidden_size": config.channels,
            "image_size": config.image_side,
            "patch_size": config.trunk.patch,
        },
        "mask_decoder_config": {
            "hidden_size": config.channels,
            "mlp_dim": config.hidden,
            "num_attention_heads": config.heads,
            "iou_head_hidden_dim": config.channels,
        },
    }


def filled(model: nn.Module, network: Sam3Network, mark: str) -> nn.Module:
    """Give a model our weights, by the dialect that a beginning of names marks.

    What plays no part is zero there.
    """
    keymap = next(dialect.keymap for dialect in DIALECTS if mark in dialect.marks)
    known = model.state_dict()
    idle = {name: torch.zeros_like(known[name]) for name in keymap.idle(known)}
    model.load_state_dict({**keymap.to_theirs(network.state_dict()), **idle})
    for module in model.vision_encoder.backbone.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = EPSILON
    return model.eval().requires_grad_(requires_grad=False)


class Found:
    """The network that finds, with the weights of ours that has no other half."""

    def __init__(self, network: Sam3Network) -> None:
        self.model = filled(Sam3Model(image_config(network.config)), network, "detr_encoder.")
        self.model.detr_decoder.clamp_presence_logit_max_val = math.inf
        self.side = network.config.image_side

    def __call__(self, pixels: Tensor, tokens: TokenIds, examples: Examples):
        """Ask `n` questions of one image; each has a box of padding, and so the image's token."""
        count = len(tokens.ids)
        shares = examples.boxes / self.side
        middles = (shares[..., :2] + shares[..., 2:]) / 2
        boxes = torch.cat([middles, shares[..., 2:] - shares[..., :2]], dim=2)
        labels = torch.where(examples.labels < 0, NO_BOX, examples.labels)
        with _pooling(), torch.inference_mode():
            seen = self.model.get_vision_features(pixels)
            return self.model(
                vision_embeds=Sam3VisionEncoderOutput(
                    fpn_hidden_states=_repeated(seen.fpn_hidden_states, count),
                    fpn_position_encoding=_repeated(seen.fpn_position_encoding, count),
                ),
                input_ids=tokens.ids,
                attention_mask=tokens.attended.long(),
                input_boxes=torch.cat([boxes, torch.zeros(count, 1, 4)], dim=1),
                input_boxes_labels=torch.cat([labels, torch.full((count, 1), NO_BOX)], dim=1),
            )


class Clicked:
    """The tracker, with the weights of ours that has neither another half nor a memory."""

    def __init__(self, network: Sam3Network) -> None:
        model = Sam3TrackerModel(tracker_config(network.config))
        self.model = filled(model, network, "vision_encoder.backbone.layers.")

    def encode(self, pixels: Tensor) -> list[Tensor]:
        """The three maps; what says that nothing is remembered is added to the coarsest of them.

        The model itself adds it to a fourth one, of half the side, that nothing reads. The model
        of videos leaves that one out before, as Meta's release does.
        """
        maps = self.model.get_image_features(pixels, return_dict=True).fpn_hidden_states[:3]
        maps[2] = maps[2] + self.model.no_memory_embedding
        sizes = self.model.backbone_feature_sizes
        return [
            each.permute(1, 2, 0).unflatten(2, size) for each, size in zip(maps, sizes, strict=True)
        ]

    def decode(self, grids: list[Tensor], prompts: PromptTensors) -> MaskLogits:
        """All candidates, object by object, as neither padding nor an empty prompt is Meta's."""
        alone = [
            self._decode(grids, PromptTensors(*(each[i : i + 1] for each in prompts)))
            for i in range(len(prompts.points))
        ]
        return MaskLogits(*(torch.cat(each) for each in zip(*alone, strict=True)))

    def _decode(self, grids: list[Tensor], prompts: PromptTensors) -> MaskLogits:
        others = self._run(grids, prompts, multimask_output=True)
        self.model.mask_decoder.dynamic_multimask_via_stability = False
        first = self._run(grids, prompts, multimask_output=False)
        return MaskLogits(
            torch.cat([first.logits, others.logits], dim=1),
            torch.cat([first.scores, others.scores], dim=1),
            others.presence,
        )

    def _run(self, grids, prompts, *, multimask_output) -> MaskLogits:
        given = prompts.labels[0] >= 0
        sparse, dense = self.model.prompt_encoder(
            input_points=prompts.points[:, None, given] if given.any() else None,
            input_labels=prompts.labels[:, None, given] if given.any() else None,
            input_boxes=prompts.boxes[:, None] if prompts.boxed.all() else None,
            input_masks=prompts.hints[:, None] if prompts.hinted.all() else None,
        )
        if sparse is None:
            # The model would say "not a point" here; Meta's predictor says nothing.
            sparse = dense.new_zeros(1, 1, 0, dense.shape[1])
        logits, scores, _, presence = self.model.mask_decoder(
            image_embeddings=grids[2],
            image_positional_embeddings=self.model.get_image_wide_positional_embeddings(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=multimask_output,
            high_resolution_features=grids[:2],
        )
        return MaskLogits(logits[0], scores[0], presence[0, :, 0])


def _repeated(maps: Sequence[Tensor], count: int) -> tuple[Tensor, ...]:
    """One image for each of some questions."""
    return tuple(each.expand(count, -1, -1, -1) for each in maps)


@contextmanager
def _pooling():
    """Give transformers the one operation of torchvision that it needs."""
    before = getattr(modeling_sam3, "torchvision", None)
    modeling_sam3.torchvision = SimpleNamespace(ops=SimpleNamespace(roi_align=plain_roi_align))
    try:
        yield
    finally:
        modeling_sam3.torchvision = before
