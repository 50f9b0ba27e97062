"""SAM 2 as transformers has it, made to follow Meta's release where the two differ."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers import Sam2Config as ReferenceImageConfig
from transformers import Sam2VideoConfig as ReferenceConfig
from transformers import Sam2VideoModel
from transformers.models.sam2.configuration_sam2 import (
    Sam2HieraDetConfig,
    Sam2MaskDecoderConfig,
    Sam2PromptEncoderConfig,
    Sam2VisionConfig,
)
from transformers.models.sam2_video.configuration_sam2_video import (
    Sam2VideoMaskDecoderConfig,
    Sam2VideoPromptEncoderConfig,
)
from transformers.models.sam2_video.modeling_sam2_video import (
    Sam2VideoInferenceSession,
    Sam2VideoVisionRotaryEmbedding,
)

from promptseg.nn.outputs import ImageFeatures, MaskLogits, PromptTensors
from promptseg.nn.sam2.config import Sam2Config
from promptseg.nn.sam2.model import Sam2Network
from promptseg.weights.keymaps.sam2 import TRANSFORMERS

# Frames by their number, each with its memory `c h w` and its pointer.
Frames = Mapping[int, tuple[Tensor, Tensor]]


def reference_config(config: Sam2Config) -> ReferenceConfig:
    memory, side = config.memory, config.image_side
    return ReferenceConfig(
        vision_config=_vision(config),
        prompt_encoder_config=Sam2VideoPromptEncoderConfig(**_prompts(config)),
        mask_decoder_config=Sam2VideoMaskDecoderConfig(**_decoder(config)),
        image_size=side,
        num_maskmem=memory.slots,
        enable_occlusion_spatial_embedding=memory.version == "2.1",
        enable_temporal_pos_encoding_for_object_pointers=memory.version == "2.1",
        memory_attention_hidden_size=config.channels,
        memory_attention_num_layers=memory.layers,
        memory_attention_feed_forward_hidden_size=memory.hidden,
        memory_attention_rope_feat_sizes=[config.prompt_side] * 2,
        memory_encoder_hidden_size=config.channels,
        memory_encoder_output_channels=memory.channels,
        mask_downsampler_embed_dim=config.channels,
        memory_fuser_num_layers=memory.blocks,
        memory_fuser_embed_dim=config.channels,
        memory_fuser_intermediate_dim=4 * config.channels,
    )


def reference_image_config(config: Sam2Config) -> ReferenceImageConfig:
    """The sizes of `Sam2Model`, which knows nothing of memory."""
    return ReferenceImageConfig(
        vision_config=_vision(config),
        prompt_encoder_config=Sam2PromptEncoderConfig(**_prompts(config)),
        mask_decoder_config=Sam2MaskDecoderConfig(**_decoder(config)),
    )


def hollow_reference(config: Sam2Config) -> Sam2VideoModel:
    """The reference without weights, for a memory of any width: its own is always 64 wide."""
    with torch.device("meta"):
        model = Sam2VideoModel(reference_config(config))
        for layer in model.memory_attention.layers:
            attention = layer.cross_attn_image
            attention.k_proj = nn.Linear(config.memory.channels, config.channels)
            attention.v_proj = nn.Linear(config.memory.channels, config.channels)
    return model


def _vision(config: Sam2Config) -> Sam2VisionConfig:
    trunk, side = config.trunk, config.image_side
    return Sam2VisionConfig(
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
    )


def _prompts(config: Sam2Config) -> dict[str, int]:
    return {"hidden_size": config.channels, "image_size": config.image_side, "patch_size": 16}


def _decoder(config: Sam2Config) -> dict[str, int]:
    return {
        "hidden_size": config.channels,
        "mlp_dim": config.hidden,
        "num_attention_heads": config.heads,
        "iou_head_hidden_dim": config.channels,
    }


class Reference:
    """The same weights in transformers' implementation, with our tensors in and out."""

    def __init__(self, network: Sam2Network) -> None:
        self.model = hollow_reference(network.config)
        self.model.load_state_dict(TRANSFORMERS.to_theirs(network.state_dict()), assign=True)
        self.model.eval()
        # What is in no file has been left without numbers.
        attention = self.model.memory_attention
        attention.rotary_emb = Sam2VideoVisionRotaryEmbedding(self.model.config)
        attention.position_ids = attention.precompute_positions(self.model.config)

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

    def remember(self, image, masks, presence, *, prompted: bool):
        """Memories of one image, as tokens in bfloat16, and their positions."""
        tokens = image.flatten(2).permute(2, 0, 1).expand(-1, len(masks), -1)
        memories, places = self.model._encode_new_memory(
            tokens, masks[:, None], presence[:, None, None], is_mask_from_pts=prompted
        )
        return memories.permute(1, 2, 0), places.permute(1, 2, 0)

    def recall(self, image, now: int, frames: int, prompted: Frames, tracked: Frames):
        """What the grid of frame `now` of `frames` becomes, in a session that has seen the others.

        Both kinds of frames have the memory and the pointer of one object.
        """
        session = Sam2VideoInferenceSession(torch.zeros(frames, 1), dtype=torch.float32)
        session.output_dict_per_obj[0] = {
            "cond_frame_outputs": self._outputs(prompted),
            "non_cond_frame_outputs": self._outputs(tracked),
        }
        encoding = self.model.vision_encoder.neck.position_encoding
        places = encoding(image.shape, image.device, image.dtype)
        return self.model._prepare_memory_conditioned_features(
            session,
            frame_idx=now,
            obj_idx=0,
            is_initial_conditioning_frame=False,
            current_vision_features=image.flatten(2).permute(2, 0, 1),
            current_vision_positional_embeddings=places.flatten(2).permute(2, 0, 1),
            num_total_frames=frames,
        )

    def _outputs(self, frames: Frames):
        encoding = self.model.memory_encoder.position_encoding
        return {
            frame: {
                "maskmem_features": grid[None].flatten(2).permute(2, 0, 1),
                "maskmem_pos_enc": encoding(grid[None].shape, grid.device, torch.float32)
                .flatten(2)
                .permute(2, 0, 1),
                "object_pointer": pointer[None],
            }
            for frame, (grid, pointer) in frames.items()
        }

    def point(self, grids, presence: float):
        """The token and the pointer of an object in one image, as sure as told to be there."""
        seen = []

        def judge(module, inputs, outputs):
            seen.append(outputs[2][:, 0, 0])
            return (*outputs[:3], torch.full_like(outputs[3], presence))

        with self._hooked(self.model.mask_decoder.register_forward_hook(judge)):
            answer = self.model._single_frame_forward(
                image_embeddings=grids, multimask_output=False
            )
        return seen[0], answer.object_pointer[:, 0]

    def hint(self, grids, masks):
        """What the prompt encoder gets for a mask that was given as the answer."""
        seen = []
        hook = self.model.prompt_encoder.mask_embed.register_forward_pre_hook(
            lambda module, inputs: seen.append(inputs[0])
        )
        with self._hooked(hook):
            self.model._use_mask_as_output(grids[2], grids[:2], masks[:, None])
        return seen[0][:, 0]

    @staticmethod
    @contextmanager
    def _hooked(hook):
        try:
            yield
        finally:
            hook.remove()

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
