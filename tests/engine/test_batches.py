"""Work is gathered by image, in order, and cut into bounded chunks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from fake_network import FakeNetwork
from promptseg.engine.batches import Limits, chunks, plan
from promptseg.engine.runtime import Runtime
from promptseg.prompts import Box, Points
from promptseg.requests import EverythingRequest, FindRequest, SegmentRequest

SPEC = FakeNetwork.spec
ONE = Points([(1, 1)])
TWO = Points([(1, 1), (2, 2)])


def image(value: int) -> np.ndarray:
    return np.full((5, 7, 3), value, dtype=np.uint8)


def first_pixel(pixels: np.ndarray) -> str:
    return str(pixels[0, 0, 0])


def test_equal_images_are_one_piece_of_work():
    """Two requests on one image share it, and images come in the order first asked about."""
    requests = [
        SegmentRequest.of(image(3), [TWO, ONE]),
        SegmentRequest.of(image(2), ONE),
        SegmentRequest.of(image(3), Box(0, 0, 3, 3)),
    ]
    work = plan(requests, digest=first_pixel)
    assert [each.name.content for each in work] == ["3", "2"]
    assert [each.requests for each in work] == [(0, 2), (1,)]


def test_no_objects_make_no_work():
    """A request without prompts encodes nothing, not even a digest."""
    assert plan([SegmentRequest.of(image(3), [])], digest=lambda _: 1 / 0) == []


def test_chunks_keep_order_and_bound():
    """Seven items at most three at a time are 3, 3 and 1."""
    assert list(chunks(range(7), 3)) == [range(3), range(3, 6), range(6, 7)]
    assert list(chunks([], 3)) == []


@pytest.mark.parametrize(
    ("side", "cores", "abreast"),
    [(384, 1, 1), (384, 2, 2), (384, 16, 16), (384, 17, 1), (1024, 4, 4), (1024, 5, 1)],
)
def test_a_cpu_takes_one_at_a_time_or_one_on_each_core(monkeypatch, side, cores, abreast):
    """So that company changes no bit; side by side, where memory holds as many as there are."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: cores)
    cpu = Runtime(torch.device("cpu"), torch.float32)
    spec = replace(SPEC, image_side=side)
    assert Limits.of(cpu, spec) == Limits(images=1, objects=1, concepts=1, abreast=abreast)


@pytest.mark.parametrize(
    ("free", "expected"),
    [
        (0, Limits(images=1, objects=1, concepts=1)),
        (10 * SPEC.image_side**2 * 1024, Limits(images=5, objects=32, concepts=6)),
        (10 * SPEC.mask_side**2 * 640, Limits(images=1, objects=5, concepts=1)),
        (10 * SPEC.mask_side**2 * 3072, Limits(images=3, objects=24, concepts=5)),
        (2**40, Limits(images=8, objects=64, concepts=16)),
        (None, Limits(images=1, objects=16, concepts=4)),
    ],
)
def test_half_of_the_free_memory_is_planned(monkeypatch, free, expected):
    """1 KiB for a pixel of the square; 640 bytes for a cell of a mask, 3 KiB for one of a concept.

    Few where nobody knows.
    """
    monkeypatch.setattr(Runtime, "free_bytes", lambda self: free)
    assert Limits.of(Runtime(torch.device("cuda"), torch.bfloat16), SPEC) == expected


def test_requests_of_all_kinds_are_gathered():
    """What is asked of an image is one piece of work, whatever the verb; nothing asked is none."""
    requests = [
        FindRequest.of(image(3), "cat"),
        EverythingRequest(image(2)),
        FindRequest.of(image(5), []),
        SegmentRequest.of(image(3), ONE),
    ]
    work = plan(requests, digest=first_pixel)
    assert [(each.name.content, each.requests) for each in work] == [("3", (0, 3)), ("2", (1,))]
