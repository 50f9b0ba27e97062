"""A concept gets from SAM 3 the same answer alone as in any company, up to rounding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptseg.concepts import Concept
from promptseg.engine.batches import Limits
from promptseg.engine.cache import FeatureCache
from promptseg.engine.runtime import Runtime
from promptseg.engine.verbs import Verbs
from promptseg.options import FindOptions, SegmentOptions
from promptseg.prompts import Box, Points
from promptseg.requests import FindRequest, SegmentRequest
from small_sam3 import SMALL, small_sam3

NETWORK = small_sam3()
CPU = Runtime.choose("cpu", "float32")
PHOTO = np.random.default_rng(3).integers(0, 256, (31, 47, 3), np.uint8)
ALL = FindOptions(threshold=0)

BOXES = st.tuples(
    st.integers(0, 20), st.integers(0, 12), st.integers(21, 47), st.integers(13, 31)
).map(lambda numbers: Box(*numbers))
CONCEPTS = st.builds(
    Concept,
    st.lists(st.sampled_from(["red", "small", "cat", "table"]), min_size=1, max_size=7).map(
        " ".join
    ),
    include=st.lists(BOXES, max_size=2),
    exclude=st.lists(BOXES, max_size=2),
) | st.builds(Concept, include=st.lists(BOXES, min_size=1, max_size=3))


def run(requests, *, concepts, cache_bytes=0):
    """Answer with so many concepts at a time."""
    limits = Limits(images=1, objects=1, concepts=concepts)
    verbs = Verbs(NETWORK, CPU, FeatureCache(cache_bytes), limits=limits)
    ended = sorted(verbs.run(requests), key=lambda each: each.request)
    return [each.outcome for each in ended]


def assert_same(one, other):
    """The same things, slot by slot; a pixel in a thousand may round otherwise."""
    assert sorted(one.candidates) == sorted(other.candidates)
    first, second = (np.argsort(masks.candidates) for masks in (one, other))
    np.testing.assert_allclose(one.scores[first], other.scores[second], atol=1e-5)
    np.testing.assert_allclose(one.predicted_boxes[first], other.predicted_boxes[second], atol=1e-3)
    unlike = one.to_numpy()[first] != other.to_numpy()[second]
    assert unlike.mean() < 1e-3
    assert one.complete == other.complete


@settings(deadline=None, max_examples=4)
@given(st.lists(CONCEPTS, min_size=2, max_size=4), st.integers(2, 4))
def test_company_and_padding_change_nothing(concepts, together):
    """Phrases of one to seven words with no to four examples, in portions of any size."""
    requests = [FindRequest(PHOTO, (concept,), ALL) for concept in concepts]
    crowd = run(requests, concepts=together)
    for request, masks in zip(requests, crowd, strict=True):
        assert_same(masks, run([request], concepts=1)[0])


@pytest.mark.parametrize("cache_bytes", [0, 2**24])
def test_one_look_serves_both_halves(monkeypatch, cache_bytes):
    """`find` and `segment` on one image: one encoding, and the answers of each alone."""
    looks = []
    encode = NETWORK.encode
    monkeypatch.setattr(NETWORK, "encode", lambda pixels: looks.append(1) or encode(pixels))
    find = FindRequest.of(PHOTO, ["red cat", "dog"], ALL)
    segment = SegmentRequest.of(
        PHOTO, [Points([(20, 11)]), Box(3, 5, 29, 23)], SegmentOptions(all_candidates=True)
    )
    found, masks = run([find, segment], concepts=2, cache_bytes=cache_bytes)
    assert looks == [1]
    assert_same(found[:13], run([find], concepts=1)[0][:13])
    assert masks.runs == run([segment], concepts=1)[0].runs


def test_all_slots_are_answered_without_a_threshold():
    """As many as the network has, scored, boxed within the image, best first."""
    [masks] = run([FindRequest.of(PHOTO, "red cat", ALL)], concepts=1)
    assert len(masks) == SMALL.finder.queries
    assert not masks.complete
    assert (np.diff(masks.scores) <= 0).all()
    assert (masks.predicted_boxes >= 0).all()
    assert (masks.predicted_boxes <= [47, 31, 47, 31]).all()
