"""Key maps are strict, total and two-way."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from promptseg.errors import WeightsError
from promptseg.nn.parts.memory import MemoryConfig
from promptseg.nn.sam2 import config as sizes
from promptseg.nn.sam2.config import Sam2Config
from promptseg.nn.sam2.model import Sam2Network
from promptseg.weights.keymap import KeyMap
from promptseg.weights.keymaps.sam2 import META, TRANSFORMERS
from small_sam2 import FITTING, PADDED, small_sam2

LAYOUTS = {"meta": META, "transformers": TRANSFORMERS}
VERSIONS = {"2.1": FITTING, "2": PADDED, "images": replace(FITTING, memory=None)}
SIZES = ("TINY", "SMALL", "BASE_PLUS", "LARGE")
MEMORIES = {"2.1": MemoryConfig(), "2": MemoryConfig(version="2"), "images": None}

# From Meta's names to transformers', in order; facts of its `convert_sam2_video_to_hf.py`.
CONVERSION = (
    (r"^image_encoder\.trunk\.", "vision_encoder.backbone."),
    (r"^image_encoder\.neck\.convs\.(\d+)\.conv\.", r"vision_encoder.neck.convs.\1."),
    (r"patch_embed\.proj\.", "patch_embed.projection."),
    (r"^sam_(prompt_encoder|mask_decoder)\.", r"\1."),
    (r"pe_layer\.positional_encoding_gaussian_matrix", "shared_embedding.positional_embedding"),
    (r"point_embeddings\.0\.", "point_embed."),
    (r"mask_downscaling\.0\.", "mask_embed.conv1."),
    (r"mask_downscaling\.1\.", "mask_embed.layer_norm1."),
    (r"mask_downscaling\.3\.", "mask_embed.conv2."),
    (r"mask_downscaling\.4\.", "mask_embed.layer_norm2."),
    (r"mask_downscaling\.6\.", "mask_embed.conv3."),
    (r"output_upscaling\.0\.", "upscale_conv1."),
    (r"output_upscaling\.1\.", "upscale_layer_norm."),
    (r"output_upscaling\.3\.", "upscale_conv2."),
    (r"^obj_ptr_tpos_proj\.", "temporal_positional_encoding_projection_layer."),
    (r"^obj_ptr_proj\.", "object_pointer_proj."),
    (r"^no_obj_ptr$", "no_object_pointer"),
    (r"^no_obj_embed_spatial$", "occlusion_spatial_embedding_parameter"),
    (r"^no_mem_embed$", "no_memory_embedding"),
    (r"^no_mem_pos_enc$", "no_memory_positional_encoding"),
    (r"^maskmem_tpos_enc$", "memory_temporal_positional_encoding"),
    (r"^memory_encoder\.pix_feat_proj\.", "memory_encoder.feature_projection."),
    (r"^memory_encoder\.out_proj\.", "memory_encoder.projection."),
    (r"^memory_encoder\.fuser\.", "memory_encoder.memory_fuser."),
    (r"\.dwconv\.", ".depthwise_conv."),
    (r"\.pwconv(\d)\.", r".pointwise_conv\1."),
    (r"\.gamma$", ".scale"),
    (r"mask_downsampler\.encoder\.12\.", "mask_downsampler.final_conv."),
    (r"\.out_proj\.", ".o_proj."),
    (r"\.norm(\d?|_final_attn)\.", r".layer_norm\1."),
)
# Perceptrons of two layers, and of three.
SHORT = re.compile(r"((?:blocks|transformer\.layers)\.\d+\.mlp)\.layers\.(\d)\.")
LONG = re.compile(r"(mlps\.\d|iou_prediction_head|score_head|pointer_proj)\.layers\.(\d)\.")
HALVING = re.compile(r"mask_downsampler\.encoder\.(\d+)\.")


def converted(name: str) -> str:
    """Name a tensor of Meta's as transformers' conversion does."""
    for pattern, new in CONVERSION:
        name = re.sub(pattern, new, name)
    name = SHORT.sub(lambda m: f"{m[1]}.{('proj_in', 'proj_out')[int(m[2])]}.", name)
    name = LONG.sub(lambda m: f"{m[1]}.{('proj_in', 'layers.0', 'proj_out')[int(m[2])]}.", name)
    return HALVING.sub(
        lambda m: (
            f"mask_downsampler.layers.{int(m[1]) // 3}.{('conv', 'layer_norm')[int(m[1]) % 3]}."
        ),
        name,
    )


def published(size: str, version: str) -> Sam2Config:
    return replace(getattr(sizes, size), memory=MEMORIES[version])


def hollow(config: Sam2Config) -> dict[str, torch.Tensor]:
    """Tensors of the right names and shapes that take no memory; all are zero."""
    with torch.device("meta"):
        network = Sam2Network(config)
    return {
        name: torch.zeros(()).expand(tensor.shape) for name, tensor in network.state_dict().items()
    }


def shapes(tensors) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}


@pytest.fixture(scope="module")
def ours():
    return small_sam2().state_dict()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("version", VERSIONS)
def test_tensors_come_back_from_either_layout(layout, version):
    """Every tensor has a name there, no two the same one, and returns as it went."""
    ours, keymap = small_sam2(VERSIONS[version]).state_dict(), LAYOUTS[layout]
    theirs = keymap.to_theirs(ours)
    back = keymap.to_ours(theirs)
    assert back.keys() == ours.keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in ours.items())
    assert len(theirs) == len(ours) + {"meta": 3, "transformers": 1}[layout]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("version", MEMORIES)
@pytest.mark.parametrize("size", SIZES)
def test_every_tensor_of_the_published_sizes_has_a_rule(layout, version, size):
    """All names of all four sizes of either version are known, in both directions."""
    ours, keymap = hollow(published(size, version)), LAYOUTS[layout]
    assert shapes(keymap.to_ours(keymap.to_theirs(ours))) == shapes(ours)


@pytest.mark.parametrize("version", MEMORIES)
@pytest.mark.parametrize("size", SIZES)
def test_names_and_shapes_are_those_of_transformers(version, size):
    """Its models of videos, and of images alone, have these tensors and no others."""
    transformers = pytest.importorskip("transformers")
    from reference_sam2 import reference_config, reference_image_config

    config = published(size, version)
    with torch.device("meta"):
        if config.memory:
            reference = transformers.Sam2VideoModel(reference_config(config))
        else:
            reference = transformers.Sam2Model(reference_image_config(config))
    assert shapes(TRANSFORMERS.to_theirs(hollow(config))) == shapes(reference.state_dict())


@pytest.mark.parametrize("version", VERSIONS)
def test_the_layouts_name_the_same_tensors(version):
    """Meta's names, converted as transformers converts them, are those of its layout."""
    ours = small_sam2(VERSIONS[version]).state_dict()
    meta, transformers = META.to_theirs(ours), TRANSFORMERS.to_theirs(ours)
    rows = [meta.pop(f"sam_prompt_encoder.point_embeddings.{i}.weight") for i in range(4)]
    meta["sam_prompt_encoder.point_embeddings.0.weight"] = torch.cat(rows)
    del transformers["shared_image_embedding.positional_embedding"]
    renamed = {converted(name): tensor for name, tensor in meta.items()}
    assert renamed.keys() == transformers.keys()
    assert all(torch.equal(renamed[name], tensor) for name, tensor in transformers.items())


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
        "maskmem_tpos_enc",
        "mask_downsample.weight",
        "memory_attention.layers.2.cross_attn_image.k_proj.weight",
        "memory_attention.layers.0.linear1.bias",
        "memory_attention.norm.weight",
        "memory_encoder.mask_downsampler.encoder.10.weight",
        "memory_encoder.mask_downsampler.encoder.12.bias",
        "memory_encoder.fuser.layers.1.gamma",
        "memory_encoder.out_proj.weight",
        "no_mem_pos_enc",
        "no_obj_embed_spatial",
        "no_obj_ptr",
        "obj_ptr_proj.layers.2.weight",
        "obj_ptr_tpos_proj.bias",
    } <= meta.keys()
    assert {
        "vision_encoder.backbone.blocks.0.mlp.proj_out.weight",
        "shared_image_embedding.positional_embedding",
        "prompt_encoder.point_embed.weight",
        "mask_decoder.transformer.final_attn_token_to_image.o_proj.weight",
        "mask_decoder.output_hypernetworks_mlps.3.layers.0.weight",
    } <= transformers.keys()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_versions_differ_in_three_tensors(layout):
    """The mark of frames without the object, and what says how old pointers are."""
    later, earlier = (
        LAYOUTS[layout].to_theirs(hollow(published("TINY", version))).keys()
        for version in ("2.1", "2")
    )
    marks = {
        "meta": {"no_obj_embed_spatial", "obj_ptr_tpos_proj.weight", "obj_ptr_tpos_proj.bias"},
        "transformers": {
            "occlusion_spatial_embedding_parameter",
            "temporal_positional_encoding_projection_layer.weight",
            "temporal_positional_encoding_projection_layer.bias",
        },
    }
    assert earlier < later
    assert later - earlier == marks[layout]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_name_that_only_begins_alike_is_unknown(ours, layout):
    """What is neither of images nor of memory is refused."""
    theirs = LAYOUTS[layout].to_theirs(ours)
    with pytest.raises(WeightsError, match="first: `memory_encoder"):
        LAYOUTS[layout].to_ours(theirs | {"memory_encoders": torch.ones(1)})


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


@pytest.mark.parametrize(
    "row",
    [torch.zeros(1, 31), torch.zeros(32), torch.zeros(()), torch.zeros(1, 32, dtype=torch.int8)],
)
def test_rows_of_a_stack_are_alike(ours, row):
    """The one that is not is named, with both shapes and dtypes."""
    name = "sam_prompt_encoder.point_embeddings.2.weight"
    with pytest.raises(WeightsError, match=r"point_embeddings\.2\.weight` is \(.*no row beside"):
        META.to_ours(META.to_theirs(ours) | {name: row})


def test_rows_have_an_axis(ours):
    """Single numbers are no rows, not even of one another."""
    theirs = META.to_theirs(ours)
    rows = {name: torch.zeros(()) for name in theirs if "point_embeddings" in name}
    with pytest.raises(WeightsError, match="no row beside"):
        META.to_ours(theirs | rows)


def test_a_copy_of_another_dtype_is_none(ours):
    """It is refused, not compared."""
    theirs = TRANSFORMERS.to_theirs(ours)
    name = "shared_image_embedding.positional_embedding"
    theirs[name] = theirs[name].half()
    with pytest.raises(WeightsError, match="is not what it copies"):
        TRANSFORMERS.to_ours(theirs)


PARTS = KeyMap(
    renames={"norm.{}": "norm.{}"},
    splits={"layers.{}.in_{}": ("blocks.{}.q.{}", "blocks.{}.k.{}")},
    joins={("{}.first", "{}.second"): "{}.both"},
    squares={"places": "map"},
    class_slot=True,
    unused=("dead.{}",),
)


def test_a_tensor_is_split_by_rows():
    """Each of its parts has as many, in order, and they are put together again."""
    theirs = {"layers.3.in_w": torch.arange(8).reshape(4, 2)}
    ours = PARTS.to_ours(theirs)
    assert ours["blocks.3.q.w"].tolist() == [[0, 1], [2, 3]]
    assert ours["blocks.3.k.w"].tolist() == [[4, 5], [6, 7]]
    assert torch.equal(PARTS.to_theirs(ours)["layers.3.in_w"], theirs["layers.3.in_w"])


def test_tensors_are_joined_by_rows():
    """In the order of the rule, whatever the order of the file."""
    theirs = {"a.second": torch.tensor([3, 4]), "a.first": torch.tensor([1, 2])}
    ours = PARTS.to_ours(theirs)
    assert ours["a.both"].tolist() == [1, 2, 3, 4]
    back = PARTS.to_theirs(ours)
    assert all(torch.equal(back[name], each) for name, each in theirs.items())


def test_positions_are_laid_out():
    """Row by row, without what stands before them, of which zeros come back."""
    line = torch.arange(10).reshape(1, 5, 2)
    ours = PARTS.to_ours({"places": line})
    assert ours["map"].tolist() == [[[[2, 3], [4, 5]], [[6, 7], [8, 9]]]]
    back = PARTS.to_theirs(ours)["places"]
    assert back[0, 0].tolist() == [0, 0]
    assert torch.equal(back[:, 1:], line[:, 1:])


def test_what_plays_no_part_is_lost():
    """It may be anything, and does not come back."""
    ours = PARTS.to_ours({"dead.x": torch.ones(1), "norm.a": torch.ones(2)})
    assert list(ours) == ["norm.a"]
    assert list(PARTS.to_theirs(ours)) == ["norm.a"]
    assert PARTS.idle(["dead.x", "dead.x.y", "norm.a"]) == {"dead.x"}


@pytest.mark.parametrize(
    ("theirs", "message"),
    [
        (
            {"layers.0.in_w": torch.ones(3, 2)},
            r"in_w` is \(3, 2\).*not 2 times as many",
        ),
        ({"layers.0.in_w": torch.ones(())}, "not 2 times as many"),
        ({"a.first": torch.ones(1)}, r"`a\.second` is missing"),
        ({"a.second": torch.ones(1)}, r"`a\.first` is missing"),
        ({"a.first": torch.ones(1), "a.second": torch.ones(2)}, "no row beside"),
        ({"places": torch.ones(1, 4, 2)}, r"`places` is \(1, 4, 2\).*makes no square map"),
        ({"places": torch.ones(1, 1, 2)}, "makes no square map"),
        ({"places": torch.ones(5, 2)}, "makes no square map"),
    ],
)
def test_what_cannot_be_shared_out_is_named(theirs, message):
    """As the file names it, with its shape."""
    with pytest.raises(WeightsError, match=message):
        PARTS.to_ours(theirs)


@pytest.mark.parametrize(
    ("ours", "message"),
    [
        ({"blocks.0.q.w": torch.ones(1)}, r"`blocks\.0\.k\.w` is missing"),
        ({"a.both": torch.ones(3)}, "not 2 times as many"),
        ({"map": torch.ones(1, 4, 2)}, "makes no square map"),
    ],
)
def test_what_cannot_be_put_back_is_named(ours, message):
    """By our name, in the other direction."""
    with pytest.raises(WeightsError, match=message):
        PARTS.to_theirs(ours)


@settings(deadline=None, max_examples=25)
@given(
    side=st.integers(1, 5),
    width=st.integers(1, 3),
    blocks=st.integers(0, 3),
    rows=st.integers(1, 3),
)
def test_rules_go_back_and_forth(side, width, blocks, rows):
    """Our tensors come back as they were, of any size."""
    ours = {"map": torch.rand(1, side, side, width), "x.both": torch.rand(2 * rows, width)}
    for i in range(blocks):
        ours |= {f"blocks.{i}.{part}.w": torch.rand(rows, width) for part in "qk"}
    back = PARTS.to_ours(PARTS.to_theirs(ours))
    assert back.keys() == ours.keys()
    assert all(torch.equal(back[name], each) for name, each in ours.items())
