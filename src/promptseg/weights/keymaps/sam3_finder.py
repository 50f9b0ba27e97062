"""What finds in SAM 3, as Meta names it and as transformers does, without what looks and reads.

Meta's names are those that transformers converts (Apache-2.0, `convert_sam3_video_to_hf.py` in
https://github.com/huggingface/transformers). What stands before names differs between files, so it
is said by who puts the rules together; a prefix ends with its dot, or is empty.
"""

from __future__ import annotations

from collections.abc import Mapping

from promptseg.weights.keymap import KeyMap

# Layers of the three parts that have some, by our names.
_EXEMPLARS, _FUSION = "exemplars.layers.{}", "fusion.layers.{}"
_DETECTOR = "detector.layers.{}"
# In both layouts the third pair of the pixel decoder meets no third map.
_UNREAD = 2


def meta_finder(theirs: str, ours: str) -> KeyMap:
    """Name what finds.

    What plays no part are points as examples, which are for training; the slots of single things,
    which are for videos; one map of a whole phrase; and a third doubling, where there are two.
    """
    attentions = {
        **_layers("geometry_encoder.encode.{}", _EXEMPLARS, cross_attn_image="looking"),
        **_layers("transformer.encoder.layers.{}", _FUSION, cross_attn_image="asking"),
        **_layers(
            "transformer.decoder.layers.{}", _DETECTOR, ca_text="asking", cross_attn="looking"
        ),
        "segmentation_head.cross_attend_prompt": "masks.asking",
    }
    return KeyMap(
        renames=_named(
            theirs,
            ours,
            {
                **_exemplars(image="img_pre_norm", tokens="norm", out="encode_norm"),
                **_thinking("geometry_encoder.encode.{}", _EXEMPLARS, "linear1", "linear2"),
                **_norms("geometry_encoder.encode.{}.norm", _EXEMPLARS, "looking"),
                **_thinking("transformer.encoder.layers.{}", _FUSION, "linear1", "linear2"),
                **_norms("transformer.encoder.layers.{}.norm", _FUSION, "asking"),
                **_thinking("transformer.decoder.layers.{}", _DETECTOR, "linear1", "linear2"),
                **_named(
                    "transformer.decoder.layers.{}.",
                    f"{_DETECTOR}.",
                    {
                        "norm2.{}": "mixing_norm.{}",
                        "catext_norm.{}": "asking_norm.{}",
                        "norm1.{}": "looking_norm.{}",
                        "norm3.{}": "mlp_norm.{}",
                    },
                ),
                **_named(
                    "transformer.decoder.",
                    "detector.",
                    {
                        **_SLOTS,
                        "presence_token_out_norm.{}": "presence_norm.{}",
                        "norm.{}": "norm.{}",
                        **{
                            f"{name}.layers.{{}}.{{}}": f"{new}.layers.{{}}.{{}}"
                            for name, new in {
                                "presence_token_head": "presence_head",
                                "bbox_embed": "box_head",
                                "ref_point_head": "place_head",
                                "boxRPB_embed_x": "column_bias",
                                "boxRPB_embed_y": "row_bias",
                            }.items()
                        },
                    },
                ),
                **_named(
                    "dot_prod_scoring.",
                    "detector.scorer.",
                    {
                        "prompt_mlp.layers.{}.{}": "mlp.layers.{}.{}",
                        "prompt_mlp.out_norm.{}": "norm.{}",
                        "prompt_proj.{}": "question.{}",
                        "hs_proj.{}": "slots.{}",
                    },
                ),
                **_named(
                    "segmentation_head.",
                    "masks.",
                    {
                        **_doublings(),
                        "cross_attn_norm.{}": "asking_norm.{}",
                        "mask_predictor.mask_embed.layers.{}.{}": "slots.layers.{}.{}",
                        "instance_seg_head.{}": "cells.{}",
                    },
                ),
                **{f"{name}.out_proj.{{}}": f"{new}.out.{{}}" for name, new in attentions.items()},
            },
        ),
        splits={
            f"{theirs}{name}.in_proj_{part}": tuple(
                f"{ours}{new}.{each}.{part}" for each in ("queries", "keys", "values")
            )
            for name, new in attentions.items()
            for part in ("weight", "bias")
        },
        unused=_behind(
            theirs,
            "geometry_encoder.points_direct_project.{}",
            "geometry_encoder.points_pool_project.{}",
            "geometry_encoder.points_pos_enc_project.{}",
            "transformer.decoder.instance_query_embed.{}",
            "transformer.decoder.instance_reference_points.{}",
            "transformer.decoder.instance_bbox_embed.layers.{}.{}",
            f"segmentation_head.pixel_decoder.conv_layers.{_UNREAD}.{{}}",
            f"segmentation_head.pixel_decoder.norms.{_UNREAD}.{{}}",
            "segmentation_head.semantic_seg_head.{}",
        ),
    )


def transformers_finder(theirs: str, ours: str) -> KeyMap:
    """Name what finds; one map of a whole phrase and a third doubling play no part."""
    attentions = {
        **_layers("geometry_encoder.layers.{}", _EXEMPLARS, cross_attn="looking"),
        **_layers("detr_encoder.layers.{}", _FUSION, cross_attn="asking"),
        **_layers(
            "detr_decoder.layers.{}",
            _DETECTOR,
            text_cross_attn="asking",
            vision_cross_attn="looking",
        ),
        "mask_decoder.prompt_cross_attn": "masks.asking",
    }
    linears = {"q_proj": "queries", "k_proj": "keys", "v_proj": "values", "o_proj": "out"}
    return KeyMap(
        renames=_named(
            theirs,
            ours,
            {
                **_exemplars(
                    image="vision_layer_norm", tokens="prompt_layer_norm", out="output_layer_norm"
                ),
                **_thinking("geometry_encoder.layers.{}", _EXEMPLARS, "mlp.fc1", "mlp.fc2"),
                **_norms("geometry_encoder.layers.{}.layer_norm", _EXEMPLARS, "looking"),
                **_thinking("detr_encoder.layers.{}", _FUSION, "mlp.fc1", "mlp.fc2"),
                **_norms("detr_encoder.layers.{}.layer_norm", _FUSION, "asking"),
                **_thinking("detr_decoder.layers.{}", _DETECTOR, "mlp.fc1", "mlp.fc2"),
                **_named(
                    "detr_decoder.layers.{}.",
                    f"{_DETECTOR}.",
                    {
                        "self_attn_layer_norm.{}": "mixing_norm.{}",
                        "text_cross_attn_layer_norm.{}": "asking_norm.{}",
                        "vision_cross_attn_layer_norm.{}": "looking_norm.{}",
                        "mlp_layer_norm.{}": "mlp_norm.{}",
                    },
                ),
                **_named(
                    "detr_decoder.",
                    "detector.",
                    {
                        **_SLOTS,
                        "presence_layer_norm.{}": "presence_norm.{}",
                        "output_layer_norm.{}": "norm.{}",
                        **_perceptron("presence_head", "presence_head", 3),
                        **_perceptron("box_head", "box_head", 3),
                        **_perceptron("ref_point_head", "place_head", 2),
                        **_perceptron("box_rpb_embed_x", "column_bias", 2),
                        **_perceptron("box_rpb_embed_y", "row_bias", 2),
                    },
                ),
                **_named(
                    "dot_product_scoring.",
                    "detector.scorer.",
                    {
                        **_perceptron("text_mlp", "mlp", 2),
                        "text_mlp_out_norm.{}": "norm.{}",
                        "text_proj.{}": "question.{}",
                        "query_proj.{}": "slots.{}",
                    },
                ),
                **_named(
                    "mask_decoder.",
                    "masks.",
                    {
                        **_doublings(),
                        "prompt_cross_attn_norm.{}": "asking_norm.{}",
                        "mask_embedder.layers.{}.{}": "slots.layers.{}.{}",
                        "instance_projection.{}": "cells.{}",
                    },
                ),
                **{
                    f"{name}.{linear}.{{}}": f"{new}.{each}.{{}}"
                    for name, new in attentions.items()
                    for linear, each in linears.items()
                },
            },
        ),
        unused=_behind(
            theirs,
            f"mask_decoder.pixel_decoder.conv_layers.{_UNREAD}.{{}}",
            f"mask_decoder.pixel_decoder.norms.{_UNREAD}.{{}}",
            "mask_decoder.semantic_projection.{}",
        ),
    )


_SLOTS = {
    "query_embed.weight": "slots",
    "reference_points.weight": "boxes",
    "presence_token.weight": "presence",
}


def _named(theirs: str, ours: str, rules: Mapping[str, str]) -> dict[str, str]:
    return {f"{theirs}{name}": f"{ours}{new}" for name, new in rules.items()}


def _behind(theirs: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{theirs}{name}" for name in names)


def _layers(theirs: str, ours: str, **attentions: str) -> dict[str, str]:
    """Name the attentions of layers, which all begin with one of tokens to each other."""
    return {
        f"{theirs}.{name}": f"{ours}.{new}"
        for name, new in {"self_attn": "mixing", **attentions}.items()
    }


def _thinking(theirs: str, ours: str, *linears: str) -> dict[str, str]:
    return {
        f"{theirs}.{name}.{{}}": f"{ours}.mlp.layers.{i}.{{}}" for i, name in enumerate(linears)
    }


def _norms(theirs: str, ours: str, second: str) -> dict[str, str]:
    """Name the three norms of layers that norm first."""
    names = ("mixing", second, "mlp")
    return {f"{theirs}{i}.{{}}": f"{ours}.{name}_norm.{{}}" for i, name in enumerate(names, 1)}


def _perceptron(theirs: str, ours: str, layers: int) -> dict[str, str]:
    """Name the layers of a perceptron, which are numbered from 1 there."""
    return {f"{theirs}.layer{i + 1}.{{}}": f"{ours}.layers.{i}.{{}}" for i in range(layers)}


def _exemplars(*, image: str, tokens: str, out: str) -> dict[str, str]:
    """Name what is in no layer of the exemplar encoder; only its norms differ."""
    return _named(
        "geometry_encoder.",
        "exemplars.",
        {
            "label_embed.weight": "labels",
            "cls_embed.weight": "summary",
            "boxes_direct_project.{}": "span.{}",
            "boxes_pool_project.{}": "content.{}",
            "boxes_pos_enc_project.{}": "place.{}",
            "final_proj.{}": "project.{}",
            f"{image}.{{}}": "image_norm.{}",
            f"{tokens}.{{}}": "norm.{}",
            f"{out}.{{}}": "out_norm.{}",
        },
    )


def _doublings() -> dict[str, str]:
    return {
        f"pixel_decoder.{name}.{i}.{{}}": f"{level}.{new}.{{}}"
        for i, level in enumerate(("middle", "fine"))
        for name, new in {"conv_layers": "conv", "norms": "norm"}.items()
    }
