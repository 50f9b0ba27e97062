"""What weights are is told by their tensors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from promptseg.errors import ConfigError, WeightsError
from promptseg.nn.parts.memory import MemoryConfig
from promptseg.nn.sam2 import config as sizes
from promptseg.nn.tiny.config import TinyConfig
from promptseg.weights import identify as module
from promptseg.weights.header import Header
from promptseg.weights.hollow import hollow
from promptseg.weights.identify import KEYMAPS, identify
from promptseg.weights.stored import Stored
from small_sam2 import FITTING, PADDED, small_sam2
from stored_sam2 import meta_tensors, transformers_tensors

FULL = {
    "tiny": sizes.TINY,
    "small": sizes.SMALL,
    "base-plus": sizes.BASE_PLUS,
    "large": sizes.LARGE,
}
LAYOUTS = {"meta": meta_tensors, "transformers": transformers_tensors}


def stored(tensors, config=None) -> Stored:
    """Tensors as of a file without a telling name."""
    return Stored(Path("x"), tensors, {}, config or {})


def shapes(config, layout):
    """The names and shapes of a published file, without its numbers; copies are left out."""
    theirs = KEYMAPS[layout].to_theirs(hollow(config).state_dict())
    return {name: each for name, each in theirs.items() if name not in KEYMAPS[layout].copies}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("version", ["2", "2.1"])
@pytest.mark.parametrize("size", FULL)
def test_each_published_model_is_known_by_its_shapes(layout, version, size):
    """Layout, version and size, and all of its numbers."""
    config = replace(FULL[size], memory=MemoryConfig(version=version))
    found = identify(stored(shapes(config, layout)))
    assert found.config == config
    assert found.name == f"sam{version}-{size}"
    assert (found.layout, found.family, found.version) == (layout, "sam2", version)


def test_images_only_do_not_tell_the_version():
    """Without a memory SAM 2 and SAM 2.1 are alike, and the name says so."""
    found = identify(stored(shapes(replace(sizes.LARGE, memory=None), "transformers")))
    assert found.version is None
    assert found.name == "sam2-large, images only"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_sizes_come_from_shapes(layout, known_sizes):
    """Even of a known width and depth, what shapes tell is theirs."""
    wider = replace(FITTING, hidden=40, memory=replace(FITTING.memory, slots=5, hidden=12))
    found = identify(stored(LAYOUTS[layout](small_sam2(wider))))
    assert found.config == wider


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_unknown_size_is_refused_by_its_numbers(layout):
    """Heads and windows cannot be told from tensors, so nothing is guessed."""
    with pytest.raises(WeightsError, match=r"width 10 and \(2, 1, 3, 2\) blocks.*no size"):
        identify(stored(LAYOUTS[layout](small_sam2(PADDED))))


def test_transformers_own_sizes_are_read():
    """With the `config.json` that transformers writes, any size is known."""
    pytest.importorskip("transformers")
    from reference_sam2 import reference_config

    for config in (FITTING, PADDED):
        written = reference_config(config).to_diff_dict()
        found = identify(stored(transformers_tensors(small_sam2(config)), written))
        assert found.config == config
        assert found.size is None


@pytest.mark.parametrize("size", FULL)
def test_sizes_that_transformers_leaves_out_are_known(size):
    """Where a `config.json` does not say, the published size of that width and depth does."""
    found = identify(stored(shapes(FULL[size], "transformers"), {"model_type": "sam2_video"}))
    assert found.config == FULL[size]


def test_transformers_own_sizes_count_more_than_the_table():
    """A model that was tuned on smaller images says so."""
    smaller = {"model_type": "sam2", "prompt_encoder_config": {"image_size": 512}}
    found = identify(stored(shapes(sizes.TINY, "transformers"), smaller))
    assert found.config == replace(sizes.TINY, image_side=512)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "bert"}, "is of a `bert`, not of SAM 2"),
        ({"vision_config": {}}, "is of a `None`"),
        ({"model_type": "sam2", "vision_config": 7}, "make no SAM 2"),
        ({"model_type": "sam2", "prompt_encoder_config": {"image_size": "big"}}, "make no SAM 2"),
        ({"model_type": "sam2", "prompt_encoder_config": {"image_size": 1000}}, "make no SAM 2"),
        ({"model_type": "sam2", "prompt_encoder_config": {"image_size": 2**20}}, "make no SAM 2"),
        ({"model_type": "sam2", "mask_decoder_config": {"num_attention_heads": 0}}, "make no SAM"),
        (
            {"model_type": "sam2", "vision_config": {"backbone_config": {"blocks_per_stage": [1]}}},
            "make no SAM 2",
        ),
    ],
)
def test_sizes_that_make_no_sense_are_refused(config, message):
    """Of another model, or of the wrong kind."""
    with pytest.raises(WeightsError, match=message) as caught:
        identify(stored(shapes(sizes.TINY, "transformers"), config))
    assert caught.value.hint


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("keep", [slice(0, None, 2), slice(0, 200), slice(200, None)])
def test_half_of_the_tensors_is_missing_tensors(layout, keep):
    """Not another family or size: the first that is missing is named."""
    whole = shapes(sizes.SMALL, layout)
    names = sorted(whole)[keep]
    with pytest.raises(WeightsError, match="missing") as caught:
        identify(stored({name: whole[name] for name in names}))
    first = str(caught.value).split("`")[1]
    assert first in whole
    assert first not in names


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["image_encoder.blocks.0.attn.rel_pos_h", "image_encoder.neck.0.weight"], "SAM 1"),
        (["vision_encoder.layers.0.attn.rel_pos_h"], "SAM 1"),
        (["tracker.model.maskmem_tpos_enc", "detector.backbone.x"], r"SAM 3\.1"),
        (["conv1.weight", "layer1.0.conv1.weight", "fc.bias"], "a ResNet"),
        (["model.0.conv.weight"], "YOLO"),
        (["model.embed_tokens.weight"], "a language model"),
    ],
)
def test_another_family_is_named(names, kind):
    """What it looks like is said, rather than which tensor is unknown."""
    with pytest.raises(WeightsError, match=f"it looks like {kind}") as caught:
        identify(stored({name: torch.zeros(1) for name in names}))
    wanted = "take `sam3`" if "SAM 3" in kind else "promptseg models list"
    assert wanted in caught.value.hint


def test_what_nobody_knows_shows_its_first_tensor():
    """An unknown file is not called something that it may not be."""
    with pytest.raises(WeightsError, match="its first tensor is `strange`"):
        identify(stored({"strange": torch.zeros(1)}))
    with pytest.raises(WeightsError, match="holds no tensors"):
        identify(stored({}))


def test_one_more_tensor_is_named(known_sizes):
    """Nothing is left out without a word."""
    with pytest.raises(WeightsError, match="first: `extra`"):
        identify(stored(meta_tensors() | {"extra": torch.zeros(1)}))


BILLION = {
    "meta": [
        "memory_attention.layers.1000000000.norm1.weight",
        "memory_encoder.fuser.layers.1000000000.gamma",
        "image_encoder.trunk.blocks.1000000000.norm1.weight",
        "image_encoder.trunk.blocks.1000000000.proj.weight",
    ],
    "transformers": [
        "memory_attention.layers.1000000000.layer_norm1.weight",
        "memory_encoder.memory_fuser.layers.1000000000.scale",
        "vision_encoder.backbone.blocks.1000000000.layer_norm1.weight",
        "vision_encoder.backbone.blocks.1000000000.proj.weight",
    ],
}


@pytest.mark.parametrize("sizes_beside", [False, True])
@pytest.mark.parametrize(
    ("layout", "name"), [(layout, name) for layout in BILLION for name in BILLION[layout]]
)
def test_a_number_in_a_name_makes_nothing_large(layout, name, sizes_beside, known_sizes):
    """One tensor cannot ask for as many layers as it counts; the tensors limit them."""
    tensors = LAYOUTS[layout]() | {name: torch.zeros(1)}
    sizes_given = {"model_type": "sam2_video"} if sizes_beside else None
    try:
        config = identify(stored(tensors, sizes_given)).config
    except WeightsError:
        return
    layers = sum(config.trunk.depths) + config.memory.layers + config.memory.blocks
    assert layers <= len(tensors)


def test_more_layers_than_tensors_are_refused(known_sizes):
    """Of our own header too, where names are not looked at."""
    config = replace(FITTING, memory=replace(FITTING.memory, layers=8000))
    header = Header(config, "").to_metadata()
    with pytest.raises(WeightsError, match="make no network"):
        identify(Stored(Path("x"), {"a": torch.zeros(1)}, header, {}))
    deep = Header(TinyConfig(depths=(4096, 4096, 4096, 4096)), "").to_metadata()
    with pytest.raises(WeightsError, match="make no network"):
        identify(Stored(Path("x"), {"a": torch.zeros(1)}, deep, {}))


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("trunk", "global_blocks", (7,)),
        ("trunk", "global_blocks", (-1,)),
        ("trunk", "global_blocks", (True,)),
        ("trunk", "global_blocks", ("4",)),
        ("trunk", "global_blocks", 4),
        ("trunk", "windows", (8, 4, 2, 0)),
        ("trunk", "windows", (8, 4, 2, -1)),
        ("trunk", "windows", (8, 4, 2, 1.0)),
        ("trunk", "windows", (8, 4, 2, 32)),
        ("trunk", "windows", (8, 4, 2)),
        ("trunk", "depths", (1, 2, 3)),
        ("trunk", "depths", (0, 3, 3, 1)),
        ("trunk", "width", 6.0),
        ("trunk", "background", 0),
        ("trunk", "background", 10**9),
        ("memory", "slots", 0),
        ("memory", "hidden", "20"),
        (None, "image_side", 16384),
        (None, "image_side", -64),
        (None, "heads", 0),
        (None, "heads", True),
        (None, "hidden", 10**9),
    ],
)
def test_sizes_are_whole_numbers_in_range(unchecked, part, name, value):
    """Also those that no tensor shows; what does not fit is refused where it is made."""
    whole = getattr(FITTING, part) if part else FITTING
    with pytest.raises(ConfigError):
        replace(FITTING, **{part or name: replace(whole, **{name: value}) if part else value})


def test_the_table_is_of_published_sizes():
    """The small ones of the tests are not among them."""
    assert {name: each.trunk.width for name, each in module.SIZES.items()} == {
        "tiny": 96,
        "small": 96,
        "base-plus": 112,
        "large": 144,
    }
