"""Masks go out in each format as exactly the pixels that they are."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from pydantic_core import to_json

from promptseg import filling
from promptseg.engine.scheduler import Answered
from promptseg.errors import DeadlineError, MaskError, PromptError
from promptseg.formats.index import palette
from promptseg.formats.records import masks_from_json
from promptseg.masks import RunLength
from promptseg.results import Masks
from promptseg.server.answers import (
    MOST_WRITTEN,
    MasksBody,
    answer_body,
    label_map,
    masks_body,
    written,
)

STACKS = arrays.arrays(bool, st.tuples(st.integers(0, 5), st.integers(1, 7), st.integers(1, 7)))


def pixels(text):
    """Read base64 of a PNG as an array."""
    with Image.open(io.BytesIO(base64.b64decode(text, validate=True))) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture), picture.mode, picture.getpalette()


@given(STACKS, st.data())
def test_every_format_has_the_same_pixels(stack, data):
    """Run lengths, pictures, polygons and the label map are each the masks themselves."""
    scores = data.draw(
        arrays.arrays(np.float32, len(stack), elements=st.sampled_from([0.0, 0.5, 1.0]))
    )
    masks = Masks.from_numpy(stack, scores=scores)

    rle, png, polygons, labels = (
        masks_body(masks, each) for each in ("rle", "png", "polygons", "labels")
    )

    assert masks_from_json(rle).runs == masks.runs
    for mask, drawn in zip(stack, png["masks"], strict=True):
        found, mode, _ = pixels(drawn["png"])
        assert mode == "1"
        assert np.array_equal(found, mask)
    for mask, traced in zip(stack, polygons["masks"], strict=True):
        rings = [
            np.array(ring, float)
            for each in traced["polygons"]
            for ring in (each["exterior"], *each["holes"])
        ]
        assert RunLength(masks.size, filling.fill(rings, masks.size)) == RunLength.from_mask(mask)
    assert np.array_equal(pixels(labels["label_map"])[0], masks.to_label_map())
    assert [each["value"] for each in labels["masks"]] == list(range(1, len(stack) + 1))


@pytest.mark.parametrize("kind", ["rle", "png", "polygons", "labels"])
def test_an_answer_is_as_the_document_says(kind):
    """What goes out fits the model of which the document is made."""
    masks = Masks.from_numpy(np.eye(3, dtype=bool)[None])
    answered = Answered(masks, 0.1, 0.2, 0.3)

    body = answer_body(answered, format=kind, model="tiny", timings={"total": 1.5}, id="a")

    read = MasksBody.model_validate_json(to_json(body))
    assert (read.id, read.model, read.complete, read.timings) == ("a", "tiny", True, {"total": 1.5})
    assert set(body["masks"][0]) <= set(type(read.masks[0]).model_fields)
    assert ("rle" in body["masks"][0]) == (kind == "rle")
    assert ("label_map" in body) == (kind == "labels")
    assert json.loads(to_json(body)) == body


def test_a_label_map_of_many_masks_has_sixteen_bits():
    """Up to 255 masks it is a palette image in the colours of DAVIS, beyond them grey."""
    run = RunLength.from_mask(np.ones((1, 2), bool))
    few, many = (Masks.of([run] * count, size=run.size) for count in (255, 256))

    assert pixels(label_map(few))[1] == "P"
    assert pixels(label_map(few))[2] == list(palette())
    assert pixels(label_map(many))[1].startswith("I")
    with pytest.raises(PromptError, match="numbers for 65535 masks, and these are 65536"):
        label_map(Masks.of([run] * 65536, size=run.size))


def test_of_masks_that_overlap_the_better_one_is_in_the_label_map():
    """The second mask scores higher, and so keeps the pixel in the middle."""
    left, right = np.array([[[1, 1, 0]], [[0, 1, 1]]], bool)
    masks = Masks.from_numpy(np.stack([left, right]), scores=[0.25, 0.5])

    assert pixels(label_map(masks))[0].tolist() == [[1, 2, 2]]


def test_no_answer_has_a_number_that_json_has_not():
    """A score that is not finite is a fault of ours, never `NaN` on the wire."""
    masks = Masks.from_numpy(np.ones((1, 1, 1), bool), scores=[np.nan])

    with pytest.raises(MaskError):
        masks_body(masks, "rle")


@pytest.mark.parametrize("kind", ["png", "polygons", "labels"])
def test_writing_ends_with_the_time_of_the_request(kind):
    """No mask is drawn when it is too late, and all of them are while it is not."""
    masks = Masks.from_numpy(np.ones((2, 1, 1), bool))

    with pytest.raises(DeadlineError, match="could not be written"):
        masks_body(masks, kind, until=time.monotonic() - 1)
    assert len(masks_body(masks, kind, until=time.monotonic() + 60)["masks"]) == 2


def test_few_answers_are_written_at_once():
    """The rest waits its turn, and all of them are written."""
    working, most, lock = [], [], threading.Lock()

    def write(number):
        with lock:
            working.append(number)
            most.append(len(working))
        time.sleep(0.005)
        working.remove(number)
        return number

    async def play():
        return await asyncio.gather(*(written(write, number) for number in range(30)))

    assert asyncio.run(play()) == list(range(30))
    assert 1 < max(most) <= MOST_WRITTEN
