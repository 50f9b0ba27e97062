"""SAM 2 as transformers has it, made to follow Meta's release where the two differ."""

from __future__ import annotations

import torch
from transformers import Sam2Config as ReferenceConfig
from transformers import Sam2Model
from transformers.models.sam2.configuration_sam2 import (
    Sam2HieraDetConfig,
    Sam2MaskDecoderConfig,
    Sam2PromptEncoderConfig,
    Sam2VisionConfig,
)

from promptseg.nn.outputs import ImageFeatures, MaskLogits, PromptTensors
from promptseg.nn.sam2.config import Sam2Config
from promptseg.nn.sam2.model import Sam2Network
from promptseg.weights.keymaps.sam2 import TRANSFORMERS


def reference_config(config: Sam2Config) -> ReferenceConfig:
    trunk, side = config.trunk, config.image_side
    return ReferenceConfig(
        vision_config=Sam2VisionConfig(
            backbone_config=Sam2HieraDetConfig(
                hidden_size=trunk.width,
                num_attention_heads=trunk.heads,
                image_size=[side, side],
                window_positional_embedding_background_size=[trunk.background] * 2,
                blocks_per_stage=list(trunk.depths),
                embed_dim_per_stage=list(trunk.widths),
                num_attention_heads_per_stage=[trunk.heads << i for i in range(4)],
                window_size_per_stage=list(trunk.windows),
                global_attention_blocks=list(trunk.global_blocks),
            ),
            backbone_channel_list=list(reversed(trunk.widths)),
            backbone_feature_sizes=[[side // stride] * 2 for stride in (4, 8, 16)],
            fpn_hidden_size=config.channels,
        ),
        prompt_encoder_config=Sam2PromptEncoderConfig(
            hidden_size=config.channels, image_size=side, patch_size=16
        ),
        mask_decoder_config=Sam2MaskDecoderConfig(
            hidden_size=config.channels,
            mlp_dim=config.hidden,
            num_attention_heads=config.heads,
            iou_head_hidden_dim=config.channels,
        ),
    )


class Reference:
    """The same weights in transformers' implementation, with our tensors in and out."""

    def __init__(self, network: Sam2Network) -> None:
        with torch.device("meta"):
            self.model = Sam2Model(reference_config(network.config))
        self.model.load_state_dict(TRANSFORMERS.to_theirs(network.state_dict()), assign=True)
        self.model.eval()

    def encode(self, pixels) -> ImageFeatures:
        grids = self.model.get_image_features(pixels, return_dict=True).fpn_hidden_states
        sizes = self.model.backbone_feature_sizes
        grids = [grids[0], grids[1], grids[2] + self.model.no_memory_embedding]
        return ImageFeatures(
            tuple(
                grid.permute(1, 2, 0).unflatten(2, size)
                for grid, size in zip(grids, sizes, strict=True)
            )
        )

    def decode(self, features: ImageFeatures, prompts: PromptTensors) -> MaskLogits:
        """All candidates, object by object, as neither padding nor an empty prompt is Meta's."""
        rows = range(len(prompts.points))
        alone = [
            self._decode(features, PromptTensors(*(each[i : i + 1] for each in prompts)))
            for i in rows
        ]
        return MaskLogits(*(torch.cat(each) for each in zip(*alone, strict=True)))

    def single(self, features: ImageFeatures, prompts: PromptTensors) -> MaskLogits:
        """The one mask of the fallback by stability, for one object."""
        return self._run(features, prompts, multimask_output=False)

    def _decode(self, features, prompts) -> MaskLogits:
        others = self._run(features, prompts, multimask_output=True)
        self.model.mask_decoder.dynamic_multimask_via_stability = False
        first = self._run(features, prompts, multimask_output=False)
        self.model.mask_decoder.dynamic_multimask_via_stability = True
        return MaskLogits(
            torch.cat([first.logits, others.logits], dim=1),
            torch.cat([first.scores, others.scores], dim=1),
            others.presence,
        )

    def _run(self, features, prompts, *, multimask_output) -> MaskLogits:
        given = prompts.labels[0] >= 0
        sparse, dense = self.model.prompt_encoder(
            input_points=prompts.points[:, None, given] if given.any() else None,
            input_labels=prompts.labels[:, None, given] if given.any() else None,
            input_boxes=prompts.boxes[:, None] if prompts.boxed.all() else None,
            input_masks=prompts.hints[:, None] if prompts.hinted.all() else None,
        )
        if sparse is None:
            # `Sam2Model.forward` would say "not a point" here; Meta's predictor says nothing.
            sparse = dense.new_zeros(1, 1, 0, dense.shape[1])
        logits, scores, _, presence = self.model.mask_decoder(
            image_embeddings=features.grids[2],
            image_positional_embeddings=self.model.get_image_wide_positional_embeddings(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=multimask_output,
            high_resolution_features=list(features.grids[:2]),
        )
        return MaskLogits(logits[0], scores[0], presence[0, :, 0])
