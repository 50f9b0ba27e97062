"""SAM 2's tensors as Meta publishes them (`.pt`) and as transformers does (`.safetensors`).

Both publish images and memory in one file. A file of images alone, which transformers' `Sam2Model`
writes, has the same names without those of `memory`; SAM 2 has no `absence` and no `pointer_ages`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from promptseg.nn.parts.memory_encoder import HALVINGS
from promptseg.weights.keymap import KeyMap

# Parts of names in both layouts, with ours.
_TRANSFORMER = "mask_decoder.transformer"
_DECODER_ATTENTIONS = {
    "layers.{}.self_attn": "layers.{}.mixing.attention",
    "layers.{}.cross_attn_token_to_image": "layers.{}.tokens_to_image",
    "layers.{}.cross_attn_image_to_token": "layers.{}.image_to_tokens",
    "final_attn_token_to_image": "tokens_to_image",
}
_DECODER_NORMS = ("mixing.norm", "read_norm", "mlp_norm", "write_norm")
_MEMORY_ATTENTIONS = {
    "layers.{}.self_attn": "layers.{}.mixing",
    "layers.{}.cross_attn_image": "layers.{}.recall",
}
_MEMORY_NORMS = ("mixing_norm", "recall_norm", "mlp_norm")
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


_SHARED_MEMORY = {
    "mask_downsample.{}": "memory.mask_to_hint.{}",
    "memory_attention.layers.{}.linear1.{}": "memory.attention.layers.{}.mlp.layers.0.{}",
    "memory_attention.layers.{}.linear2.{}": "memory.attention.layers.{}.mlp.layers.1.{}",
}


def _behind(prefix: str, rules: Mapping[str, str]) -> dict[str, str]:
    return {f"{prefix}.{theirs}": ours for theirs, ours in rules.items()}


def _attentions(theirs: str, ours: str, parts: Mapping[str, str], *, out: str) -> dict[str, str]:
    linears = {"q_proj": "queries", "k_proj": "keys", "v_proj": "values", out: "out"}
    return {
        f"{theirs}.{part}.{linear}.{{}}": f"{ours}.{name}.{new}.{{}}"
        for part, name in parts.items()
        for linear, new in linears.items()
    }


def _norms(theirs: str, ours: str, names: Sequence[str]) -> dict[str, str]:
    """Name the norms of a layer, which are numbered from 1 there."""
    return {
        f"{theirs}{i}.{{}}": f"{ours}.layers.{{}}.{name}.{{}}"
        for i, name in enumerate(names, start=1)
    }


def _perceptron(theirs: str, ours: str, *names: str) -> dict[str, str]:
    """Name the layers of a perceptron one by one, as transformers does."""
    return {f"{theirs}.{each}.{{}}": f"{ours}.layers.{i}.{{}}" for i, each in enumerate(names)}


def _halvings(shrink: Callable[[int], str], norm: Callable[[int], str]) -> dict[str, str]:
    """Name the convolutions and norms that make a mask as coarse as the image's grid."""
    ours = "memory.encoder.mask"
    return {
        f"memory_encoder.mask_downsampler.{part(i)}.{{}}": f"{ours}.{i}.{name}.{{}}"
        for part, name in ((shrink, "shrink"), (norm, "norm"))
        for i in range(HALVINGS)
    }


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
        **_attentions(
            "sam_mask_decoder.transformer", _TRANSFORMER, _DECODER_ATTENTIONS, out="out_proj"
        ),
        **_norms("sam_mask_decoder.transformer.layers.{}.norm", _TRANSFORMER, _DECODER_NORMS),
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
        **_SHARED_MEMORY,
        "maskmem_tpos_enc": "memory.ages",
        "no_mem_pos_enc": "memory.no_memory_place",
        "no_obj_embed_spatial": "memory.absence",
        "no_obj_ptr": "memory.no_pointer",
        "obj_ptr_proj.layers.{}.{}": "memory.pointer_head.layers.{}.{}",
        "obj_ptr_tpos_proj.{}": "memory.pointer_ages.{}",
        **_attentions("memory_attention", "memory.attention", _MEMORY_ATTENTIONS, out="out_proj"),
        **_norms("memory_attention.layers.{}.norm", "memory.attention", _MEMORY_NORMS),
        "memory_attention.norm.{}": "memory.attention.norm.{}",
        **_halvings(lambda i: f"encoder.{3 * i}", lambda i: f"encoder.{3 * i + 1}"),
        f"memory_encoder.mask_downsampler.encoder.{3 * HALVINGS}.{{}}": (
            f"memory.encoder.mask.{HALVINGS}.{{}}"
        ),
        "memory_encoder.pix_feat_proj.{}": "memory.encoder.image.{}",
        **_behind(
            "memory_encoder.fuser.layers.{}",
            {
                "dwconv.{}": "memory.encoder.fuser.{}.spread.{}",
                "norm.{}": "memory.encoder.fuser.{}.norm.{}",
                "pwconv1.{}": "memory.encoder.fuser.{}.mlp.layers.0.{}",
                "pwconv2.{}": "memory.encoder.fuser.{}.mlp.layers.1.{}",
                "gamma": "memory.encoder.fuser.{}.scale",
            },
        ),
        "memory_encoder.out_proj.{}": "memory.encoder.out.{}",
    },
    stacks={"sam_prompt_encoder.point_embeddings.{}.weight": "prompt_encoder.labels"},
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
        **_attentions("mask_decoder.transformer", _TRANSFORMER, _DECODER_ATTENTIONS, out="o_proj"),
        **_norms("mask_decoder.transformer.layers.{}.layer_norm", _TRANSFORMER, _DECODER_NORMS),
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
        **_SHARED_MEMORY,
        "memory_temporal_positional_encoding": "memory.ages",
        "no_memory_positional_encoding": "memory.no_memory_place",
        "occlusion_spatial_embedding_parameter": "memory.absence",
        "no_object_pointer": "memory.no_pointer",
        **_perceptron(
            "object_pointer_proj", "memory.pointer_head", "proj_in", "layers.0", "proj_out"
        ),
        "temporal_positional_encoding_projection_layer.{}": "memory.pointer_ages.{}",
        **_attentions("memory_attention", "memory.attention", _MEMORY_ATTENTIONS, out="o_proj"),
        **_norms("memory_attention.layers.{}.layer_norm", "memory.attention", _MEMORY_NORMS),
        "memory_attention.layer_norm.{}": "memory.attention.norm.{}",
        **_halvings(lambda i: f"layers.{i}.conv", lambda i: f"layers.{i}.layer_norm"),
        "memory_encoder.mask_downsampler.final_conv.{}": f"memory.encoder.mask.{HALVINGS}.{{}}",
        "memory_encoder.feature_projection.{}": "memory.encoder.image.{}",
        **_behind(
            "memory_encoder.memory_fuser.layers.{}",
            {
                "depthwise_conv.{}": "memory.encoder.fuser.{}.spread.{}",
                "layer_norm.{}": "memory.encoder.fuser.{}.norm.{}",
                "pointwise_conv1.{}": "memory.encoder.fuser.{}.mlp.layers.0.{}",
                "pointwise_conv2.{}": "memory.encoder.fuser.{}.mlp.layers.1.{}",
                "scale": "memory.encoder.fuser.{}.scale",
            },
        ),
        "memory_encoder.projection.{}": "memory.encoder.out.{}",
    },
    copies={
        "shared_image_embedding.positional_embedding": (
            "prompt_encoder.shared_embedding.positional_embedding"
        )
    },
)
