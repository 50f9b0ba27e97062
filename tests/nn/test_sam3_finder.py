"""What finds in SAM 3, whole: beside transformers, and in the company of others."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from promptseg.nn.outputs import Detections, Examples, Phrases
from promptseg.nn.sam3 import finder as finder_module
from promptseg.nn.sam3.finder import Finder, FinderFeatures
from promptseg.nn.sam3.neck import Levels
from promptseg.nn.sam3.tokenizer import TokenIds
from promptseg.weights.keymaps.sam3_finder import meta_finder, transformers_finder
from reference_sam3_finder import CONFIG, reference_answer, reference_finder, small_finder

SIDE = CONFIG.image_side
ROUNDING = 2e-5
# A box well inside, a flat one, one that reaches over the edge, one of a single cell.
BOXES = torch.tensor(
    [[3.0, 2, 15, 13], [1, 9, 21, 10], [-4, 12, 9, 27], [7, 7, 9, 9], [0, 0, 22, 22]]
)
# The words of each question, and its examples: number of the box, and label.
KINDS = {
    "text": (3, []),
    "one word": (1, []),
    "an example": (2, [(0, 1)]),
    "a counterexample": (2, [(1, 0)]),
    "both": (5, [(0, 1), (1, 0), (4, 1)]),
    "beyond the edge": (4, [(2, 1), (3, 0)]),
}


def noise(*shape, seed=17):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def phrases_of(lengths, padded=0):
    """Phrases of some words each, which are the same in any company; what is padded is noise."""
    longest = max(lengths) + padded
    features = noise(len(lengths), longest, CONFIG.channels, seed=longest)
    attended = torch.zeros(len(lengths), longest, dtype=torch.bool)
    for row, length in enumerate(lengths):
        features[row, :length] = noise(length, CONFIG.channels, seed=100 + length)
        attended[row, :length] = True
    return Phrases(features, attended)


def examples_of(rows, padded=0):
    """Examples of each question; there is a place for one at least, and padding is anywhere."""
    longest = max(1, *(len(row) for row in rows)) + padded
    boxes = 40 * noise(len(rows), longest, 4, seed=longest)
    labels = torch.full((len(rows), longest), -1)
    for row, examples in enumerate(rows):
        for place, (box, label) in enumerate(examples):
            boxes[row, place] = BOXES[box]
            labels[row, place] = label
    return Examples(boxes, labels)


def asked(*kinds, padded=0):
    lengths, rows = zip(*(KINDS[kind] for kind in kinds), strict=True)
    return phrases_of(lengths, padded), examples_of(rows, padded)


@pytest.fixture(scope="module")
def finder():
    return small_finder()


@pytest.fixture(scope="module")
def levels():
    side, channels = CONFIG.grid_side, CONFIG.channels
    return Levels(*(noise(1, side * scale, side * scale, channels) for scale in (4, 2, 1)))


def prepared(finder, levels) -> FinderFeatures:
    """Features of a neck that gives these maps, whatever it sees."""
    neck, finder.neck = finder.neck, torch.nn.Identity()
    try:
        finder.neck.forward = lambda _: levels
        return finder.prepare(torch.zeros(1, 1, 1, CONFIG.trunk.width))
    finally:
        finder.neck = neck


@pytest.fixture(scope="module")
def features(finder, levels):
    return prepared(finder, levels)


@pytest.fixture(scope="module")
def reference(finder):
    return reference_finder(CONFIG, finder)


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.inference_mode():
        yield


def drawn(finder, features, found):
    everything = [range(found.logits.shape[1])] * len(found.logits)
    return torch.stack(finder.outline(features, found, everything))


def same(one: Detections, other: Detections):
    """Whether scores, boxes and presence agree."""
    for mine, theirs in zip(one[:3], other[:3], strict=True):
        assert_close(mine, theirs, atol=ROUNDING, rtol=0)


@pytest.mark.parametrize("kinds", [*((kind,) for kind in KINDS), tuple(KINDS)])
def test_answers_are_those_of_transformers(finder, features, levels, reference, kinds):
    """Scores, boxes, presence and masks of every kind of question, alone and all at once."""
    questions = asked(*kinds)
    theirs = reference_answer(reference, levels, *questions, SIDE)
    found = finder(features, *questions)
    assert_close(found.logits, theirs.logits, atol=1e-4, rtol=0)
    assert_close(found.boxes, theirs.boxes, atol=1e-5, rtol=0)
    assert_close(found.presence, theirs.presence, atol=1e-4, rtol=0)
    assert_close(drawn(finder, features, found), theirs.masks, atol=1e-3, rtol=0)


@settings(max_examples=8, deadline=None)
@given(st.lists(st.sampled_from(list(KINDS)), min_size=1, max_size=4), st.integers(0, 3))
def test_company_and_padding_change_no_answer(finder, features, kinds, padded):
    """A question gets the same answer alone as among others, in any order, however padded."""
    together = finder(features, *asked(*kinds, padded=padded))
    masks = drawn(finder, features, together)
    for row, kind in enumerate(kinds):
        alone = finder(features, *asked(kind))
        same(together.of([row]), alone)
        assert_close(masks[row : row + 1], drawn(finder, features, alone), atol=1e-4, rtol=0)


@pytest.mark.parametrize("cells", [1, 2 * CONFIG.grid_side**2])
def test_portions_change_no_answer(finder, features, cells, monkeypatch):
    """Questions may be answered and drawn one by one, two by two or all at once."""
    questions = asked(*KINDS)
    whole = finder(features, *questions)
    masks = drawn(finder, features, whole)
    monkeypatch.setattr(finder_module, "CELLS", cells)
    parts = finder(features, *questions)
    same(parts, whole)
    assert_close(drawn(finder, features, parts), masks, atol=1e-4, rtol=0)


@pytest.mark.parametrize("cells", [1, 10**6])
def test_each_question_may_have_an_image_of_its_own(finder, levels, features, cells, monkeypatch):
    """As many images as questions are asked one each, and drawn where that is wanted."""
    monkeypatch.setattr(finder_module, "CELLS", cells)
    other = prepared(finder, Levels(*(level.flip(1) for level in levels)))
    pair = FinderFeatures(*(torch.cat(grids) for grids in zip(features, other, strict=True)))
    together = finder(pair, *asked("both", "text"))
    first, second = finder(features, *asked("both")), finder(other, *asked("text"))
    same(together.of([0]), first)
    same(together.of([1]), second)
    masks = finder.outline(pair, together, [[], [3]])
    assert_close(masks[1], drawn(finder, other, second)[0, [3]], atol=1e-4, rtol=0)


def test_only_wanted_slots_are_drawn(finder, features):
    """In the order asked for; and none is no mask."""
    found = finder(features, *asked("text", "both", "one word"))
    masks = drawn(finder, features, found)
    some = finder.outline(features, found, [[4, 1], [], (12,)])
    assert [len(mask) for mask in some] == [2, 0, 1]
    assert {mask.shape[1:] for mask in some} == {masks.shape[2:]}
    assert_close(some[0], masks[0, [4, 1]], atol=1e-4, rtol=0)
    assert_close(some[2], masks[2, [12]], atol=1e-4, rtol=0)


def test_a_question_without_a_wanted_slot_costs_nothing(finder, features, monkeypatch):
    """Where nothing is found the head of masks is not asked."""
    found = finder(features, *asked("text", "both"))
    monkeypatch.setattr(finder, "_draw", None)
    assert [len(mask) for mask in finder.outline(features, found, [[], []])] == [0, 0]


def test_the_deepest_layer_is_the_answer(finder, features):
    """For training every layer answers; the last of them is what is answered otherwise."""
    questions = asked("text", "both")
    layers = finder.every_layer(features, *questions)
    assert len(layers) == CONFIG.finder.detector_layers
    same(layers[-1], finder(features, *questions))
    assert not torch.allclose(layers[0].boxes, layers[-1].boxes)


def test_all_weights_can_learn():
    """Gradients of scores, boxes, presence and masks reach all but one bias, which has no part."""
    with torch.inference_mode(mode=False), torch.enable_grad():
        finder = small_finder().requires_grad_(requires_grad=True)
        features = finder.prepare(noise(1, CONFIG.grid_side, CONFIG.grid_side, CONFIG.trunk.width))
        read = finder.read(TokenIds(torch.arange(6).reshape(2, 3), torch.ones(2, 3).bool()))
        layers = finder.every_layer(features, read, asked("text", "both")[1])
        masks = finder.outline(features, layers[-1], [[0, 5], [2]])
        sum(each.square().mean() for layer in layers for each in layer[:3]).backward(
            retain_graph=True
        )
        sum(mask.square().mean() for mask in masks).backward()
    idle = {name for name, weight in finder.named_parameters() if weight.grad is None}
    # Folded away: it adds the same to the likeness of a token to every cell.
    assert all(name.endswith("looking.keys.bias") for name in idle)


def test_half_precision_is_near(finder, levels, features):
    """In bfloat16 boxes and scores move by little, and stay float32."""
    half = small_finder().bfloat16()
    near = prepared(half, Levels(*(level.bfloat16() for level in levels)))
    phrases, examples = asked(*KINDS)
    rounded = half(near, Phrases(phrases.features.bfloat16(), phrases.attended), examples)
    exact = finder(features, phrases, examples)
    assert {each.dtype for each in rounded[:3]} == {torch.float32}
    assert (rounded.boxes - exact.boxes).abs().mean() < 0.02
    assert (rounded.logits - exact.logits).abs().mean() < 0.1
    masks = drawn(half, near, rounded)
    assert masks.dtype == torch.float32


def own(finder: Finder):
    """The weights that are neither the neck's nor the text encoder's."""
    weights = finder.state_dict()
    return {name: weights[name] for name in weights if not name.startswith(("neck.", "text."))}


def test_every_name_in_transformers_is_known(finder, reference):
    """Each of its tensors is one of ours or known to play no part."""
    theirs = {
        f"detector_model.{name}": tensor
        for name, tensor in reference.state_dict().items()
        if not name.startswith(("vision_encoder.", "text_"))
    }
    rules = transformers_finder("detector_model.", "finder.")
    ours = rules.to_ours(theirs)
    assert ours.keys() == {f"finder.{name}" for name in own(finder)}
    for name, tensor in own(finder).items():
        assert torch.equal(ours[f"finder.{name}"], tensor)


def test_names_of_meta_go_there_and_back(finder):
    """Queries, keys and values are one tensor there; all else has one name in each layout."""
    rules = meta_finder("detector.", "")
    theirs = rules.to_theirs(own(finder))
    assert all(name.startswith("detector.") for name in theirs)
    ours = rules.to_ours(theirs)
    assert ours.keys() == own(finder).keys()
    for name, tensor in own(finder).items():
        assert torch.equal(ours[name], tensor)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    {
        "transformer.decoder.layers.1.norm1.bias": "detector.layers.1.looking_norm.bias",
        "transformer.decoder.layers.1.norm2.bias": "detector.layers.1.mixing_norm.bias",
        "transformer.decoder.layers.1.norm3.bias": "detector.layers.1.mlp_norm.bias",
        "transformer.decoder.layers.1.catext_norm.bias": "detector.layers.1.asking_norm.bias",
        "transformer.decoder.boxRPB_embed_x.layers.0.bias": "detector.column_bias.layers.0.bias",
        "transformer.encoder.layers.1.norm2.bias": "fusion.layers.1.asking_norm.bias",
        "transformer.encoder.layers.1.linear2.bias": "fusion.layers.1.mlp.layers.1.bias",
        "geometry_encoder.encode.1.cross_attn_image.out_proj.bias": (
            "exemplars.layers.1.looking.out.bias"
        ),
        "geometry_encoder.img_pre_norm.bias": "exemplars.image_norm.bias",
        "geometry_encoder.encode_norm.bias": "exemplars.out_norm.bias",
        "dot_prod_scoring.hs_proj.bias": "detector.scorer.slots.bias",
        "segmentation_head.pixel_decoder.norms.1.bias": "masks.fine.norm.bias",
        "segmentation_head.mask_predictor.mask_embed.layers.2.bias": "masks.slots.layers.2.bias",
    }.items(),
)
def test_meta_numbers_norms_otherwise(theirs, ours):
    """Names whose order is not that in which they are used."""
    rules = meta_finder("", "")
    assert rules.to_ours({theirs: torch.zeros(1)}).keys() == {ours}


def test_queries_keys_and_values_are_rows_of_one_tensor():
    """In this order."""
    rows = torch.arange(6.0)
    ours = meta_finder("", "").to_ours({"transformer.decoder.layers.0.ca_text.in_proj_bias": rows})
    stem = "detector.layers.0.asking"
    assert {name: each.tolist() for name, each in ours.items()} == {
        f"{stem}.queries.bias": [0, 1],
        f"{stem}.keys.bias": [2, 3],
        f"{stem}.values.bias": [4, 5],
    }


@pytest.mark.parametrize(
    "name",
    [
        "geometry_encoder.points_direct_project.weight",
        "segmentation_head.pixel_decoder.conv_layers.2.weight",
        "segmentation_head.semantic_seg_head.bias",
    ],
)
def test_tensors_without_a_part_are_known(name):
    """They are left out, and are no error."""
    assert meta_finder("", "").to_ours({name: torch.zeros(1)}) == {}
