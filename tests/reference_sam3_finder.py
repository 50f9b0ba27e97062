"""What finds in SAM 3 as transformers has it, made to follow Meta's release where the two differ.

It is asked with the neck's maps and with phrases that are read already.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from types import SimpleNamespace
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import Sam3Config as ReferenceConfig
from transformers import Sam3Model
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.sam3 import modeling_sam3
from transformers.models.sam3.modeling_sam3 import Sam3VisionEncoderOutput

from plain_sam3_finder import plain_roi_align
from promptseg.nn.outputs import Examples, Phrases
from promptseg.nn.parts.positions import sine_positions
from promptseg.nn.sam3.config import FinderConfig, Sam3Config, TextConfig, TrunkConfig
from promptseg.nn.sam3.finder import Finder
from promptseg.nn.sam3.neck import Levels
from promptseg.weights.keymaps.sam3_finder import transformers_finder
from seeded import fill

# transformers' label of a box that is none.
NO_BOX = -10

# Maps of 11, 22 and 44 cells a side; transformers has eight groups always.
CONFIG = Sam3Config(
    trunk=TrunkConfig(
        patch=2, width=8, depth=1, heads=1, hidden=5, window=11, global_blocks=(), background=11
    ),
    image_side=22,
    channels=32,
    heads=4,
    hidden=23,
    finder=FinderConfig(
        text=TextConfig(vocabulary=13, context=7, width=6, depth=1, heads=1, hidden=5),
        exemplar_layers=2,
        fusion_layers=3,
        detector_layers=3,
        queries=13,
        roi=7,
        groups=8,
    ),
    clicker=None,
)


class Answer(NamedTuple):
    """`boxes` are x0 y0 x1 y1 as shares."""

    logits: Tensor
    boxes: Tensor
    presence: Tensor
    masks: Tensor


def small_finder(config: Sam3Config = CONFIG, seed: int = 5) -> Finder:
    """Make the part without touching the caller's random numbers."""
    assert config.finder is not None
    with torch.device("meta"):
        finder = Finder(config, config.finder)
    fill(finder, seed)
    return finder


def reference_config(config: Sam3Config) -> ReferenceConfig:
    own = config.finder
    assert own is not None
    sizes = {
        "hidden_size": config.channels,
        "num_attention_heads": config.heads,
        "intermediate_size": config.hidden,
    }
    return ReferenceConfig(
        vision_config={
            "fpn_hidden_size": config.channels,
            "backbone_config": {
                "model_type": "sam3_vit_model",
                "hidden_size": 16,
                "intermediate_size": 8,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "image_size": 28,
                "pretrain_image_size": 28,
                "patch_size": 14,
                "window_size": 1,
                "global_attn_indexes": [],
            },
        },
        text_config={
            "model_type": "clip_text_model",
            "vocab_size": 11,
            "hidden_size": 8,
            "intermediate_size": 8,
            "projection_dim": 8,
            "num_hidden_layers": 1,
            "num_attention_heads": 1,
            "max_position_embeddings": 5,
            "bos_token_id": 0,
            "eos_token_id": 1,
        },
        geometry_encoder_config={
            **sizes,
            "num_layers": own.exemplar_layers,
            "roi_size": own.roi,
        },
        detr_encoder_config={**sizes, "num_layers": own.fusion_layers},
        detr_decoder_config={
            **sizes,
            "num_layers": own.detector_layers,
            "num_queries": own.queries,
        },
        mask_decoder_config={
            "hidden_size": config.channels,
            "num_attention_heads": config.heads,
        },
    )


def reference_finder(config: Sam3Config, finder: Finder) -> Sam3Model:
    """transformers' network with the weights of ours, and without a bound of presence."""
    model = Sam3Model(reference_config(config)).eval()
    rules = transformers_finder("", "")
    mine = {
        name: tensor
        for name, tensor in finder.state_dict().items()
        if not name.startswith(("neck.", "text."))
    }
    loaded = model.load_state_dict(rules.to_theirs(mine), strict=False)
    assert not loaded.unexpected_keys
    missing = [
        name
        for name in loaded.missing_keys
        if not name.startswith(("vision_encoder.", "text_encoder.", "text_projection."))
    ]
    assert set(missing) == rules.idle(missing)
    model.detr_decoder.clamp_presence_logit_max_val = math.inf
    return model


def reference_answer(
    model: Sam3Model, levels: Levels, phrases: Phrases, examples: Examples, side: int
) -> Answer:
    """Ask `n` questions; each has one padded box more, so that it has the token of the image."""
    count = len(phrases.features)
    maps = [level.permute(0, 3, 1, 2).expand(count, -1, -1, -1) for level in levels]
    places = [sine_positions(*level.shape[1:])[None].expand_as(level) for level in maps]
    shares = examples.boxes / side
    boxes = torch.cat(
        [(shares[..., :2] + shares[..., 2:]) / 2, shares[..., 2:] - shares[..., :2]], dim=2
    )
    labels = torch.where(examples.labels < 0, NO_BOX, examples.labels)
    with _pooling(), torch.inference_mode():
        answer = model(
            # The last level is one of half the side, which nothing reads.
            vision_embeds=Sam3VisionEncoderOutput(
                fpn_hidden_states=(*maps, maps[-1]), fpn_position_encoding=(*places, places[-1])
            ),
            text_embeds=BaseModelOutputWithPooling(pooler_output=phrases.features),
            attention_mask=phrases.attended.long(),
            input_boxes=torch.cat([boxes, torch.zeros(count, 1, 4)], dim=1),
            input_boxes_labels=torch.cat([labels, torch.full((count, 1), NO_BOX)], dim=1),
        )
    return Answer(
        answer.pred_logits, answer.pred_boxes, answer.presence_logits[:, 0], answer.pred_masks
    )


@contextmanager
def _pooling():
    """Give transformers the one operation of torchvision that it needs."""
    before = getattr(modeling_sam3, "torchvision", None)
    modeling_sam3.torchvision = SimpleNamespace(ops=SimpleNamespace(roi_align=plain_roi_align))
    try:
        yield
    finally:
        modeling_sam3.torchvision = before
