"""Large images are answered part by part, as if they were looked at in one piece."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch.nn import functional

import promptseg as ps
from colour_model import COLOURS, ColourModel, scene
from promptseg.engine.everything import completed
from promptseg.engine.large import (
    MOST_VIEWS,
    TiledSearch,
    enlarged,
    segment_tiled,
)
from promptseg.errors import ConfigError, PromptError
from promptseg.geometry import Box, PixelBox, Size
from promptseg.io import windows
from promptseg.masks import RunLength
from promptseg.options import EverythingOptions, SegmentOptions, TidyOptions
from promptseg.prompts import MaskHint, Points, Prompt, as_prompt
from promptseg.results import Masks
from promptseg.tiles import Tiling, View

TILING = Tiling(side=32, overlap=8)
SIZE = Size(150, 190)
BAR, SPOT, FIELD = (20, 40, 60, 47), (101, 90, 109, 97), (120, 10, 180, 140)
IMAGE = scene(SIZE, (0, BAR), (1, SPOT), (2, FIELD))


def segment(prompts, image=IMAGE, options=None, model=None, tiling=TILING, **more):
    source = windows.open_image(image)
    model = model or ColourModel()
    prompts = [as_prompt(each) for each in (prompts if isinstance(prompts, list) else [prompts])]
    return segment_tiled(model, source, prompts, options or SegmentOptions(), tiling, **more)


def everything(image=IMAGE, options=None, model=None, tiling=TILING, **more):
    source = windows.open_image(image)
    model = model or ColourModel()
    return completed(TiledSearch(model, source, options or EverythingOptions(), tiling), **more)


def test_a_small_object_is_found_in_one_tile():
    """A point on a thing that fits in a tile is answered there, at the image's size."""
    model = ColourModel()
    masks = segment(Points([(105, 93)]), model=model)
    assert masks.size == SIZE
    np.testing.assert_array_equal(masks.boxes, [SPOT])
    np.testing.assert_array_equal(masks.crops, [(88, 80, 120, 112)])
    assert model.sizes == [(32, 32)]


def test_the_view_follows_an_object_beyond_its_edge():
    """A thing that begins in a tile and ends beyond it comes out whole, exactly."""
    spot, model = (106, 90, 123, 97), ColourModel()
    masks = segment(Points([(107, 93)]), image=scene(SIZE, (1, spot)), model=model)
    np.testing.assert_array_equal(masks.boxes, [spot])
    assert masks.areas.tolist() == [17 * 7]
    assert model.sizes == [(32, 32)] * 2


def test_a_long_object_is_seen_from_further_away():
    """A bar longer than a tile is found at half the resolution, at its place to a pixel or two."""
    masks = segment(Points([(22, 43)]))
    assert masks.crops[0, 2] - masks.crops[0, 0] > 32
    np.testing.assert_allclose(masks.boxes, [BAR], atol=2)


def test_an_object_larger_than_many_tiles_is_seen_in_the_overview():
    """The last resort is the whole image, reduced to the side of a tile."""
    model = ColourModel()
    masks = segment(Box(*FIELD), model=model)
    np.testing.assert_array_equal(masks.crops, [(0, 0, 190, 150)])
    np.testing.assert_allclose(masks.boxes, [FIELD], atol=3)
    assert max(max(size) for size in model.sizes) <= 32


def test_a_hint_is_used_where_it_is():
    """A mask at image size says where to look, and goes along into the view."""
    hint = np.zeros(SIZE, dtype=np.bool_)
    hint[92:95, 103:106] = True
    np.testing.assert_array_equal(segment(MaskHint(hint)).boxes, [SPOT])


def test_objects_come_back_in_their_order():
    """Prompts near and far, large and small, are answered in the order asked, and numbered so."""
    spot, field = Points([(105, 93)]), Points([(150, 70)])
    masks = segment([field, spot, Prompt(box=Box(*SPOT)), field])
    np.testing.assert_array_equal(masks.objects, [0, 1, 2, 3])
    np.testing.assert_array_equal(masks.boxes[1:3], [SPOT, SPOT])
    assert masks.runs[0] == masks.runs[3]


def test_objects_near_to_each_other_share_a_view():
    """Two prompts in one part of the image are one question."""
    model = ColourModel()
    segment([Points([(105, 93)]), Points([(106, 94)])], model=model)
    assert len(model.sizes) == 1


def test_company_changes_no_mask():
    """An object gets the same mask alone as among others."""
    prompts = [Points([(105, 93)]), Points([(22, 43)]), Box(*FIELD)]
    together = segment(prompts)
    for number, prompt in enumerate(prompts):
        assert segment(prompt).runs == together[number].runs


def test_views_have_a_bound():
    """A model that always ends at the edge gets a few views, and then the whole image."""

    class Everywhere(ColourModel):
        def segment(self, image, prompts, *, options):
            self.sizes.append(Size(*image.shape[:2]))
            return Masks.from_numpy(np.ones((len(prompts), *image.shape[:2]), dtype=np.bool_))

    model = Everywhere()
    image = np.zeros((400, 9000, 3), dtype=np.uint8)
    masks = segment(Points([(4500, 200)]), image=image, model=model)
    assert len(model.sizes) <= MOST_VIEWS
    assert masks.areas.tolist() == [400 * 9000]


def test_an_empty_mask_is_an_answer():
    """What is not found is not looked for elsewhere."""

    class Nowhere(ColourModel):
        def segment(self, image, prompts, *, options):
            return Masks.from_numpy(np.zeros((len(prompts), *image.shape[:2]), dtype=np.bool_))

    assert segment(Points([(5, 5)]), model=Nowhere()).areas.tolist() == [0]


def test_no_prompt_is_no_mask():
    """None asked, none answered."""
    assert len(segment([])) == 0


def test_masks_are_tidied_at_the_end():
    """What is done to masks is done in pixels of the image, once, and not in each view."""
    seen = []

    class Watched(ColourModel):
        def segment(self, image, prompts, *, options):
            seen.append(options.tidy)
            return super().segment(image, prompts, options=options)

        def everything(self, image, *, options):
            seen.append(options.tidy)
            return super().everything(image, options=options)

    tidy = TidyOptions(min_score=0.95)
    options = SegmentOptions(tidy=tidy)
    assert len(segment(Points([(105, 93)]), model=Watched(), options=options)) == 1
    options = EverythingOptions(tidy=tidy)
    assert len(everything(model=Watched(), options=options)) == 0
    assert set(seen) == {TidyOptions()}


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (Points([(190, 5)]), r"the point \(190, 5\) lies outside the image"),
        (MaskHint(np.ones((5, 7), dtype=np.bool_)), "the hint is 7 x 5"),
        (MaskHint(np.full((7, 7), 0.5)), "logits does not say what part"),
        ([Points([(1, 1)]), Box(200, 0, 210, 9)], r"prompt 1: the box .* lies outside"),
    ],
)
def test_a_prompt_that_does_not_fit_is_refused(prompt, message):
    """Prompts are checked against the whole image before any part is read."""
    with pytest.raises(PromptError, match=message):
        segment(prompt)


def test_logits_cannot_be_asked_for():
    """Logits say nothing of the part that they are of."""
    with pytest.raises(ConfigError, match="logits of a part"):
        segment(Points([(1, 1)]), options=SegmentOptions(logits=True))


def test_everything_is_one_mask_for_each_thing():
    """Small things, a bar over a seam and a field of many tiles: three masks, no fragments."""
    masks = everything()
    assert masks.complete
    assert len(masks) == 3
    assert (np.diff(masks.scores) <= 0).all()
    found = {tuple(np.rint(box / 10).astype(int).tolist()) for box in masks.boxes}
    assert found == {tuple(np.rint(np.array(box) / 10).astype(int)) for box in (BAR, SPOT, FIELD)}


def test_everything_in_a_tile_is_everything():
    """An image that fits in a tile is one question, without an overview."""
    model = ColourModel()
    masks = everything(model=model, tiling=Tiling(side=200, overlap=8))
    whole = ColourModel().everything(IMAGE, options=None)
    assert model.sizes == [SIZE]
    assert set(masks.runs) == set(whole.runs)


def test_sizes_are_bounded_by_the_tile():
    """No part that is looked at has a longer side than a tile, the overview included."""
    model = ColourModel()
    everything(model=model)
    assert max(max(size) for size in model.sizes) <= 32


def test_progress_is_told_by_tiles():
    """After the overview and each tile one step, to the last."""
    steps = []
    everything(progress=steps.append)
    assert [step.done for step in steps] == list(range(1, len(steps) + 1))
    assert {step.total for step in steps} == {len(steps)} == {1 + 6 * 8}
    asked = []
    segment([Points([(105, 93)]), Box(*FIELD)], progress=asked.append)
    assert (asked[-1].done, asked[-1].total, asked[-1].found) == (2, 2, 2)


def test_an_interrupted_search_keeps_its_tiles():
    """Left in the middle, a search has the masks of its tiles, and says that they are not all."""
    search = TiledSearch(ColourModel(), windows.open_image(IMAGE), EverythingOptions(), TILING)
    for step in search:
        if step.done == 20:
            break
    masks = search.masks()
    assert not masks.complete
    assert 1 <= len(masks) <= 5


def test_a_time_budget_ends_the_search():
    """What is found in time comes back; each tile may use what is left."""
    budgets = []

    class Slow(ColourModel):
        def everything(self, image, *, options):
            budgets.append(options.time_budget)
            time.sleep(0.02)
            return super().everything(image, options=options)

    masks = everything(model=Slow(), options=EverythingOptions(time_budget=0.1))
    assert not masks.complete
    assert budgets == sorted(budgets, reverse=True)
    assert 1 <= len(budgets) <= 5


def test_a_tile_that_ends_early_ends_the_search():
    """Where the model itself stops in a tile, no other tile is begun."""

    class Stopped(ColourModel):
        def everything(self, image, *, options):
            return replace(super().everything(image, options=options), complete=False)

    model = Stopped()
    assert not everything(model=model).complete
    assert len(model.sizes) == 1


def test_the_least_area_is_that_of_the_image():
    """Where a view has one pixel for 36 of the image, so does the least area of a region."""
    areas = []

    class Watched(ColourModel):
        def everything(self, image, *, options):
            areas.append(options.min_region_area)
            return super().everything(image, options=options)

    everything(model=Watched(), options=EverythingOptions(min_region_area=100))
    assert areas[0] == 3
    assert set(areas[1:]) == {100}


@given(
    arrays.arrays(np.bool_, st.tuples(st.integers(1, 7), st.integers(1, 7))),
    st.integers(2, 5),
    st.integers(0, 4),
    st.integers(1, 3),
)
@settings(deadline=None)
def test_enlarging_is_bilinear_between_in_and_out(mask, factor, beyond, cells):
    """A mask in bands equals its slow twin: +1 and -1 enlarged by torch, and what is above 0."""
    height, width = mask.shape
    size = Size(11 + height * factor - beyond % factor, 7 + width * factor - beyond % factor)
    view = View(PixelBox(7, 11, size.width, size.height), factor)
    grid = torch.from_numpy(np.where(mask, 1.0, -1.0).astype(np.float32))[None, None]
    whole = functional.interpolate(grid, scale_factor=factor, mode="bilinear")[0, 0] > 0
    slow = np.zeros(size, dtype=np.bool_)
    slow[11:, 7:] = whole[: size.height - 11, : size.width - 7]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("promptseg.engine.large.CELLS_AT_ONCE", cells * (height + 2) * factor)
        fast = enlarged(RunLength.from_mask(mask), view, size)
    assert fast == RunLength.from_mask(slow)


def test_straight_edges_stay_where_they_are():
    """A rectangle enlarged is a rectangle but for its corners."""
    mask = np.zeros((6, 6), dtype=np.bool_)
    mask[1:4, 2:5] = True
    run = enlarged(RunLength.from_mask(mask), View(PixelBox(0, 0, 60, 60), 10), Size(60, 60))
    assert run.box == (20, 10, 50, 40)
    assert 0.95 * 900 < run.area < 900


@pytest.fixture(scope="module")
def model():
    """The built-in model."""
    return ps.load(device="cpu")


def test_the_built_in_model_answers_in_a_tile_as_without(model, photo):
    """A photo that fits in a tile gets the masks that `segment` and `everything` give."""
    image, box = ps.read(photo), Box(172, 18, 409, 308)
    tiling = Tiling(side=600, overlap=64)
    assert segment(box, image, model=model, tiling=tiling).runs == model.segment(image, box).runs
    options = EverythingOptions(points_per_side=3)
    tiled = everything(image, options, model, tiling)
    assert tiled.runs == model.everything(image, options=options).runs


def test_the_built_in_model_finds_a_cup_in_a_larger_picture(model, photo):
    """The cup of the photo is found in a scene of 2000 x 1500 with the photo in it."""
    image = np.full((1500, 2000, 3), 120, dtype=np.uint8)
    image[700:1100, 900:1500] = ps.read(photo)
    alone = model.segment(photo, Box(172, 18, 409, 308)).runs[0]
    found = segment(
        Box(1072, 718, 1309, 1008), image, model=model, tiling=Tiling(side=600, overlap=64)
    ).runs[0]
    x0, y0, x1, y1 = found.box
    assert (x0 >= 900, y0 >= 700, x1 <= 1500, y1 <= 1100) == (True,) * 4
    dense = RunLength.from_mask(found.to_mask()[700:1100, 900:1500])
    assert dense.intersection(alone) / dense.union(alone).area > 0.9


def test_the_colours_of_the_scene_are_the_models():
    """The scene is made of colours that the model of these tests knows."""
    assert {tuple(each) for each in IMAGE.reshape(-1, 3).tolist()} <= {(0, 0, 0), *COLOURS}
