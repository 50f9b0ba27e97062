"""Images and prompts land in the network's square as they should."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from promptseg.engine import preprocess
from promptseg.engine.preprocess import check_hint, prompt_tensors, squash, to_pixels
from promptseg.errors import PromptError
from promptseg.geometry import Placement, Size
from promptseg.nn.protocol import NetworkSpec
from promptseg.prompts import Box, MaskHint, Points, Prompt

SPEC = NetworkSpec(
    image_side=14, mask_side=7, mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 1.0), digest="x"
)
PLACEMENT = Placement(Size(28, 7), 14)


def tensors(runtime, *prompts):
    return prompt_tensors(prompts, PLACEMENT, SPEC, runtime)


def test_plain_images_of_any_size_become_normalised_squares(runtime):
    """White is (1 - mean) / std in each channel and black is -mean / std."""
    images = [np.full((5, 31, 3), 255, np.uint8), np.zeros((37, 3, 3), np.uint8)]
    pixels = to_pixels(images, SPEC, runtime)
    assert pixels.shape == (2, 3, 14, 14)
    for channel, (white, black) in enumerate([(1, -1), (3, -1), (1, 0)]):
        torch.testing.assert_close(pixels[0, channel], torch.full((14, 14), float(white)))
        torch.testing.assert_close(pixels[1, channel], torch.full((14, 14), float(black)))


def test_halving_averages_with_antialiasing():
    """A halved pixel weighs four by 1, 3, 3, 1; beyond the border one is missing: 3, 3, 1."""
    row = np.repeat(np.array([[0, 0, 255, 255, 255, 255]], np.uint8), 6, axis=0)
    squashed = squash(torch.from_numpy(row[:, :, None].copy()), 3, white=255.0)
    torch.testing.assert_close(squashed[0, 0], torch.tensor([1 / 7, 7 / 8, 1.0]).repeat(3, 1))


def test_bands_give_the_bits_of_one_piece(monkeypatch):
    """A huge image, squashed band by band, is what torch makes of it whole."""
    image = torch.from_numpy(np.random.default_rng(2).integers(0, 256, (53, 31, 3), np.uint8))
    whole = image.permute(2, 0, 1)[None].contiguous().float() / 255
    expected = functional.interpolate(
        whole, size=(13, 13), mode="bilinear", antialias=True, align_corners=False
    )
    for pixels in (2**22, 31 * 7, 1):
        monkeypatch.setattr(preprocess, "PIXELS_AT_ONCE", pixels)
        assert torch.equal(squash(image, 13, white=255.0), expected)


def test_an_image_that_must_not_be_written_to_is_read(runtime):
    """Read-only arrays, such as views of files, raise no warning."""
    image = np.zeros((5, 7, 3), np.uint8)
    image.flags.writeable = False
    to_pixels([image], SPEC, runtime)


def test_points_and_boxes_are_moved_and_ragged_points_padded(runtime):
    """x doubles and y halves here; missing points are labelled -1, missing boxes not marked."""
    found = tensors(
        runtime,
        Prompt(points=Points([(3, 10), (6, 27)], labels=[1, 0])),
        Prompt(points=Points([(1, 2)]), box=Box(1, 4, 5, 20)),
        Prompt(box=Box(-3, 4, 99, 40)),
    )
    assert found.points[0].tolist() == [[6, 5], [12, 13.5]]
    assert found.points[1, 0].tolist() == [2, 1]
    assert found.labels.tolist() == [[1, 0], [1, -1], [-1, -1]]
    assert found.boxed.tolist() == [False, True, True]
    assert found.boxes[1].tolist() == [2, 2, 10, 10]
    assert found.boxes[2].tolist() == [-6, 2, 198, 20]
    assert not found.hinted.any()
    assert found.points.dtype == found.boxes.dtype == found.hints.dtype == torch.float32


def test_without_any_points_there_is_still_a_place_for_one(runtime):
    """A network never sees an axis of length zero."""
    found = tensors(runtime, Prompt(box=Box(1, 4, 5, 20)))
    assert found.points.shape == (1, 1, 2)
    assert found.labels.tolist() == [[-1]]


def test_prompts_stay_float32_whatever_the_dtype():
    """Coordinates do not fit bfloat16."""
    runtime = preprocess.Runtime.choose("cpu", "bfloat16")
    found = tensors(runtime, Prompt(points=Points([(3.25, 10.125)])))
    assert found.points[0, 0].tolist() == [6.5, 5.0625]
    assert found.hints.dtype == torch.float32


def test_a_bool_hint_is_ten_inside_and_minus_ten_outside(runtime):
    """The left half of the image is the left half of the hint, soft only at the edge."""
    mask = np.zeros((28, 7), bool)
    mask[:, :3] = True
    hint = tensors(runtime, Prompt(hint=MaskHint(mask))).hints[0]
    assert hint.shape == (7, 7)
    torch.testing.assert_close(hint[:, :3], torch.full((7, 3), 10.0))
    torch.testing.assert_close(hint[:, 3:], torch.full((7, 4), -10.0))


def test_a_fine_hint_has_soft_edges(runtime):
    """A cell that a mask half covers is undecided."""
    placement = Placement(Size(7, 14), 14)
    mask = np.zeros((7, 14), bool)
    mask[:, :7] = True
    found = prompt_tensors([Prompt(hint=MaskHint(mask))], placement, SPEC, runtime)
    torch.testing.assert_close(found.hints[0, :, 3], torch.zeros(7))


def test_logits_pass_as_they_are(runtime):
    """What a network answered is fed back unchanged, beside objects without a hint."""
    logits = np.linspace(-40, 40, 49, dtype=np.float32).reshape(7, 7)
    found = tensors(runtime, Prompt(hint=MaskHint(logits)), Prompt(box=Box(1, 4, 5, 20)))
    assert found.hints[0].tolist() == logits.tolist()
    assert found.hinted.tolist() == [True, False]


def test_logits_of_another_resolution_are_refused():
    """The message shows both resolutions."""
    prompt = Prompt(hint=MaskHint(np.full((7, 5), 0.5, np.float32)))
    with pytest.raises(PromptError, match="7 x 5, but this model's are 7 x 7"):
        check_hint(prompt, SPEC)
    check_hint(Prompt(hint=MaskHint(np.full((7, 7), 0.5, np.float32))), SPEC)
    check_hint(Prompt(hint=MaskHint(np.ones((28, 7), bool))), SPEC)
