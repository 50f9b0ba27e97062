"""Both layouts of SAM 3's encoders are told in full, and lead to the same weights."""

from __future__ import annotations

import pytest
import torch

from promptseg.errors import WeightsError
from promptseg.nn.sam3.config import TextConfig, TrunkConfig
from promptseg.nn.sam3.neck import Neck
from promptseg.nn.sam3.text import TextEncoder
from promptseg.nn.sam3.vit import Trunk
from promptseg.weights.keymaps import sam3_encoders as names
from seeded import fill

TRUNK = TrunkConfig(
    patch=2, width=8, depth=2, heads=2, hidden=7, window=3, global_blocks=(1,), background=3
)
TEXT = TextConfig(vocabulary=13, context=5, width=6, depth=2, heads=3, hidden=11)
OURS = {
    "trunk": Trunk(TRUNK, side=3),
    "neck": Neck(8, 6),
    "text": TextEncoder(TEXT, 6),
}
LAYOUTS = {
    "trunk": (names.meta_trunk, names.transformers_trunk),
    "neck": (names.meta_neck, names.transformers_neck),
    "text": (names.meta_text, names.transformers_text),
}
# A name of each kind that Meta's layout has, with its shape; and what plays no part there.
META = {
    "trunk": {
        "pos_embed": (1, 10, 8),
        "patch_embed.proj.weight": (8, 3, 2, 2),
        "ln_pre.bias": (8,),
        "blocks.1.norm2.weight": (8,),
        "blocks.1.attn.qkv.weight": (24, 8),
        "blocks.1.attn.proj.bias": (8,),
        "blocks.1.mlp.fc2.weight": (8, 7),
    },
    "neck": {
        "0.dconv_2x2_0.weight": (8, 4, 2, 2),
        "0.dconv_2x2_1.weight": (4, 2, 2, 2),
        "1.dconv_2x2.weight": (8, 4, 2, 2),
        "1.conv_1x1.weight": (6, 4, 1, 1),
        "2.conv_3x3.bias": (6,),
    },
    "text": {
        "encoder.token_embedding.weight": (13, 6),
        "encoder.positional_embedding": (5, 6),
        "encoder.transformer.resblocks.1.attn.in_proj_weight": (18, 6),
        "encoder.transformer.resblocks.1.attn.in_proj_bias": (18,),
        "encoder.transformer.resblocks.1.attn.out_proj.weight": (6, 6),
        "encoder.transformer.resblocks.1.ln_2.bias": (6,),
        "encoder.transformer.resblocks.1.mlp.c_proj.weight": (6, 11),
        "encoder.ln_final.weight": (6,),
        "resizer.bias": (6,),
    },
}
UNUSED = {
    "trunk": ["blocks.0.attn.freqs_cis"],
    "neck": ["3.conv_1x1.weight", "3.conv_3x3.bias"],
    "text": ["encoder.text_projection"],
}


@pytest.fixture(params=OURS)
def kind(request):
    return request.param


def weights(kind):
    ours = fill(OURS[kind], 5).state_dict()
    return {f"ours.{name}": each for name, each in ours.items()}


@pytest.mark.parametrize("layout", [0, 1])
def test_weights_that_go_there_come_back(kind, layout):
    """Every one of them, and nothing else, behind prefixes of their own."""
    table = LAYOUTS[kind][layout]("theirs.", "ours.")
    theirs = table.to_theirs(weights(kind))
    assert all(name.startswith("theirs.") for name in theirs)
    back = table.to_ours(theirs)
    assert back.keys() == weights(kind).keys()
    assert all(torch.equal(back[name], each) for name, each in weights(kind).items())


def test_meta_has_the_names_that_are_known(kind):
    """With their shapes; where positions have a slot of no cell, it comes first."""
    theirs = LAYOUTS[kind][0]("", "ours.").to_theirs(weights(kind))
    assert META[kind].items() <= {name: tuple(each.shape) for name, each in theirs.items()}.items()
    if kind == "trunk":
        assert torch.equal(theirs["pos_embed"][0, 4], weights(kind)["ours.background"][0, 1, 0])


def test_what_plays_no_part_is_left_out(kind):
    """And what is not known is refused."""
    table = LAYOUTS[kind][0]("detector.", "ours.")
    theirs = table.to_theirs(weights(kind))
    more = {f"detector.{name}": torch.zeros(2, 3) for name in UNUSED[kind]}
    assert table.to_ours(theirs | more).keys() == weights(kind).keys()
    with pytest.raises(WeightsError, match=r"first: `detector\.0\.strange`"):
        table.to_ours(theirs | {"detector.0.strange": torch.zeros(2)})
