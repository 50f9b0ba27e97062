"""Running out of memory halves what is worked on at a time, and is said."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

from fake_network import FakeNetwork
from promptseg.engine.batches import Limits
from promptseg.engine.cache import FeatureCache
from promptseg.engine.portions import Portions, is_out_of_memory
from promptseg.engine.segmenter import Segmenter
from promptseg.errors import OutOfMemoryError
from promptseg.prompts import Points
from promptseg.requests import SegmentRequest


class Work:
    """Doubles numbers, as long as there are at most `room` of them; beyond that asks for 1 EiB."""

    def __init__(self, room):
        self.room = room
        self.sizes = []
        self.released = 0

    def __call__(self, items):
        self.sizes.append(len(items))
        if len(items) > self.room:
            torch.empty(2**58)
        return [2 * item for item in items]

    def release(self):
        self.released += 1

    def portions(self, most):
        return Portions(most, what="doubling numbers", release=self.release)


def test_half_is_tried_until_it_fits(caplog):
    """Of ten at most eight at a time and room for two: 8, 4, 2, and two from then on."""
    work = Work(room=2)
    portions = work.portions(8)
    with caplog.at_level(logging.WARNING):
        assert list(portions.run(range(10), work)) == [2 * i for i in range(10)]
    assert work.sizes == [8, 4, 2, 2, 2, 2, 2]
    assert work.released == 2
    assert portions.most == 2
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == "out of memory while doubling numbers 8 at a time; going on with 4"


def test_the_limit_never_rises():
    """Another thread may have lowered it in the meantime."""
    work = Work(room=2)
    portions = work.portions(8)

    def lowered(items):
        portions.most = 1
        return work(items)

    assert list(portions.run(range(5), lowered)) == [0, 2, 4, 6, 8]
    assert work.sizes == [5, 1, 1, 1, 1, 1]


def test_one_that_does_not_fit_is_an_error_after_a_second_try():
    """What can be spared is given back first; then one sentence says what to do."""
    work = Work(room=0)
    with pytest.raises(OutOfMemoryError, match="out of memory while doubling numbers one") as error:
        list(work.portions(1).run([1], work))
    assert "bfloat16" in error.value.hint
    assert work.sizes == [1, 1]
    assert work.released == 1


def test_other_errors_pass():
    """A bug is not mistaken for want of memory."""
    with pytest.raises(RuntimeError, match="broken"):
        list(Work(room=9).portions(4).run([1], lambda items: _raise(RuntimeError("broken"))))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.cuda.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"), True),
        (RuntimeError("[enforce fail] not enough memory: you tried to allocate 9 bytes."), True),
        (RuntimeError("shapes do not fit"), False),
    ],
)
def test_how_want_of_memory_is_worded(error, expected):
    """Torch says it differently on every device."""
    assert is_out_of_memory(error) == expected


def test_the_engine_goes_on_with_less(runtime, white, monkeypatch):
    """Eight objects at a time do not fit, four do: the masks are those of one at a time."""
    network = FakeNetwork()
    decode = network.decode

    def short(features, prompts):
        answers = decode(features, prompts)
        if len(prompts.points) > 4:
            torch.empty(2**58)
        return answers

    prompts = [Points([(i, 14)]) for i in range(1, 9)]
    request = SegmentRequest.of(white, prompts)
    [alone] = Segmenter(network, runtime, FeatureCache(0)).segment([request])
    monkeypatch.setattr(network, "decode", short)
    limits = Limits(images=8, objects=8)
    segmenter = Segmenter(network, runtime, FeatureCache(2**20), limits=limits)
    network.decoded.clear()
    [masks] = segmenter.segment([request])
    assert network.decoded == [8, 4, 4]
    assert masks.runs == alone.runs
    assert np.array_equal(masks.scores, alone.scores)


def _raise(error):
    raise error
