"""Company changes no mask: batch mates, padding, order, number of objects, bounds, cache."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_network import FakeNetwork
from promptseg.engine.batches import Limits
from promptseg.engine.cache import FeatureCache
from promptseg.engine.preprocess import PADDING, prompt_tensors
from promptseg.engine.runtime import Runtime
from promptseg.engine.segmenter import Segmenter
from promptseg.geometry import Placement, Size
from promptseg.options import SegmentOptions
from promptseg.prompts import Box, MaskHint, Points, Prompt
from promptseg.requests import SegmentRequest
from small_network import small_network

CPU = Runtime.choose("cpu", "float32")
SIZES = (Size(31, 37), Size(43, 29), Size(41, 47))
PHOTOS = [
    np.random.default_rng(i).integers(0, 256, (*size, 3), np.uint8) for i, size in enumerate(SIZES)
]
NETWORKS = {"fake": FakeNetwork(), "small": small_network()}
# Float32 sums in another order, at the scale of the logits seen here.
ROUNDING = 1e-4


@st.composite
def points(draw, size):
    count = draw(st.integers(1, 5))
    x = st.floats(0, size.width - 1, width=16)
    y = st.floats(0, size.height - 1, width=16)
    where = draw(st.lists(st.tuples(x, y), min_size=count, max_size=count))
    return Points(where, draw(st.lists(st.integers(0, 1), min_size=count, max_size=count)))


@st.composite
def boxes(draw, size):
    x0, y0 = draw(st.integers(-3, size.width - 2)), draw(st.integers(-3, size.height - 2))
    return Box(x0, y0, x0 + draw(st.integers(4, 50)), y0 + draw(st.integers(4, 50)))


@st.composite
def hints(draw, size):
    mask = np.zeros(size, bool)
    top, left = draw(st.integers(0, size.height - 1)), draw(st.integers(0, size.width - 1))
    mask[top : top + draw(st.integers(1, 9)), left : left + draw(st.integers(1, 9))] = True
    return MaskHint(mask)


@st.composite
def prompts(draw, size):
    parts = draw(st.sets(st.sampled_from(["points", "box", "hint"]), min_size=1))
    return Prompt(
        points=draw(points(size)) if "points" in parts else None,
        box=draw(boxes(size)) if "box" in parts else None,
        hint=draw(hints(size)) if "hint" in parts else None,
    )


@st.composite
def requests(draw):
    which = draw(st.integers(0, len(SIZES) - 1))
    options = SegmentOptions(
        threshold=draw(st.sampled_from([0.0, 0.3])),
        all_candidates=draw(st.booleans()),
        logits=True,
    )
    asked = draw(st.lists(prompts(SIZES[which]), max_size=4))
    return SegmentRequest.of(PHOTOS[which], asked, options)


def segmenter_of(name, *, images=2, objects=3, cache_bytes=0):
    limits = Limits(images=images, objects=objects)
    return Segmenter(NETWORKS[name], CPU, FeatureCache(cache_bytes), limits=limits)


def assert_same(masks, others):
    """Same objects and candidates; logits to rounding; masks alike but where logits are 0."""
    assert masks.size == others.size
    assert masks.objects.tolist() == others.objects.tolist()
    assert masks.candidates.tolist() == others.candidates.tolist()
    assert masks.confident.tolist() == others.confident.tolist()
    if not len(masks):
        return
    for column in ("scores", "presence", "logits"):
        mine, theirs = getattr(masks, column), getattr(others, column)
        np.testing.assert_allclose(mine, theirs, atol=ROUNDING, rtol=0)
    for mask, other, logits in zip(masks.runs, others.runs, masks.logits, strict=True):
        if np.abs(logits).min() > ROUNDING and mask != other:
            pixels = mask.size.height * mask.size.width
            assert (mask.to_mask() ^ other.to_mask()).sum() <= 0.01 * pixels


def segment_alone(name, request):
    """Ask for one object at a time of an engine that has seen nothing."""
    found = []
    for prompt in request.prompts:
        one = SegmentRequest.of(request.image, prompt, request.options)
        found += segmenter_of(name).segment([one])
    return found


@pytest.mark.parametrize("name", NETWORKS)
@settings(max_examples=15, deadline=None)
@given(asked=st.lists(requests(), min_size=1, max_size=4))
def test_company_does_not_change_a_mask(name, asked):
    """Every object of every request gets what it gets alone, whoever shares the batch and image."""
    together = segmenter_of(name).segment(asked)
    assert len(together) == len(asked)
    for request, masks in zip(asked, together, strict=True):
        assert masks.size == request.size
        assert set(masks.objects.tolist()) == set(range(len(request.prompts)))
        for place, alone in enumerate(segment_alone(name, request)):
            mine = masks[masks.objects == place]
            assert_same(mine, type(mine)(**{**vars(alone), "objects": mine.objects}))


@settings(max_examples=20, deadline=None)
@given(
    asked=st.lists(requests(), min_size=1, max_size=4),
    images=st.integers(1, 4),
    objects=st.integers(1, 9),
    room=st.sampled_from([0, 100, 2**20]),
)
def test_bounds_and_cache_do_not_change_a_bit(asked, images, objects, room):
    """On a network that computes object by object, how the work is cut leaves no trace at all."""
    plain = segmenter_of("fake", images=1, objects=1).segment(asked)
    cut = segmenter_of("fake", images=images, objects=objects, cache_bytes=room)
    for _ in range(2):
        for masks, others in zip(plain, cut.segment(asked), strict=True):
            assert masks.runs == others.runs
            assert masks.scores.tolist() == others.scores.tolist()
            assert len(masks) == 0 or np.array_equal(masks.logits, others.logits)


@pytest.mark.parametrize("name", NETWORKS)
@settings(max_examples=10, deadline=None)
@given(asked=st.lists(requests(), min_size=2, max_size=4), data=st.data())
def test_order_does_not_change_a_mask(name, asked, data):
    """Requests in another order get their own answers in that order."""
    order = data.draw(st.permutations(range(len(asked))))
    plain = segmenter_of(name).segment(asked)
    shuffled = segmenter_of(name).segment([asked[i] for i in order])
    for place, i in enumerate(order):
        assert_same(shuffled[place], plain[i])


@pytest.mark.parametrize("name", NETWORKS)
@settings(max_examples=20, deadline=None)
@given(
    prompt=prompts(SIZES[0]),
    padding=st.lists(st.tuples(*[st.floats(-99, 999, width=16)] * 2), min_size=1, max_size=7),
)
def test_padding_does_not_change_an_answer(name, prompt, padding):
    """Points labelled -1, wherever they are, leave logits, scores and presence as they were."""
    network = NETWORKS[name]
    spec = network.spec
    plain = prompt_tensors([prompt], Placement(SIZES[0], spec.image_side), spec, CPU)
    padded = plain._replace(
        points=torch.cat([plain.points, torch.tensor(padding)[None]], dim=1),
        labels=torch.cat([plain.labels, torch.full((1, len(padding)), PADDING)], dim=1),
    )
    with torch.inference_mode():
        features = network.encode(torch.rand(1, 3, spec.image_side, spec.image_side))
        answers, others = network.decode(features, plain), network.decode(features, padded)
    for mine, theirs in zip(answers, others, strict=True):
        torch.testing.assert_close(mine, theirs, atol=ROUNDING, rtol=0)


def test_on_a_cpu_company_does_not_move_one_bit():
    """The same prompt once and three times, beside others of more points, as a CPU is limited."""
    [photo] = PHOTOS[:1]
    asked = Prompt(box=Box(3, 2, 20, 15))
    beside = Prompt(points=Points([(5, 5), (9, 9), (12, 3)]))
    options = SegmentOptions(all_candidates=True, logits=True)
    segmenter = Segmenter(NETWORKS["small"], CPU, FeatureCache(0))
    alone, crowd = segmenter.segment(
        [
            SegmentRequest.of(photo, asked, options),
            SegmentRequest.of(photo, [asked, beside] * 3, options),
        ]
    )
    for number in range(0, 6, 2):
        found = crowd[crowd.objects == number]
        np.testing.assert_array_equal(found.logits, alone.logits)
        np.testing.assert_array_equal(found.scores, alone.scores)
        assert found.runs == alone.runs


@pytest.mark.parametrize("name", NETWORKS)
def test_many_objects_side_by_side_get_the_masks_of_each_alone(name):
    """On a CPU with two threads, eleven objects are answered two at a time, up to rounding."""
    asked = [Prompt(points=Points([(3 * i + 1, 2 * i + 3)])) for i in range(11)]
    options = SegmentOptions(all_candidates=True, logits=True)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        segmenter = segmenter_of(name, objects=1)
        [together] = segmenter.segment([SegmentRequest.of(PHOTOS[0], asked, options)])
        alone = [
            segmenter.segment([SegmentRequest.of(PHOTOS[0], each, options)])[0] for each in asked
        ]
    finally:
        torch.set_num_threads(before)
    for number, masks in enumerate(alone):
        mine = together[together.objects == number]
        assert (mine.candidates == masks.candidates).all()
        assert np.abs(mine.logits - masks.logits).max() < ROUNDING
        assert np.abs(mine.scores - masks.scores).max() < ROUNDING
