"""SAM 2's tensors as Meta publishes them (`.pt`) and as transformers does (`.safetensors`)."""

from __future__ import annotations

from collections.abc import Mapping

from promptseg.weights.keymap import KeyMap

# Parts of names in both layouts, with ours.
_TRANSFORMER = "mask_decoder.transformer"
_ATTENTIONS = {
    "layers.{}.self_attn": "layers.{}.mixing.attention",
    "layers.{}.cross_attn_token_to_image": "layers.{}.tokens_to_image",
    "layers.{}.cross_attn_image_to_token": "layers.{}.image_to_tokens",
    "final_attn_token_to_image": "tokens_to_image",
}
_NORMS = {1: "mixing.norm", 2: "read_norm", 3: "mlp_norm", 4: "write_norm"}
_PERCEPTRONS = {
    "mask_decoder.output_hypernetworks_mlps.{}": "mask_decoder.mask_heads.{}",
    "mask_decoder.iou_prediction_head": "mask_decoder.score_head",
    "mask_decoder.pred_obj_score_head": "mask_decoder.presence_head",
}
# Names that both layouts share but for what stands before them.
_SHARED_TRUNK = {
    "pos_embed": "trunk.background",
    "pos_embed_window": "trunk.window",
    "blocks.{}.attn.qkv.{}": "trunk.blocks.{}.attention.qkv.{}",
    "blocks.{}.attn.proj.{}": "trunk.blocks.{}.attention.out.{}",
    "blocks.{}.proj.{}": "trunk.blocks.{}.shortcut.{}",
}
_SHARED_PROMPTS = {
    "not_a_point_embed.weight": "prompt_encoder.end",
    "no_mask_embed.weight": "prompt_encoder.no_hint",
}
_SHARED_DECODER = {
    "obj_score_token.weight": "mask_decoder.presence_token",
    "iou_token.weight": "mask_decoder.score_token",
    "mask_tokens.weight": "mask_decoder.mask_tokens",
    "conv_s0.{}": "mask_decoder.narrow4.{}",
    "conv_s1.{}": "mask_decoder.narrow8.{}",
}


def _behind(prefix: str, rules: Mapping[str, str]) -> dict[str, str]:
    return {f"{prefix}.{theirs}": ours for theirs, ours in rules.items()}


def _attentions(prefix: str, out: str) -> dict[str, str]:
    parts = {"q_proj": "queries", "k_proj": "keys", "v_proj": "values", out: "out"}
    return {
        f"{prefix}.{theirs}.{part}.{{}}": f"{_TRANSFORMER}.{ours}.{name}.{{}}"
        for theirs, ours in _ATTENTIONS.items()
        for part, name in parts.items()
    }


def _norms(prefix: str, norm: str) -> dict[str, str]:
    return {
        f"{prefix}.layers.{{}}.{norm}{i}.{{}}": f"{_TRANSFORMER}.layers.{{}}.{ours}.{{}}"
        for i, ours in _NORMS.items()
    }


def _perceptron(theirs: str, ours: str, *names: str) -> dict[str, str]:
    """Name the layers of a perceptron one by one, as transformers does."""
    return {f"{theirs}.{each}.{{}}": f"{ours}.layers.{i}.{{}}" for i, each in enumerate(names)}


META = KeyMap(
    renames={
        **_behind("image_encoder.trunk", _SHARED_TRUNK),
        "image_encoder.trunk.patch_embed.proj.{}": "trunk.patches.{}",
        "image_encoder.trunk.blocks.{}.norm1.{}": "trunk.blocks.{}.norm1.{}",
        "image_encoder.trunk.blocks.{}.norm2.{}": "trunk.blocks.{}.norm2.{}",
        "image_encoder.trunk.blocks.{}.mlp.layers.{}.{}": "trunk.blocks.{}.mlp.layers.{}.{}",
        "image_encoder.neck.convs.{}.conv.{}": "neck.laterals.{}.{}",
        "no_mem_embed": "no_memory",
        **_behind("sam_prompt_encoder", _SHARED_PROMPTS),
        "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix": (
            "prompt_encoder.positions.frequencies"
        ),
        "sam_prompt_encoder.mask_downscaling.{}.{}": "prompt_encoder.hint.{}.{}",
        **_behind("sam_mask_decoder", _SHARED_DECODER),
        **_attentions("sam_mask_decoder.transformer", "out_proj"),
        **_norms("sam_mask_decoder.transformer", "norm"),
        "sam_mask_decoder.transformer.norm_final_attn.{}": f"{_TRANSFORMER}.norm.{{}}",
        "sam_mask_decoder.transformer.layers.{}.mlp.layers.{}.{}": (
            f"{_TRANSFORMER}.layers.{{}}.mlp.layers.{{}}.{{}}"
        ),
        "sam_mask_decoder.output_upscaling.0.{}": "mask_decoder.upscale8.{}",
        "sam_mask_decoder.output_upscaling.1.{}": "mask_decoder.norm8.{}",
        "sam_mask_decoder.output_upscaling.3.{}": "mask_decoder.upscale4.{}",
        **{
            f"sam_{theirs}.layers.{{}}.{{}}": f"{ours}.layers.{{}}.{{}}"
            for theirs, ours in _PERCEPTRONS.items()
        },
    },
    stacks={"sam_prompt_encoder.point_embeddings.{}.weight": "prompt_encoder.labels"},
    unread=(
        "mask_downsample",
        "maskmem_tpos_enc",
        "memory_attention",
        "memory_encoder",
        "no_mem_pos_enc",
        "no_obj_embed_spatial",
        "no_obj_ptr",
        "obj_ptr_proj",
        "obj_ptr_tpos_proj",
    ),
)

TRANSFORMERS = KeyMap(
    renames={
        **_behind("vision_encoder.backbone", _SHARED_TRUNK),
        "vision_encoder.backbone.patch_embed.projection.{}": "trunk.patches.{}",
        "vision_encoder.backbone.blocks.{}.layer_norm1.{}": "trunk.blocks.{}.norm1.{}",
        "vision_encoder.backbone.blocks.{}.layer_norm2.{}": "trunk.blocks.{}.norm2.{}",
        **_perceptron(
            "vision_encoder.backbone.blocks.{}.mlp", "trunk.blocks.{}.mlp", "proj_in", "proj_out"
        ),
        "vision_encoder.neck.convs.{}.{}": "neck.laterals.{}.{}",
        "no_memory_embedding": "no_memory",
        **_behind("prompt_encoder", _SHARED_PROMPTS),
        "prompt_encoder.shared_embedding.positional_embedding": (
            "prompt_encoder.positions.frequencies"
        ),
        "prompt_encoder.point_embed.weight": "prompt_encoder.labels",
        "prompt_encoder.mask_embed.conv1.{}": "prompt_encoder.hint.0.{}",
        "prompt_encoder.mask_embed.layer_norm1.{}": "prompt_encoder.hint.1.{}",
        "prompt_encoder.mask_embed.conv2.{}": "prompt_encoder.hint.3.{}",
        "prompt_encoder.mask_embed.layer_norm2.{}": "prompt_encoder.hint.4.{}",
        "prompt_encoder.mask_embed.conv3.{}": "prompt_encoder.hint.6.{}",
        **_behind("mask_decoder", _SHARED_DECODER),
        **_attentions("mask_decoder.transformer", "o_proj"),
        **_norms("mask_decoder.transformer", "layer_norm"),
        "mask_decoder.transformer.layer_norm_final_attn.{}": f"{_TRANSFORMER}.norm.{{}}",
        **_perceptron(
            "mask_decoder.transformer.layers.{}.mlp",
            f"{_TRANSFORMER}.layers.{{}}.mlp",
            "proj_in",
            "proj_out",
        ),
        "mask_decoder.upscale_conv1.{}": "mask_decoder.upscale8.{}",
        "mask_decoder.upscale_layer_norm.{}": "mask_decoder.norm8.{}",
        "mask_decoder.upscale_conv2.{}": "mask_decoder.upscale4.{}",
        **{
            name: new
            for theirs, ours in _PERCEPTRONS.items()
            for name, new in _perceptron(theirs, ours, "proj_in", "layers.0", "proj_out").items()
        },
    },
    copies={
        "shared_image_embedding.positional_embedding": (
            "prompt_encoder.shared_embedding.positional_embedding"
        )
    },
    unread=(
        "mask_downsample",
        "memory_attention",
        "memory_encoder",
        "memory_temporal_positional_encoding",
        "no_memory_positional_encoding",
        "no_object_pointer",
        "object_pointer_proj",
        "occlusion_spatial_embedding_parameter",
        "temporal_positional_encoding_projection_layer",
    ),
)
