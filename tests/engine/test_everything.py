"""`everything` on a network whose answers can be worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fake_network import FakeNetwork
from promptseg.engine.cache import FeatureCache
from promptseg.engine.everything import Search
from promptseg.engine.segmenter import Segmenter
from promptseg.errors import ConfigError, ImageError, OutOfMemoryError
from promptseg.geometry import Size
from promptseg.options import EverythingOptions, TidyOptions
from promptseg.requests import EverythingRequest

# Squares of the fake network are 2, 4 and 6 cells wide, and a cell is 2 pixels of the square.
PLAIN = EverythingOptions(points_per_side=2, threshold=0.2, stability_threshold=0.0, edge_margin=0)


def found(segmenter, image, options=PLAIN, grids=None):
    search = Search(segmenter, EverythingRequest(image, options, grids))
    steps = list(search)
    assert steps == sorted(steps)
    return search.masks()


def test_every_candidate_of_every_point_is_found(segmenter, white):
    """Four points, three squares each; where two coincide up to 0.7 the better one stays."""
    masks = found(segmenter, white, replace(PLAIN, max_box_iou=1.0))
    assert len(masks) == 12
    assert masks.scores.tolist() == [0.75] * 4 + [0.5] * 4 + [0.25] * 4
    assert masks.candidates.tolist() == [1] * 4 + [2] * 4 + [0] * 4
    assert {tuple(point) for point in masks.points.tolist()} == {
        (3.5, 7),
        (10.5, 7),
        (3.5, 21),
        (10.5, 21),
    }
    assert (masks.crops == [0, 0, 14, 28]).all()
    assert masks.complete
    assert masks.objects.tolist() == list(range(12))
    assert len(set(masks.stability.tolist())) == 3


def test_candidates_below_the_threshold_are_left_out(segmenter, white):
    """Predicted IoU has to be above it, not to reach it."""
    assert len(found(segmenter, white, replace(PLAIN, threshold=0.25, max_box_iou=1.0))) == 8
    assert len(found(segmenter, white, replace(PLAIN, threshold=0.75))) == 0


def test_no_survivors_in_any_crop_are_an_empty_result(segmenter, white):
    """A black image scores nothing, whole or in crops."""
    masks = found(segmenter, np.zeros_like(white), replace(PLAIN, crop_layers=2))
    assert len(masks) == 0
    assert masks.size == Size(28, 14)
    assert masks.points.shape == (0, 2)
    assert masks.complete


def test_an_image_of_one_pixel_has_an_answer(segmenter):
    """It is asked once, and the mask is that pixel."""
    masks = found(segmenter, np.full((1, 1, 3), 255, np.uint8), replace(PLAIN, crop_layers=1))
    assert masks.areas.tolist() == [1]


def test_a_mask_is_stable_as_its_image_sized_areas_say(segmenter, white):
    """The share of pixels that a higher threshold leaves, counted on the enlarged logits."""
    options = replace(PLAIN, stability_offset=0.5, max_box_iou=1.0)
    masks = found(segmenter, white, options, grids=([[0.5, 0.5]],))
    with torch.inference_mode():
        cells = (torch.arange(7) + 0.5) * 2
        away = torch.maximum((cells - 7).abs()[:, None], (cells - 7).abs()) / 2
        logits = 2 - away
        full = torch.nn.functional.interpolate(logits[None, None], (28, 14), mode="bilinear")
    expected = float((full > 0.5).sum() / (full > -0.5).sum())
    assert masks.stability[0] == pytest.approx(expected, abs=1e-6)


def test_masks_that_a_crop_cuts_off_are_left_out(segmenter, white):
    """Near an edge of a crop that is not the image's; the whole image has no such edge."""
    options = replace(PLAIN, crop_layers=1, crop_overlap=0.5, edge_margin=3, max_box_iou=1.0)
    masks = found(segmenter, white, replace(options, max_crop_iou=1.0))
    crops = masks.crops.tolist()
    assert [0, 0, 14, 28] in crops
    for box, (x0, y0, x1, y1) in zip(masks.boxes - (0, 0, 1, 1), crops, strict=True):
        for edge, crop_edge, image_edge in zip(box, (x0, y0, x1, y1), (0, 0, 14, 28), strict=True):
            assert abs(edge - crop_edge) > 3 or abs(edge - image_edge) <= 3


def test_what_a_smaller_crop_saw_comes_first(segmenter, white):
    """Of two masks of one thing the one from the smaller crop stays."""
    options = replace(PLAIN, crop_layers=1, max_crop_iou=0.0, threshold=0.6)
    masks = found(segmenter, white, options)
    assert [0, 0, 14, 28] not in masks.crops.tolist()


def test_small_regions_are_filled_and_dropped(segmenter, white, network):
    """Holes and specks of fewer pixels than asked go; the masks stay one to one."""
    network_with_hole(network)
    grids = ([[0.5, 0.5]],)
    options = replace(PLAIN, threshold=0.6)
    holed = found(segmenter, white, options, grids)
    filled = found(segmenter, white, replace(options, min_region_area=200), grids)
    assert holed.areas[0] < filled.areas[0]
    assert filled.polygons()[0][0].holes == ()


def network_with_hole(network):
    decode = network.decode

    def with_hole(features, prompts):
        answer = decode(features, prompts)
        answer.logits[..., 3, 3] = -9
        return answer

    network.decode = with_hole


def test_masks_are_tidied_together(segmenter, white):
    """Squares of one point lie in each other: containment leaves the best of them."""
    options = replace(PLAIN, max_box_iou=1.0, tidy=TidyOptions(max_containment=0.9))
    masks = found(segmenter, white, options, grids=([[0.5, 0.5]],))
    assert masks.candidates.tolist() == [1, 2]


def test_outlines_across_which_nothing_changes_are_left_out(segmenter, white):
    """On a plain picture all are; where a dark field begins at an outline, that one stays."""
    options = replace(PLAIN, max_box_iou=1.0, min_contrast=30)
    assert len(found(segmenter, white, options)) == 0
    halved = white.copy()
    halved[:, :6] = 100
    grids = ([[0.75, 0.5]],)
    kept = found(segmenter, halved, replace(options, threshold=0.0), grids)
    all_of_them = found(segmenter, halved, replace(options, threshold=0.0, min_contrast=0), grids)
    assert 0 < len(kept) < len(all_of_them) == 3


def test_one_candidate_a_point(segmenter, white):
    """Without all candidates a point gives its best."""
    masks = found(segmenter, white, replace(PLAIN, all_candidates=False))
    assert set(masks.candidates.tolist()) == {1}


def test_refining_asks_again_with_the_mask_as_a_hint(segmenter, white, network):
    """Each candidate is asked once more; the fake adds half the hint, so squares grow."""
    grids = ([[0.5, 0.5]],)
    plain = found(segmenter, white, replace(PLAIN, threshold=0.6), grids)
    refined = found(
        segmenter, white, replace(PLAIN, threshold=0.6, refine=True, max_box_iou=1.0), grids
    )
    assert len(network.decoded) == 1 + 1 + 3
    assert len(refined) == 3
    assert refined.areas.max() > plain.areas.max()


def test_the_threshold_of_a_mask_moves(segmenter, white):
    """A higher logit to pass makes smaller masks."""
    low = found(segmenter, white)
    high = found(segmenter, white, replace(PLAIN, mask_threshold=0.9))
    assert high.areas.max() < low.areas.max()


def test_a_search_that_ends_early_keeps_what_it_has(segmenter, white):
    """After a budget of nothing there is the first step's, marked as not all."""
    masks = found(segmenter, white, replace(PLAIN, points_per_side=5, time_budget=0))
    assert not masks.complete
    assert 0 < len(masks) < 25


def test_masks_may_be_asked_at_any_time(segmenter, white):
    """Also while the search goes on, as after an interruption."""
    search = Search(segmenter, EverythingRequest(white, replace(PLAIN, points_per_side=5)))
    assert len(search.masks()) == 0
    steps = iter(search)
    next(steps)
    early = search.masks()
    assert not early.complete
    steps.close()
    assert len(search.masks()) == len(early) > 0


def test_a_search_goes_on_where_it_was_left(segmenter, white):
    """After a break the rest is asked, once; after the end there is nothing more."""
    options = replace(PLAIN, points_per_side=5)
    search = Search(segmenter, EverythingRequest(white, options))
    first = next(iter(search)).done
    rest = [step.done for step in search]
    assert rest == list(range(first + 1, 26))
    assert search.complete
    assert list(search) == []
    whole = found(segmenter, white, options)
    assert [run.counts.tobytes() for run in search.masks().runs] == [
        run.counts.tobytes() for run in whole.runs
    ]


def test_a_cached_image_is_not_encoded_again(segmenter, white, network):
    """What `segment` saw of the whole image serves `everything`."""
    segmenter.encoder.encode([white])[0]
    found(segmenter, white)
    assert network.encoded == [1]


def test_a_network_that_judges_draws_only_what_is_good(runtime, white):
    """Candidates below the threshold, and the one for prompts without doubt, are never drawn."""
    network = JudgingNetwork()
    segmenter = Segmenter(network, runtime, FeatureCache(0))
    masks = found(segmenter, white, replace(PLAIN, threshold=0.3, max_box_iou=1.0))
    assert network.drawn == [(2,)] * 4
    assert set(masks.candidates.tolist()) == {2}


class JudgingNetwork(FakeNetwork):
    """The fake in two steps; its second candidate is for prompts that leave no doubt."""

    spec = replace(FakeNetwork.spec, sure=1)

    def __init__(self):
        super().__init__()
        self.drawn = []

    def judge(self, features, prompts):
        return Judged(self.decode(features, prompts))

    def draw(self, features, judgement, candidates):
        with self.lock:
            self.drawn.append(tuple(candidates))
        return judgement.answer.logits[:, list(candidates)]


class Judged:
    def __init__(self, answer):
        self.answer = answer
        self.scores, self.presence = answer.scores, answer.presence

    def of(self, rows):
        return Judged(
            self.answer._replace(
                **{name: column[list(rows)] for name, column in self.answer._asdict().items()}
            )
        )


def test_threads_and_chunks_change_no_mask(runtime, white):
    """One thread or several, one point at a time or four: the same masks."""
    answers = []
    for together, threads in ((1, 1), (1, 2), (4, 2)):
        network = FakeNetwork()
        network.spec = replace(FakeNetwork.spec, together=together)
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            answers.append(found(Segmenter(network, runtime, FeatureCache(0)), white))
        finally:
            torch.set_num_threads(before)
    for other in answers[1:]:
        assert {each.counts.tobytes() for each in other.runs} == {
            each.counts.tobytes() for each in answers[0].runs
        }
        assert other.scores.tolist() == answers[0].scores.tolist()


def test_memory_that_runs_out_is_an_error_of_one_sentence(segmenter, white, network):
    """A point alone that does not fit ends the search by name."""

    def decode(features, prompts):
        raise RuntimeError("out of memory")

    network.decode = decode
    with pytest.raises(OutOfMemoryError, match="asking points"):
        found(segmenter, white)


@pytest.mark.parametrize(
    ("grids", "words"),
    [
        (([[0.5, 1.5]],), "shares"),
        (([[0.5, float("nan")]],), "shares"),
        (([0.5, 0.5],), "shape"),
        (([[0.5, 0.5]],) * 2, "1 layers"),
    ],
)
def test_a_grid_that_makes_no_sense_is_refused(white, grids, words):
    """Its points are shares of the crop, one grid for each layer."""
    with pytest.raises(ConfigError, match=words):
        EverythingRequest(white, PLAIN, grids)


def test_a_request_is_checked_when_made(white):
    """The image and the options."""
    with pytest.raises(ImageError):
        EverythingRequest(white[0])
    with pytest.raises(ConfigError, match="EverythingOptions"):
        EverythingRequest(white, TidyOptions())
