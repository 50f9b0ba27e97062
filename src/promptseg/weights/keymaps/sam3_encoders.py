"""What looks and what reads in SAM 3, as Meta names it and as transformers does.

What stands before names differs between files, so it is said by who puts the rules together; a
prefix ends with its dot, or is empty.
"""

from __future__ import annotations

from collections.abc import Mapping

from promptseg.weights.keymap import KeyMap

# Maps of a neck in the order of both layouts, which have a fourth that nothing reads.
_LEVELS = ("fine", "middle", "coarse")
_UNREAD = len(_LEVELS)


def meta_trunk(theirs: str, ours: str) -> KeyMap:
    """Name a trunk; its `freqs_cis` are rotary angles, which are worked out."""
    return KeyMap(
        renames=_named(
            theirs,
            ours,
            {
                "patch_embed.proj.weight": "patches.weight",
                "ln_pre.{}": "norm.{}",
                "blocks.{}.norm1.{}": "blocks.{}.norm1.{}",
                "blocks.{}.norm2.{}": "blocks.{}.norm2.{}",
                "blocks.{}.attn.qkv.{}": "blocks.{}.attention.qkv.{}",
                "blocks.{}.attn.proj.{}": "blocks.{}.attention.out.{}",
                "blocks.{}.mlp.fc1.{}": "blocks.{}.mlp.layers.0.{}",
                "blocks.{}.mlp.fc2.{}": "blocks.{}.mlp.layers.1.{}",
            },
        ),
        squares={f"{theirs}pos_embed": f"{ours}background"},
        class_slot=True,
        unused=(f"{theirs}blocks.{{}}.attn.freqs_cis",),
    )


def transformers_trunk(theirs: str, ours: str) -> KeyMap:
    """Name a trunk, whose queries, keys and values are apart there."""
    return KeyMap(
        renames=_named(
            theirs,
            ours,
            {
                "embeddings.patch_embeddings.projection.weight": "patches.weight",
                "layer_norm.{}": "norm.{}",
                "layers.{}.layer_norm1.{}": "blocks.{}.norm1.{}",
                "layers.{}.layer_norm2.{}": "blocks.{}.norm2.{}",
                "layers.{}.attention.o_proj.{}": "blocks.{}.attention.out.{}",
                "layers.{}.mlp.fc1.{}": "blocks.{}.mlp.layers.0.{}",
                "layers.{}.mlp.fc2.{}": "blocks.{}.mlp.layers.1.{}",
            },
        ),
        joins=_joined(f"{theirs}layers.{{}}.attention", f"{ours}blocks.{{}}.attention"),
        squares={f"{theirs}embeddings.position_embeddings": f"{ours}background"},
    )


def meta_neck(theirs: str, ours: str) -> KeyMap:
    """Name a neck, without its map of half the side."""
    return KeyMap(
        renames=_named(
            theirs,
            ours,
            {
                **_levels({"conv_1x1": "narrow", "conv_3x3": "mix"}),
                "0.dconv_2x2_0.{}": "fine.enlarge.{}",
                "0.dconv_2x2_1.{}": "fine.again.{}",
                "1.dconv_2x2.{}": "middle.enlarge.{}",
            },
        ),
        unused=tuple(f"{theirs}{_UNREAD}.{each}.{{}}" for each in ("conv_1x1", "conv_3x3")),
    )


def transformers_neck(theirs: str, ours: str) -> KeyMap:
    """Name a neck, without its map of half the side."""
    return KeyMap(
        renames=_named(
            theirs,
            ours,
            {
                **_levels({"proj1": "narrow", "proj2": "mix"}),
                "0.scale_layers.0.{}": "fine.enlarge.{}",
                "0.scale_layers.2.{}": "fine.again.{}",
                "1.scale_layers.0.{}": "middle.enlarge.{}",
            },
        ),
        unused=tuple(f"{theirs}{_UNREAD}.{each}.{{}}" for each in ("proj1", "proj2")),
    )


def meta_text(theirs: str, ours: str) -> KeyMap:
    """Name a text encoder; `text_projection` is CLIP's, from before there were images in it."""
    return KeyMap(
        renames=_named(
            theirs,
            ours,
            {
                "encoder.token_embedding.weight": "tokens",
                "encoder.positional_embedding": "positions",
                **_named(
                    "encoder.transformer.resblocks.{}.",
                    "blocks.{}.",
                    {
                        "ln_1.{}": "norm1.{}",
                        "attn.in_proj_weight": "attention.qkv.weight",
                        "attn.in_proj_bias": "attention.qkv.bias",
                        "attn.out_proj.{}": "attention.out.{}",
                        "ln_2.{}": "norm2.{}",
                        "mlp.c_fc.{}": "mlp.layers.0.{}",
                        "mlp.c_proj.{}": "mlp.layers.1.{}",
                    },
                ),
                "encoder.ln_final.{}": "norm.{}",
                "resizer.{}": "out.{}",
            },
        ),
        unused=(f"{theirs}encoder.text_projection",),
    )


def transformers_text(theirs: str, ours: str) -> KeyMap:
    """Name a text encoder; the first of two `text_projection` is CLIP's, which nothing reads."""
    layer = "text_encoder.text_model.encoder.layers.{}."
    return KeyMap(
        renames=_named(
            theirs,
            ours,
            {
                **_named(
                    "text_encoder.text_model.",
                    "",
                    {
                        "embeddings.token_embedding.weight": "tokens",
                        "embeddings.position_embedding.weight": "positions",
                        "final_layer_norm.{}": "norm.{}",
                    },
                ),
                **_named(
                    layer,
                    "blocks.{}.",
                    {
                        "layer_norm1.{}": "norm1.{}",
                        "self_attn.out_proj.{}": "attention.out.{}",
                        "layer_norm2.{}": "norm2.{}",
                        "mlp.fc1.{}": "mlp.layers.0.{}",
                        "mlp.fc2.{}": "mlp.layers.1.{}",
                    },
                ),
                "text_projection.{}": "out.{}",
            },
        ),
        joins=_joined(f"{theirs}{layer}self_attn", f"{ours}blocks.{{}}.attention"),
        unused=(f"{theirs}text_encoder.text_projection.weight",),
    )


def _named(theirs: str, ours: str, rules: Mapping[str, str]) -> dict[str, str]:
    return {f"{theirs}{name}": f"{ours}{new}" for name, new in rules.items()}


def _levels(layers: Mapping[str, str]) -> dict[str, str]:
    return {
        f"{i}.{name}.{{}}": f"{level}.{new}.{{}}"
        for i, level in enumerate(_LEVELS)
        for name, new in layers.items()
    }


def _joined(theirs: str, ours: str) -> dict[tuple[str, ...], str]:
    return {
        tuple(f"{theirs}.{each}_proj.{part}" for each in "qkv"): f"{ours}.qkv.{part}"
        for part in ("weight", "bias")
    }
