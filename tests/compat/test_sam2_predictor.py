"""Code written for `sam2` gets the reference's shapes, dtypes and masks by its import alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from promptseg import api
from promptseg.api import Model
from promptseg.compat.sam2 import Sam2, SAM2ImagePredictor, build_sam2, build_sam2_hf
from promptseg.engine.cache import FeatureCache
from promptseg.engine.runtime import Runtime
from promptseg.errors import ConfigError, ImageError, PromptError, SessionError
from promptseg.nn.outputs import PromptTensors
from promptseg.nn.sam2.model import MEAN, STD
from small_network import small_network
from small_sam2 import FITTING, small_sam2
from stored_sam2 import write_meta

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


def model_of(network, cache_bytes=2**24) -> Model:
    runtime = Runtime.choose("cpu", "float32")
    return Model("small", network, runtime, cache=FeatureCache(cache_bytes))


def sharp_network():
    """Logits thirty times as large: with the seeded weights as they are every outline wavers."""
    network = small_sam2()
    for head in network.mask_decoder.mask_heads:
        for weights in head.layers[-1].parameters():
            weights.mul_(30)
    return network


def seen_by(network):
    """Count the images that a network encodes from now on."""
    seen = []
    encode = network.encode

    def counted(pixels):
        seen.extend(pixels)
        return encode(pixels)

    network.encode = counted
    return seen


@pytest.fixture
def predictor():
    """A predictor with one photo set."""
    predictor = SAM2ImagePredictor(model_of(NETWORK))
    predictor.set_image(PHOTO)
    return predictor


def reference(
    photo=PHOTO, *, points=None, labels=None, box=None, hint=None, several=True, network=NETWORK
):
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
    other = Reference(network)
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


def test_a_single_mask_is_the_sure_one_or_the_best_of_the_others():
    """As the reference falls back by stability, whichever way; without it, always the sure one."""
    taken = set()
    for network in (NETWORK, sharp_network()):
        model = model_of(network)
        falling = SAM2ImagePredictor(model)
        steady = SAM2ImagePredictor(Sam2(model, falls_back=False))
        falling.set_image(PHOTO)
        steady.set_image(PHOTO)
        for case in CASES.values():
            full, scores, low = reference(**case, several=False, network=network)
            found = falling.predict(**called(case), multimask_output=False)
            scale = max(1, np.abs(low).max() / 6)
            far = np.abs(full) > 1e-4 * scale
            assert np.array_equal(found.masks[far], (full > 0)[far])
            np.testing.assert_allclose(found.ious, scores, atol=1e-6)
            capped = np.clip(low, -32, 32)
            np.testing.assert_allclose(found.low_res_masks, capped, atol=TOLERANCE * scale)
            sure = steady.predict(**called(case), multimask_output=False)
            others = falling.predict(**called(case))
            assert sure.ious[0] not in others.ious
            taken.add(sure.ious[0] == found.ious[0])
    assert taken == {True, False}


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


def test_one_hint_serves_every_box(predictor):
    """`sam2` adds the one embedded hint to each of several prompts."""
    boxes = np.stack([BOX, [0, 0, 30, 30]])
    for hint in (HINT, HINT[None]):
        found = predictor.predict(box=boxes, mask_input=hint)
        for i in range(2):
            alone = predictor.predict(box=boxes[i], mask_input=HINT)
            pairs = zip(found, alone, strict=True)
            assert all(np.array_equal(x[i], y) for x, y in pairs)
    assert not np.array_equal(found.masks, predictor.predict(box=boxes).masks)
    with pytest.raises(PromptError, match="boxes for 3, hints for 2"):
        predictor.predict(box=np.stack([BOX] * 3), mask_input=np.stack([HINT] * 2))


@pytest.mark.parametrize(("several", "count"), [(True, 3), (False, 1)])
def test_no_boxes_have_no_masks(predictor, several, count):
    """A detector that found nothing hands on `0 4`, with one hint or none."""
    for hint in (None, HINT):
        found = predictor.predict(box=np.zeros((0, 4)), mask_input=hint, multimask_output=several)
        assert found.masks.shape == (0, count, HEIGHT, WIDTH)
        assert found.ious.shape == (0, count)
        assert found.low_res_masks.shape == (0, count, CELLS, CELLS)
        assert found.masks.dtype == found.ious.dtype == found.low_res_masks.dtype == np.float32


def test_one_objects_answer_leaves_no_trace(predictor):
    """Neither a prompt before nor one that was refused changes an answer."""
    expected = predictor.predict(box=BOX)
    predictor.predict(POINTS, LABELS)
    with pytest.raises(PromptError, match="prompt 1: the point"):
        predictor.predict(np.stack([POINT, POINT + 99]), [[1], [1]])
    again = predictor.predict(box=BOX)
    assert all(np.array_equal(x, y) for x, y in zip(again, expected, strict=True))


def test_what_is_done_to_an_image_later_changes_no_answer():
    """An answer is about the image as it was when it was set."""
    photo = PHOTO.copy()
    predictor = SAM2ImagePredictor(model_of(NETWORK))
    predictor.set_image(photo)
    expected = predictor.predict(box=BOX)
    photo[:] = 255 - photo
    found = predictor.predict(box=BOX)
    assert all(np.array_equal(x, y) for x, y in zip(found, expected, strict=True))


def test_an_image_is_encoded_once():
    """However many images there are, and though the model's cache keeps none of them."""
    network = small_sam2()
    seen = seen_by(network)
    predictor = SAM2ImagePredictor(model_of(network, cache_bytes=0))
    predictor.set_image_batch([PHOTO, OTHER, PHOTO[::-1]])
    assert len(seen) == 3
    for _ in range(2):
        predictor.predict_batch(box_batch=[BOX // 2, np.stack([BOX // 2] * 2), BOX])
    predictor.set_image(PHOTO)
    predictor.predict(box=BOX)
    assert len(seen) == 4


def test_a_refused_image_leaves_none_set(predictor):
    """An answer about the image before would be taken for one about this."""
    with pytest.raises(ImageError, match="shape"):
        predictor.set_image(np.zeros((3, 4, 5, 6), np.uint8))
    with pytest.raises(SessionError, match="0 are set"):
        predictor.predict(box=BOX)


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


@pytest.fixture
def checkpoint(tmp_path, known_sizes):
    """A small network as Meta stores it."""
    return write_meta(tmp_path / "sam2.1_hiera_tiny.pt")


def test_arguments_are_those_of_sam2(checkpoint):
    """By position and by name, with the predictor's own beside the model's."""
    steady = False
    built = build_sam2("sam2.1_hiera_t.yaml", str(checkpoint), "cpu", "eval", [], steady)
    assert not built.falls_back
    assert built.model.runtime == Runtime.choose("cpu", "float32")
    assert build_sam2(None, checkpoint, apply_postprocessing=True, device="cpu").falls_back
    assert build_sam2_hf(str(checkpoint), hydra_overrides_extra=[], device="cpu").falls_back
    predictor = SAM2ImagePredictor.from_pretrained(
        str(checkpoint), device="cpu", apply_postprocessing=False, mask_threshold=1.0
    )
    assert predictor.mask_threshold == 1
    assert not predictor.model.falls_back
    with pytest.raises(ConfigError, match="max_sprinkle_area=3"):
        SAM2ImagePredictor.from_pretrained(str(checkpoint), device="cpu", max_sprinkle_area=3)
    overrides = ["++model.image_size=512"]
    with pytest.raises(ConfigError, match=r"no configuration to override.*image_size=512"):
        build_sam2(None, checkpoint, hydra_overrides_extra=overrides)


def test_weights_are_float32_unless_told_otherwise(checkpoint, monkeypatch):
    """As `sam2`'s are on every device, where `promptseg.load` would take bfloat16 on CUDA."""
    asked = []

    def load(name, **options):
        asked.append(options)
        return Model(str(name), NETWORK, Runtime.choose("cpu"), cache=FeatureCache(0))

    other = build_sam2(None, checkpoint, "cpu", dtype="bfloat16")
    assert other.model.runtime.dtype == torch.bfloat16
    monkeypatch.setattr(api, "load", load)
    build_sam2(None, checkpoint, "cuda:1")
    SAM2ImagePredictor.from_pretrained("facebook/sam2.1-hiera-tiny", device=torch.device("cuda"))
    assert asked == [
        {"device": "cuda:1", "dtype": "float32"},
        {"device": "cuda", "dtype": "float32"},
    ]


def test_autocast_has_no_say(predictor):
    """Existing code opens it around everything, or around `set_image` only: the dtype decides."""
    expected = predictor.predict(box=BOX)
    other = SAM2ImagePredictor(model_of(NETWORK))
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        other.set_image(PHOTO)
        within = other.predict(box=BOX)
    for found in (within, other.predict(box=BOX)):
        assert all(np.array_equal(x, y) for x, y in zip(found, expected, strict=True))


def test_what_goes_wrong_is_said(predictor):
    """One sentence each, of a kind that code for `sam2` expects."""
    with pytest.raises(PromptError, match="given together"):
        predictor.predict(point_coords=POINT)
    with pytest.raises(PromptError, match="points for 1, labels for 1, boxes for 2"):
        predictor.predict(POINT, LABELS[:1], box=np.stack([BOX, BOX]))
    with pytest.raises(PromptError, match="`mask_input` is logits, but this holds only 0 and 1"):
        predictor.predict(POINT, LABELS[:1], mask_input=np.eye(CELLS, dtype=bool)[None])
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
    with pytest.raises(PromptError, match=r"a hint needs shape \(1, h, w\), got \(3, 4\)"):
        predictor.predict(box=BOX, mask_input=np.ones((3, 4)))
    with pytest.raises(PromptError, match="a hint needs shape"):
        predictor.predict(box=np.stack([BOX, BOX]), mask_input=np.ones((1, 1, 1, 3, 4)))
    with pytest.raises(PromptError, match="this model's are 16 x 16"):
        predictor.predict(POINT, LABELS[:1], mask_input=np.full((1, 5, 5), 3.0))
    with pytest.raises(SessionError, match="`predict_batch` needs a batch"):
        predictor.predict_batch()
    predictor.set_image_batch([PHOTO, OTHER])
    with pytest.raises(SessionError, match="2 are set"):
        predictor.predict(POINT, LABELS[:1])
    with pytest.raises(PromptError, match="2 images need 2 prompts, got 1"):
        predictor.predict_batch(box_batch=[BOX])
    with pytest.raises(ImageError, match="takes a list of images, got ndarray"):
        predictor.set_image_batch(PHOTO)
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
