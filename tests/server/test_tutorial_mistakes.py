"""The mistakes of the tutorial, each of them one that neither the service nor the library makes."""

from __future__ import annotations

import base64
import json
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import numpy as np
import pytest
import torch
from adapter_service import error_of, png, red, serving, unpacked

import promptseg as ps
from fake_finder import FakeBoth
from fake_model import model_of
from promptseg.geometry import Size
from promptseg.masks import RunLength
from promptseg.nn.outputs import MaskLogits
from promptseg.requests import EverythingRequest, SegmentRequest
from promptseg.weights import catalog

ADDRESS = "/segment"


class Waiting(FakeBoth):
    """A network that works on an image for as long as it is told to."""

    def __init__(self):
        super().__init__()
        self.begun, self.go_on = threading.Event(), threading.Event()

    def encode(self, pixels):
        self.begun.set()
        assert self.go_on.wait(30)
        return super().encode(pixels)


class Sure(FakeBoth):
    """A network whose outlines are sharp, sure of points in one corner of an image."""

    def decode(self, features, prompts):
        said = super().decode(features, prompts)
        in_corner = (prompts.points[:, :1] < 3).all(dim=2)
        scores = torch.where(in_corner, 0.95, 0.1).expand_as(said.scores)
        return MaskLogits(said.logits * 100, scores, said.presence)


@pytest.fixture(scope="module")
def client():
    with serving(FakeBoth(), max_bytes=20_000, max_pixels=10_000) as client:
        yield client


def point(image, *places, **said):
    """A request of the tutorial about points of an image."""
    points = [list(place) for place in places]
    return {"image_base64": png(image), "prompt_type": "point", "points": points, **said}


def dense(masks):
    """Masks as an array, n h w."""
    return np.stack([unpacked(text) > 127 for text in masks])


def test_a_400_raised_inside_try_came_back_as_500_with_the_text_of_the_exception(client):
    """A bad prompt is the caller's error, and says so in a sentence of its own."""
    for said in (
        {"prompt_type": "point"},
        {"prompt_type": "box"},
        {"prompt_type": "sideways"},
        {"prompt_type": "point", "points": [[500, 1]]},
    ):
        error = error_of(client.post(ADDRESS, json={"image_base64": png(red()), **said}), 422)
        assert "failed" not in error["message"]


def test_what_fails_inside_says_nothing_of_the_inside():
    """What nobody expected is a 500 whose body is constant; the rest is in the log."""

    class Broken(FakeBoth):
        def encode(self, pixels):
            raise ZeroDivisionError("secret at 0xdeadbeef in /srv/secret")

    with serving(Broken()) as client:
        error = error_of(client.post(ADDRESS, json=point(red(), (4, 4))), 500)
    assert error["message"] == "the request failed unexpectedly"
    assert "secret" not in str(error)


def test_there_were_no_labels_and_so_no_negative_points(client):
    """A point with the label 0 is cut out of the object."""
    points = ((4, 4), (8, 4))
    with_it = client.post(ADDRESS, json=point(red(), *points, labels=[1, 1])).json()
    without = client.post(ADDRESS, json=point(red(), *points, labels=[1, 0])).json()

    assert dense(with_it["masks_base64"])[0][4, 8]
    assert not dense(without["masks_base64"])[0][4, 8]
    assert dense(without["masks_base64"])[0][4, 4]


def test_results_were_treated_as_tensors(client):
    """What comes back is numbers and PNG files, on whatever device the network works."""
    answer = client.post(ADDRESS, json=point(red(), (4, 4))).json()

    assert isinstance(answer["num_masks"], int)
    assert all(isinstance(score, float) for score in answer["scores"])
    assert len(answer["masks_base64"]) == answer["num_masks"] == len(answer["scores"])
    masks = client.service.model.segment(red(), ps.Points([(4, 4)]))
    assert isinstance(masks.scores, np.ndarray)


def test_one_true_could_not_index_three_masks(client):
    """Where no candidate reaches the threshold the best comes back, with its score."""
    answer = client.post(ADDRESS, json=point(red(), (4, 4), confidence_threshold=0.9)).json()

    assert (answer["num_masks"], answer["scores"]) == (1, [0.75])
    options = ps.SegmentOptions(threshold=0.9, all_candidates=True)
    masks = client.service.model.segment(red(), ps.Points([(4, 4)]), options=options)
    assert masks.confident.tolist() == [False]


def test_the_generator_was_given_features_in_place_of_an_image():
    """`auto` finds what the library finds in the image, and nothing else is taken for one."""
    image = red(height=35, width=49)
    tidy = ps.TidyOptions(min_score=0.5, keep_best=True)
    options = ps.EverythingOptions(min_region_area=100, tidy=tidy)

    with serving(Sure()) as client:
        said = {"image_base64": png(image), "prompt_type": "auto"}
        answer = client.post(ADDRESS, json=said, timeout=60).json()
        expected = client.service.model.everything(image, options=options)

    assert answer["num_masks"] == len(expected) > 1
    assert np.array_equal(dense(answer["masks_base64"]), expected.to_numpy())
    with pytest.raises(ps.ImageError, match="H W 3 uint8"):
        EverythingRequest(np.zeros((1, 256, 64, 64), np.float32))


def test_boxes_were_now_corners_and_now_corner_and_size(client):
    """A box is its two corners, going in and coming out; what cannot be one is refused."""
    said = {"image_base64": png(red()), "prompt_type": "box", "boxes": [[6, 4, 12, 10]]}

    expected = client.service.model.segment(red(), ps.Box(6, 4, 12, 10))
    answer = client.post(ADDRESS, json=said).json()
    assert np.array_equal(dense(answer["masks_base64"]), expected.to_numpy())

    y, x = np.nonzero(expected.to_numpy()[0])
    assert expected.boxes.tolist() == [[x.min(), y.min(), x.max() + 1, y.max() + 1]]
    corner_and_size = said | {"boxes": [[6, 4, 5, 3]]}
    error = error_of(client.post(ADDRESS, json=corner_and_size), 422)
    assert "(x0, y0, x1, y1)" in error["hint"]


def test_one_predictor_was_shared_so_that_clicks_landed_in_images_of_others(client):
    """Many callers at a time, each with its own image, get the scores and the size of their own."""
    images = [red(level=55 + 8 * number, width=5 + number) for number in range(25)]

    def asked(image):
        said = point(image, (2, 2), confidence_threshold=0.0)
        answer = client.post(ADDRESS, json=said).json()
        shape = unpacked(answer["masks_base64"][0]).shape
        return max(answer["scores"]), shape

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(asked, images * 4))

    for image, (score, shape) in zip(images * 4, answers, strict=True):
        assert score == pytest.approx(0.75 * image[0, 0, 0] / 255, abs=1e-3)
        assert shape == image.shape[:2]


def test_torch_in_the_event_loop_kept_health_waiting():
    """While the model is busy, whoever asks how the service is gets an answer."""
    network = Waiting()
    with serving(network) as client, ThreadPoolExecutor(1) as threads:
        busy = threads.submit(client.post, ADDRESS, json=point(red(), (4, 4)), timeout=60)
        assert network.begun.wait(30)

        began = time.perf_counter()
        assert client.get("/health/live").status_code == 200
        spent = time.perf_counter() - began

        assert not busy.done()
        network.go_on.set()
        assert busy.result().status_code == 200
        assert spent < 5


def test_there_was_no_limit_on_the_size_of_an_upload(client):
    """A body of too many bytes is refused, whether or not it says how many it has."""
    said = json.dumps(point(red(), (4, 4), image_base64="A" * 30_000)).encode()
    kind = {"content-type": "application/json"}

    error_of(client.post(ADDRESS, content=said, headers=kind), 413)
    pieces = (said[place : place + 5000] for place in range(0, len(said), 5000))
    # It may be refused before all of it is sent.
    with suppress(httpx.ReadError, httpx.WriteError):
        error_of(client.post(ADDRESS, content=pieces, headers=kind), 413)


def test_there_was_no_limit_on_pixels(client):
    """An image of too many pixels is refused by its header, undecoded."""
    said = point(np.zeros((101, 100, 3), np.uint8), (4, 4))

    tracemalloc.start()
    try:
        error = error_of(client.post(ADDRESS, json=said), 413)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert "pixels" in error["message"]
    assert peak < 20_000_000


def test_float_images_above_one_wrapped_round():
    """Floats are 0 to 1; others are refused, and none becomes another grey."""
    image = np.full((4, 4, 3), 1.5, np.float32)
    model = model_of(FakeBoth())

    with pytest.raises(ps.ImageError, match=r"0\.\.1"):
        model.segment(image, ps.Points([(1, 1)]))
    with pytest.raises(ps.ImageError, match="H W 3 uint8"):
        SegmentRequest.of(image, ps.Points([(1, 1)]))


def test_overlaps_were_found_in_dense_masks_pair_by_pair():
    """Overlaps come from runs: they equal those of dense masks, and of huge ones cost little."""
    small = ps.Masks.from_numpy(np.random.default_rng(3).random((5, 7, 11)) > 0.5)
    stack = small.to_numpy()
    both = (stack[:, None] & stack[None]).sum((2, 3))
    either = (stack[:, None] | stack[None]).sum((2, 3))
    assert np.allclose(small.overlaps(), both / either)

    side = 100_000
    column = [side * side // 4 * part for part in range(4)]
    huge = [
        RunLength(Size(side, side), np.array([at, side, side * side - at - side])) for at in column
    ]
    tracemalloc.start()
    try:
        assert np.array_equal(ps.Masks.of(huge, size=Size(side, side)).overlaps(), np.eye(4))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 50_000_000


def test_the_features_of_one_frame_were_used_for_the_next():
    """Features are those of an image's own content: kept for the same frame, not for another."""
    network = FakeBoth()
    frames = [red(level=200), red(level=200), red(level=100)]

    with serving(network) as client:
        best = [
            client.post(ADDRESS, json=point(frame, (4, 4), confidence_threshold=0.0)).json()
            for frame in frames
        ]

    assert sum(network.encoded) == 2
    assert best[0]["scores"] == best[1]["scores"]
    assert max(best[2]["scores"]) == pytest.approx(0.75 * 100 / 255, abs=1e-3)


@pytest.mark.parametrize("name", ["sam2-vit-h", "sam2.1-huge", "sam2_hiera_huge"])
def test_sam2_had_a_vit_h(name):
    """SAM 2's trunks are Hiera tiny, small, base+ and large; another is refused by name."""
    with pytest.raises(ps.ConfigError, match=name):
        catalog.find(name)


def test_names_that_were_not_asked_for_were_passed_over(client):
    """A misspelt `labels` is an error, not a point on the object."""
    error = error_of(client.post(ADDRESS, json=point(red(), (4, 4), label=[0])), 422)

    assert error["field"] == "label"


def test_a_damaged_image_came_back_as_500(client):
    """What is no image, or half of one, is the caller's error."""
    half = base64.b64encode(base64.b64decode(png(red()))[:45]).decode()

    error_of(client.post(ADDRESS, json=point(red(), (4, 4), image_base64="aGVsbG8=")), 415)
    error_of(client.post(ADDRESS, json=point(red(), (4, 4), image_base64=half)), 422)
    assert client.post(ADDRESS, json=point(red(), (4, 4))).status_code == 200
