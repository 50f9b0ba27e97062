"""Requests in, masks out, in order; worked by hand on the fake network."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fake_network import FakeNetwork
from promptseg.engine.batches import Limits
from promptseg.engine.cache import FeatureCache
from promptseg.engine.segmenter import Segmenter
from promptseg.errors import PromptError
from promptseg.options import SegmentOptions
from promptseg.prompts import Box, MaskHint, Points, Prompt
from promptseg.requests import SegmentRequest

CENTRE = Points([(7, 14)])
ALL = SegmentOptions(all_candidates=True)


def test_a_point_worked_by_hand(segmenter, white):
    """The point is the middle of cell (3, 3), where the best candidate is 2; two cells on it is 0.

    A cell is 2 pixels wide and 4 high here: the mask lies between x 2.5 and 10.5, y 5.5 and 21.5.
    """
    [masks] = segmenter.segment([SegmentRequest.of(white, CENTRE)])
    assert masks.boxes.tolist() == [[3, 6, 11, 22]]
    assert masks.areas.tolist() == [8 * 16]
    assert masks.scores.tolist() == [0.75]
    assert masks.candidates.tolist() == [1]
    assert masks.presence.tolist() == [0.5]
    assert masks.confident.tolist() == [True]


def test_all_candidates_come_best_first(segmenter, white):
    """Scores 0.75, 0.5, 0.25 are candidates 1, 2, 0: the middle, the large and the small square."""
    [masks] = segmenter.segment([SegmentRequest.of(white, CENTRE, ALL)])
    assert masks.candidates.tolist() == [1, 2, 0]
    assert masks.scores.tolist() == [0.75, 0.5, 0.25]
    assert masks.boxes[:, 0].tolist() == [3, 1, 5]


def test_nothing_confident_is_said(segmenter, white):
    """Above the best score the best comes back all the same, marked."""
    options = SegmentOptions(threshold=0.8)
    [masks] = segmenter.segment([SegmentRequest.of(white, CENTRE, options)])
    assert masks.confident.tolist() == [False]
    assert masks.candidates.tolist() == [1]


def test_no_prompts_are_no_masks_and_no_work(segmenter, network, white):
    """Zero objects give an empty result of the image's size."""
    [masks] = segmenter.segment([SegmentRequest.of(white, [])])
    assert len(masks) == 0
    assert masks.size == (28, 14)
    assert network.encoded == []
    assert segmenter.segment([]) == []


def test_an_image_is_encoded_once_for_all_that_is_asked_of_it(segmenter, network, white):
    """Equal pixels are one image, in one call and in the next."""
    requests = [SegmentRequest.of(white, CENTRE), SegmentRequest.of(white.copy(), Box(0, 0, 9, 9))]
    segmenter.segment(requests)
    segmenter.segment(requests[:1])
    assert network.encoded == [1]
    assert network.decoded == [1, 1, 1]


def test_batches_are_bounded(network, runtime, white):
    """Seven images at most three at a time, five objects at most two at a time."""
    limits = Limits(images=3, objects=2)
    segmenter = Segmenter(network, runtime, FeatureCache(0), limits=limits)
    images = [np.full_like(white, value) for value in range(7)]
    segmenter.segment([SegmentRequest.of(image, CENTRE) for image in images])
    assert network.encoded == [3, 3, 1]
    network.decoded.clear()
    segmenter.segment([SegmentRequest.of(white, [CENTRE] * 5)])
    assert network.decoded == [2, 2, 1]


def test_answers_are_in_the_order_asked(segmenter, white):
    """Objects are decoded by their number of points and still come back by their place."""
    two, box = Points([(3, 4), (11, 24)]), Box(4, 8, 8, 16)
    black = np.zeros_like(white)
    masks = segmenter.segment(
        [SegmentRequest.of(white, [two, box, CENTRE]), SegmentRequest.of(black, [CENTRE])]
    )
    assert [each.objects.tolist() for each in masks] == [[0, 1, 2], [0]]
    alone = [segmenter.segment([SegmentRequest.of(white, each)])[0] for each in (two, box, CENTRE)]
    assert masks[0].runs == tuple(each.runs[0] for each in alone)
    assert masks[1].scores.tolist() == [0]


def test_logits_feed_back_as_a_hint(segmenter, white):
    """A hint adds half its logits: candidate 1 alone is 2 at its peak, with its own logits 3."""
    options = SegmentOptions(logits=True)
    [first] = segmenter.segment([SegmentRequest.of(white, CENTRE, options)])
    assert first.logits.shape == (1, 7, 7)
    assert first.logits[0, 3, 3] == 2
    again = Prompt(points=CENTRE, hint=MaskHint(first.logits[0]))
    [second] = segmenter.segment([SegmentRequest.of(white, again, options)])
    assert second.logits[0, 3, 3] == 3


def test_a_hint_of_another_model_is_refused_before_any_work(segmenter, network, white):
    """Logits of another resolution are named, and nothing is encoded for them."""
    hint = Prompt(points=CENTRE, hint=MaskHint(np.full((5, 5), 0.5)))
    with pytest.raises(PromptError, match="5 x 5"):
        segmenter.segment([SegmentRequest.of(white, hint)])
    assert network.encoded == []


def test_threads_share_a_segmenter(runtime):
    """Sixteen threads on three images get what one gets, and each image is encoded once."""
    network = FakeNetwork()
    segmenter = Segmenter(network, runtime, FeatureCache(2**20))
    requests = [
        SegmentRequest.of(np.full((11, 13, 3), 80 * i, np.uint8), Points([(2 * i, i)]))
        for i in range(3)
    ]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda i: segmenter.segment([requests[i % 3]])[0], range(48)))
    assert sum(network.encoded) == 3
    alone = Segmenter(FakeNetwork(), runtime, FeatureCache(0)).segment(requests)
    for i, masks in enumerate(answers):
        assert masks.runs == alone[i % 3].runs
        assert masks.scores.tolist() == alone[i % 3].scores.tolist()


def test_of_many_requests_the_wrong_one_is_named(segmenter, network, white):
    """Request and prompt are counted from 0, and nothing is encoded for the others either."""
    wrong = Prompt(hint=MaskHint(np.full((5, 5), 0.5, np.float32)))
    good = SegmentRequest.of(white, CENTRE)
    with pytest.raises(PromptError, match=r"^request 1: prompt 2: .*5 x 5"):
        segmenter.segment([good, SegmentRequest.of(white, [CENTRE, CENTRE, wrong])])
    assert network.encoded == []
