"""Code written for `sam2` gets the reference's shapes, dtypes and masks by its import alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from promptseg.api import Model
from promptseg.compat.sam2 import SAM2ImagePredictor, build_sam2
from promptseg.engine.cache import FeatureCache
from promptseg.engine.runtime import Runtime
from promptseg.errors import ConfigError, PromptError, SessionError
from promptseg.nn.outputs import PromptTensors
from promptseg.nn.sam2.model import MEAN, STD
from small_network import small_network
from small_sam2 import FITTING, small_sam2

HEIGHT, WIDTH = 53, 71
SIDE, CELLS = FITTING.image_side, FITTING.mask_side
RNG = np.random.default_rng(3)
PHOTO = RNG.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
OTHER = RNG.integers(0, 256, (37, 41, 3), np.uint8)
POINT = np.array([[30.0, 20.0]])
POINTS = np.array([[30.0, 20.0], [60.0, 5.0]])
LABELS = np.array([1, 0])
BOX = np.array([10, 5, 60, 44])
HINT = RNG.normal(0, 5, (1, CELLS, CELLS)).astype(np.float32)
NETWORK = small_sam2()
# Low-resolution logits are of this scale here, so that masks are not trivial.
TOLERANCE = 2e-5


def model_of(network) -> Model:
    runtime = Runtime.choose("cpu", "float32")
    return Model("small", network, runtime, cache=FeatureCache(2**24))


@pytest.fixture
def predictor():
    """A predictor with one photo set."""
    predictor = SAM2ImagePredictor(model_of(NETWORK))
    predictor.set_image(PHOTO)
    return predictor


def reference(photo=PHOTO, *, points=None, labels=None, box=None, hint=None, several=True):
    """What transformers gives for one object, brought to image size as Meta's predictor does."""
    pytest.importorskip("transformers")
    from reference_sam2 import Reference

    height, width = photo.shape[:2]
    pixels = torch.from_numpy(photo).permute(2, 0, 1)[None].float() / 255
    pixels = functional.interpolate(pixels, (SIDE, SIDE), mode="bilinear", antialias=True)
    mean, std = (torch.tensor(each)[:, None, None] for each in (MEAN, STD))
    scale = torch.tensor([SIDE / width, SIDE / height])
    spot = torch.zeros(1, 1, 2) if points is None else torch.tensor(points)[None] * scale
    prompts = PromptTensors(
        points=spot.float(),
        labels=torch.tensor([[-1]] if labels is None else [labels.tolist()]),
        boxes=torch.zeros(1, 4) if box is None else torch.tensor(box)[None] * scale.repeat(2),
        boxed=torch.tensor([box is not None]),
        hints=torch.zeros(1, CELLS, CELLS) if hint is None else torch.from_numpy(hint),
        hinted=torch.tensor([hint is not None]),
    )
    other = Reference(NETWORK)
    with torch.inference_mode():
        features = other.encode((pixels - mean) / std)
        answer = other._run(features, prompts, multimask_output=several)
        full = functional.interpolate(answer.logits, (height, width), mode="bilinear")
    return full[0].numpy(), answer.scores[0].numpy(), answer.logits[0].numpy()


CASES = {
    "a point": {"points": POINT, "labels": LABELS[:1]},
    "two points": {"points": POINTS, "labels": LABELS},
    "a box": {"box": BOX},
    "a box and points": {"box": BOX, "points": POINTS, "labels": LABELS},
    "a point and a hint": {"points": POINT, "labels": LABELS[:1], "hint": HINT},
    "a hint": {"hint": HINT},
}


def called(case) -> dict:
    names = {"points": "point_coords", "labels": "point_labels", "box": "box", "hint": "mask_input"}
    return {names[part]: value for part, value in case.items()}


@pytest.mark.parametrize("several", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_masks_are_the_references(predictor, case, several):
    """Three candidates in order, or one by the fallback: logits at both sizes, scores, masks."""
    full, scores, low = reference(**CASES[case], several=several)
    asked = called(CASES[case])
    masks, ious, hints = predictor.predict(**asked, multimask_output=several)
    assert masks.dtype == ious.dtype == hints.dtype == np.float32
    np.testing.assert_allclose(hints, low, atol=TOLERANCE * max(1, np.abs(low).max() / 6))
    np.testing.assert_allclose(ious, scores, atol=1e-6)
    sure = np.abs(full) > 1e-4
    assert np.array_equal(masks[sure], (full > 0)[sure])
    assert 0.01 < masks.mean() < 0.99
    logits, _, _ = predictor.predict(**asked, multimask_output=several, return_logits=True)
    np.testing.assert_allclose(logits, full, atol=TOLERANCE * max(1, np.abs(full).max() / 6))


def test_several_objects_have_an_axis_of_their_own(predictor):
    """Two boxes with two points each: `n c H W`, and each as alone."""
    boxes = np.stack([BOX, [0, 0, 30, 30]])
    points, labels = np.stack([POINTS, POINTS + 3]), np.stack([LABELS, LABELS])
    masks, ious, low = predictor.predict(points, labels, boxes, multimask_output=True)
    assert masks.shape == (2, 3, HEIGHT, WIDTH)
    assert ious.shape == (2, 3)
    assert low.shape == (2, 3, CELLS, CELLS)
    for i in range(2):
        alone = predictor.predict(points[i], labels[i], boxes[i])
        assert all(np.array_equal(x[i], y) for x, y in zip((masks, ious, low), alone, strict=True))
    single, _, _ = predictor.predict(box=boxes, multimask_output=False)
    assert single.shape == (2, 1, HEIGHT, WIDTH)


def test_an_answer_is_a_hint_for_the_next(predictor):
    """As people write it: the best mask's logits go in again with one click more."""
    _, scores, logits = predictor.predict(point_coords=POINT, point_labels=LABELS[:1])
    best = logits[np.argmax(scores), :, :][None]
    masks, _, _ = predictor.predict(
        point_coords=POINTS, point_labels=LABELS, mask_input=best, multimask_output=False
    )
    full, _, _ = reference(points=POINTS, labels=LABELS, hint=best, several=False)
    sure = np.abs(full) > 1e-4
    assert np.array_equal(masks[sure], (full > 0)[sure])


def test_what_comes_back_may_be_written_to(predictor):
    """`sam2` gives arrays of their own, and people work in them."""
    for array in predictor.predict(POINT, LABELS[:1]):
        array += 1


def test_a_batch_of_images(predictor):
    """A list entry for each image, of any size, each as alone."""
    predictor.set_image_batch([PHOTO, OTHER])
    boxes = np.stack([BOX // 2, [0, 0, 30, 30]])
    masks, ious, low = predictor.predict_batch(
        [POINT, None], [LABELS[:1], None], [None, boxes], multimask_output=False
    )
    assert [each.shape for each in masks] == [(1, HEIGHT, WIDTH), (2, 1, 37, 41)]
    assert [each.shape for each in ious] == [(1,), (2, 1)]
    assert [each.shape for each in low] == [(1, CELLS, CELLS), (2, 1, CELLS, CELLS)]
    predictor.set_image(OTHER)
    alone, _, _ = predictor.predict(box=boxes, multimask_output=False)
    assert np.array_equal(alone, masks[1])


def test_coordinates_may_be_shares_of_the_image(predictor):
    """Without `normalize_coords` the middle is 0.5."""
    share = POINT / [WIDTH, HEIGHT]
    masks = predictor.predict(share, LABELS[:1], normalize_coords=False)
    assert np.array_equal(masks.masks, predictor.predict(POINT, LABELS[:1]).masks)
    corners = BOX / [WIDTH, HEIGHT, WIDTH, HEIGHT]
    masks = predictor.predict(box=corners, normalize_coords=False)
    np.testing.assert_allclose(masks.ious, predictor.predict(box=BOX).ious, atol=1e-6)


def test_a_higher_threshold_leaves_less():
    """A pixel counts above `mask_threshold`."""
    strict = SAM2ImagePredictor(model_of(NETWORK), mask_threshold=1.0)
    strict.set_image(Image.fromarray(PHOTO))
    masks = strict.predict(POINT, LABELS[:1]).masks
    logits = strict.predict(POINT, LABELS[:1], return_logits=True).masks
    assert np.array_equal(masks, (logits > 1).astype(np.float32))


def test_what_goes_wrong_is_said(predictor):
    """One sentence each, of a kind that code for `sam2` expects."""
    with pytest.raises(PromptError, match="given together"):
        predictor.predict(point_coords=POINT)
    with pytest.raises(PromptError, match="points for 1, labels for 1, boxes for 2"):
        predictor.predict(POINT, LABELS[:1], box=np.stack([BOX, BOX]))
    with pytest.raises(PromptError, match="needs points, a box or a hint"):
        predictor.predict()
    with pytest.raises(PromptError, match="points must be an array of numbers"):
        predictor.predict([[1, 2], [3]], [1, 1])
    with pytest.raises(PromptError, match="4 numbers"):
        predictor.predict(box=[1, 2, 3])
    with pytest.raises(PromptError, match=r"shape \(p, 2\)"):
        predictor.predict([1, 2, 3], [1])
    with pytest.raises(PromptError, match=r"a hint needs shape \(1, h, w\), got \(2, 3, 4\)"):
        predictor.predict(mask_input=np.ones((1, 2, 3, 4)))
    with pytest.raises(PromptError, match="this model's are 16 x 16"):
        predictor.predict(POINT, LABELS[:1], mask_input=np.ones((1, 5, 5)))
    with pytest.raises(SessionError, match="`predict_batch` needs a batch"):
        predictor.predict_batch()
    predictor.set_image_batch([PHOTO, OTHER])
    with pytest.raises(SessionError, match="2 are set"):
        predictor.predict(POINT, LABELS[:1])
    with pytest.raises(PromptError, match="2 images need 2 prompts, got 1"):
        predictor.predict_batch(box_batch=[BOX])
    predictor.reset_predictor()
    with pytest.raises(RuntimeError, match="0 are set"):
        predictor.predict(POINT, LABELS[:1])


def test_only_sam2_predicts_as_sam2():
    """The built-in model has no candidate for prompts without doubt; holes are left alone."""
    with pytest.raises(ConfigError, match="needs a SAM 2 model, got Model"):
        SAM2ImagePredictor(model_of(small_network()))
    with pytest.raises(ConfigError, match="max_hole_area=8"):
        SAM2ImagePredictor(model_of(NETWORK), max_hole_area=8)
    with pytest.raises(ConfigError, match="needs a checkpoint"):
        build_sam2("configs/sam2.1/sam2.1_hiera_l.yaml")
    with pytest.raises(ConfigError, match="mode `train`"):
        build_sam2("sam2.1_hiera_l.yaml", "sam2.1_hiera_large.pt", mode="train")
    assert SAM2ImagePredictor(model_of(NETWORK)).device == torch.device("cpu")
