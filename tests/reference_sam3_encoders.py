"""SAM 3's encoders as transformers has them, made to follow Meta's release where the two differ."""

from __future__ import annotations

import torch
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, Sam3VisionConfig
from transformers.models.sam3.configuration_sam3 import Sam3ViTConfig
from transformers.models.sam3.modeling_sam3 import Sam3VisionModel

from promptseg.nn.sam3.config import TextConfig, TrunkConfig
from promptseg.nn.sam3.neck import Neck
from promptseg.nn.sam3.text import TextEncoder
from promptseg.nn.sam3.vit import EPSILON, Trunk
from promptseg.weights.keymap import KeyMap
from promptseg.weights.keymaps.sam3_encoders import (
    transformers_neck,
    transformers_text,
    transformers_trunk,
)


def trunk_config(config: TrunkConfig, side: int) -> Sam3ViTConfig:
    """Sizes of a trunk; Meta's norms have an epsilon ten times that of transformers."""
    return Sam3ViTConfig(
        hidden_size=config.width,
        intermediate_size=config.hidden,
        num_hidden_layers=config.depth,
        num_attention_heads=config.heads,
        image_size=config.patch * side,
        patch_size=config.patch,
        layer_norm_eps=EPSILON,
        window_size=config.window,
        global_attn_indexes=list(config.global_blocks),
        pretrain_image_size=config.patch * config.background,
    )


def text_config(config: TextConfig) -> CLIPTextConfig:
    """Sizes of a text encoder, whose own projection nothing reads."""
    return CLIPTextConfig(
        vocab_size=config.vocabulary,
        max_position_embeddings=config.context,
        hidden_size=config.width,
        num_hidden_layers=config.depth,
        num_attention_heads=config.heads,
        intermediate_size=config.hidden,
        hidden_act="gelu",
        projection_dim=3,
    )


class TextReference(nn.Module):
    """The parts of `Sam3Model` that read, under its names."""

    def __init__(self, config: TextConfig, channels: int) -> None:
        super().__init__()
        self.text_encoder = CLIPTextModelWithProjection(text_config(config))
        self.text_projection = nn.Linear(config.width, channels)

    def forward(self, ids, attended):
        read = self.text_encoder(input_ids=ids, attention_mask=attended.long())
        return self.text_projection(read.last_hidden_state)


def reference_vision(trunk: Trunk, neck: Neck) -> Sam3VisionModel:
    channels = neck.coarse.narrow.out_channels
    backbone = trunk_config(trunk.config, trunk.side)
    model = Sam3VisionModel(Sam3VisionConfig(backbone_config=backbone, fpn_hidden_size=channels))
    _load(model.backbone, trunk, transformers_trunk("", ""))
    _load(model.neck, neck, transformers_neck("fpn_layers.", ""))
    return model.eval()


def reference_text(encoder: TextEncoder, config: TextConfig) -> TextReference:
    model = TextReference(config, encoder.out.out_features)
    _load(model, encoder, transformers_text("", ""))
    return model.eval()


def _load(theirs: nn.Module, ours: nn.Module, names: KeyMap) -> None:
    """Give their module our weights: nothing may be missing but what plays no part."""
    weights = names.to_theirs(ours.state_dict())
    missing, unexpected = theirs.load_state_dict(weights, strict=False)
    assert set(missing) == names.idle(missing)
    assert not unexpected
    with torch.no_grad():
        back = names.to_ours(theirs.state_dict())
    assert back.keys() == ours.state_dict().keys()
    assert all(torch.equal(back[name], each) for name, each in ours.state_dict().items())
