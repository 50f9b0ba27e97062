"""Key maps are strict, total and two-way."""

from __future__ import annotations

import pytest
import torch

from promptseg.errors import WeightsError
from promptseg.nn.sam2 import config as sizes
from promptseg.nn.sam2.model import Sam2Network
from promptseg.weights.keymap import KeyMap
from promptseg.weights.keymaps.sam2 import META, TRANSFORMERS
from small_sam2 import small_sam2

LAYOUTS = {"meta": META, "transformers": TRANSFORMERS}


@pytest.fixture(scope="module")
def ours():
    return small_sam2().state_dict()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_tensors_come_back_from_either_layout(ours, layout):
    """Every tensor has a name there, no two the same one, and returns as it went."""
    keymap = LAYOUTS[layout]
    theirs = keymap.to_theirs(ours)
    back = keymap.to_ours(theirs)
    assert back.keys() == ours.keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in ours.items())
    assert len(theirs) == len(ours) + {"meta": 3, "transformers": 1}[layout]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", ["TINY", "SMALL", "BASE_PLUS", "LARGE"])
def test_every_tensor_of_the_published_sizes_has_a_rule(layout, size):
    """All names of all four sizes are known."""
    with torch.device("meta"):
        network = Sam2Network(getattr(sizes, size))
    LAYOUTS[layout].to_theirs(network.state_dict())


def test_names_are_those_of_the_files(ours):
    """A few names of each kind, as they are in the released files."""
    meta, transformers = META.to_theirs(ours), TRANSFORMERS.to_theirs(ours)
    assert {
        "image_encoder.trunk.patch_embed.proj.weight",
        "image_encoder.trunk.blocks.1.proj.bias",
        "image_encoder.neck.convs.3.conv.weight",
        "no_mem_embed",
        "sam_prompt_encoder.point_embeddings.3.weight",
        "sam_prompt_encoder.mask_downscaling.6.bias",
        "sam_mask_decoder.transformer.layers.1.self_attn.out_proj.weight",
        "sam_mask_decoder.transformer.layers.0.norm4.weight",
        "sam_mask_decoder.output_upscaling.3.weight",
        "sam_mask_decoder.iou_prediction_head.layers.2.bias",
    } <= meta.keys()
    assert {
        "vision_encoder.backbone.blocks.0.mlp.proj_out.weight",
        "shared_image_embedding.positional_embedding",
        "prompt_encoder.point_embed.weight",
        "mask_decoder.transformer.final_attn_token_to_image.o_proj.weight",
        "mask_decoder.output_hypernetworks_mlps.3.layers.0.weight",
    } <= transformers.keys()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_video_half_is_known_and_left_out(ours, layout):
    """A whole checkpoint gives the image half; a name that only begins alike is no part of it."""
    keymap = LAYOUTS[layout]
    theirs = keymap.to_theirs(ours)
    whole = theirs | {"memory_encoder.fuser.layers.0.gamma": torch.ones(1)}
    assert keymap.to_ours(whole).keys() == ours.keys()
    with pytest.raises(WeightsError, match="first: `memory_encoders`"):
        keymap.to_ours(theirs | {"memory_encoders": torch.ones(1)})


def test_an_unknown_tensor_is_named(ours):
    """The first tensor without a rule is in the message, in both directions."""
    with pytest.raises(WeightsError, match=r"1 tensors have no single rule, first: `a\.b`"):
        META.to_ours({"a.b": torch.ones(1)})
    with pytest.raises(WeightsError, match="first: `extra`"):
        META.to_theirs(ours | {"extra": torch.ones(1)})


def test_a_missing_row_is_named(ours):
    """Rows of a stack are complete from 0 on."""
    theirs = META.to_theirs(ours)
    del theirs["sam_prompt_encoder.point_embeddings.1.weight"]
    with pytest.raises(WeightsError, match=r"point_embeddings\.1\.weight` is missing"):
        META.to_ours(theirs)


def test_a_copy_must_be_one(ours):
    """The second set of frequencies in transformers' layout is the first."""
    theirs = TRANSFORMERS.to_theirs(ours)
    theirs["shared_image_embedding.positional_embedding"] = torch.zeros(2, 16)
    with pytest.raises(WeightsError, match="is not what it copies"):
        TRANSFORMERS.to_ours(theirs)


def test_two_rules_for_one_name_are_none():
    """A name that two rules fit is refused."""
    keymap = KeyMap(renames={"a.{}": "b.{}", "{}.a": "c.{}"})
    with pytest.raises(WeightsError, match="no single rule"):
        keymap.to_ours({"a.a": torch.ones(1)})
