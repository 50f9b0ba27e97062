"""The public front: load a model, ask it."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import promptseg as ps
from places import ROOT
from promptseg.weights.save import save
from small_network import small_network


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A small network with random weights, loaded from its file."""
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save(small_network(), path)
    return ps.load(path, device="cpu")


@pytest.fixture
def image():
    """Noise, 41 wide and 23 high."""
    return np.random.default_rng(2).integers(0, 256, (23, 41, 3), np.uint8)


def test_a_model_is_named_by_its_file(model):
    """The name and the runtime are shown."""
    assert model.name == "small"
    assert repr(model) == "Model(small, cpu float32)"


def test_one_prompt_and_a_list_of_one_are_the_same(model, image):
    """The single call wraps the batch call."""
    point = ps.Points([(7, 5)])
    assert model.segment(image, point).runs == model.segment(image, [point]).runs


def test_a_path_a_picture_and_an_array_are_the_same_image(model, image, tmp_path):
    """However an image comes, its pixels decide."""
    Image.fromarray(image).save(tmp_path / "x.png")
    box = ps.Box(3, 2, 31, 19)
    expected = model.segment(image, box)
    assert expected.size == (23, 41)
    for same in (tmp_path / "x.png", str(tmp_path / "x.png"), Image.fromarray(image)):
        assert model.segment(same, box).runs == expected.runs


def test_a_grey_image_is_converted(model):
    """Other arrays than H W 3 uint8 are read by the stated rules."""
    assert model.segment(np.zeros((23, 41)), ps.Points([(7, 5)])).size == (23, 41)


def test_no_prompts_are_no_masks(model, image):
    """Zero objects are an empty result."""
    assert len(model.segment(image, [])) == 0


def test_many_requests_are_answered_in_order(model, image):
    """`run` gives each request what `segment` gives it."""
    options = ps.SegmentOptions(all_candidates=True)
    prompts = [ps.Points([(7, 5)]), ps.Box(3, 2, 31, 19)]
    first, second = model.run([ps.SegmentRequest.of(image, each, options) for each in prompts])
    assert len(first) == len(second) == 3
    assert first.areas.tolist() == model.segment(image, prompts[0], options=options).areas.tolist()
    assert second.areas.tolist() == model.segment(image, prompts[1], options=options).areas.tolist()


def test_a_session_refines_and_takes_back(model, image):
    """The first step is a plain request, and undo returns to it."""
    with model.session(image) as session:
        first = session.add(ps.Points([(7, 5)]))
        assert first.runs == model.segment(image, ps.Points([(7, 5)])).runs
        session.add(ps.Points([(30, 20)], labels=[0]))
        assert session.undo() is first


def test_logits_go_round(model, image):
    """The logits of an answer are a hint for the next question to the same model."""
    options = ps.SegmentOptions(logits=True)
    masks = model.segment(image, ps.Points([(7, 5)]), options=options)
    hint = ps.MaskHint(masks.logits[0])
    assert len(model.segment(image, ps.Prompt(points=ps.Points([(7, 5)]), hint=hint))) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "gpu"}, "unknown device `gpu`"),
        ({"dtype": "int4"}, "unknown dtype `int4`"),
        ({"cache_bytes": -1}, "at least 0, got -1"),
        ({"name": "sam9"}, "no model and no weights file `sam9`"),
    ],
)
def test_what_does_not_exist_is_refused(options, message):
    """Names and bounds are checked before anything is read."""
    with pytest.raises(ps.ConfigError, match=message):
        ps.load(**options)


def test_a_missing_image_is_named(model, tmp_path):
    """The path is in the message."""
    with pytest.raises(ps.ImageError, match=r"nothing\.png"):
        model.segment(tmp_path / "nothing.png", ps.Points([(7, 5)]))


def test_what_is_of_another_kind_is_refused_by_name(model, image):
    """Options and requests are checked where they come in."""
    with pytest.raises(ps.ConfigError, match="`options` must be `SegmentOptions`, got dict"):
        model.session(image, options={})
    with pytest.raises(ps.PromptError, match="a list of requests, got tuple"):
        model.run([(image, ps.Box(1, 2, 3, 4))])


@pytest.mark.parametrize(
    "tidy",
    [
        ps.TidyOptions(),
        ps.TidyOptions(max_iou=1.0, max_containment=1.0),
        ps.TidyOptions(max_iou=0.9, max_containment=0.95, fill_holes=50),
    ],
)
def test_one_tile_gives_what_the_whole_image_gives(tidy):
    """Whatever the limits of what may overlap, the model's own or one's own."""
    model = ps.load(device="cpu")
    image = ps.read(ROOT / "examples" / "coffee.jpg")[:97, :131]
    options = ps.EverythingOptions(points_per_side=5, tidy=tidy)
    whole = model.everything(image, options=options)
    tiled = model.everything(image, options=options, tiling=ps.Tiling(side=256))
    assert len(whole) > 3
    assert set(tiled.runs) == set(whole.runs)


@pytest.mark.parametrize("grids", [3, [[[0.5, 0.5], [0.5]]], [[0.5, 0.5]]])
def test_a_grid_that_is_none_is_refused(grids):
    """One sentence, before any work."""
    with pytest.raises(ps.ConfigError, match="grid"):
        ps.load(device="cpu").search(np.zeros((9, 9, 3), np.uint8), grids=grids)


def test_the_built_in_model_knows_no_words():
    """It says what does."""
    with pytest.raises(ps.PromptError, match="this model knows no words") as caught:
        ps.load(device="cpu").find(np.zeros((9, 9, 3), np.uint8), "cat")
    assert "`sam3`" in caught.value.hint


def test_options_of_another_verb_are_refused():
    """By name, also with a tiling, which may be of the wrong kind too."""
    model, image = ps.load(device="cpu"), np.zeros((9, 9, 3), np.uint8)
    with pytest.raises(ps.ConfigError, match="EverythingOptions"):
        model.everything(image, options=ps.SegmentOptions())
    with pytest.raises(ps.ConfigError, match="Tiling"):
        model.everything(image, tiling=64)
    with pytest.raises(ps.ConfigError, match="Tiling"):
        model.segment(image, ps.Points([(3, 3)]), tiling=64)
    with pytest.raises(ps.ConfigError, match="do not go together"):
        model.search(image, tiling=ps.Tiling(), grids=[[[0.5, 0.5]]])
