"""`everything` finds the masks that the slow, obvious way finds with the same weights."""

from __future__ import annotations

import numpy as np
import pytest

from places import ROOT
from plain_everything import Dials, agreement, everything, looking, scene
from promptseg import api, io
from promptseg.bench.random_sam2 import LocalSam2, local
from promptseg.engine.cache import FeatureCache
from promptseg.engine.everything import Search, completed
from promptseg.engine.runtime import Runtime
from promptseg.engine.segmenter import Segmenter
from promptseg.nn.sam2 import config as sizes
from promptseg.options import EverythingOptions, TidyOptions
from promptseg.requests import EverythingRequest
from small_sam2 import FITTING, small_sam2

# Of all masks so many match one to one, at an IoU of so much.
SHARE, IOU = 0.995, 0.99


def segmenter_of(network):
    return Segmenter(network, Runtime.choose("cpu", "float32"), FeatureCache(2**28))


def options_of(dials):
    return EverythingOptions(
        points_per_side=dials.points_per_side,
        threshold=dials.pred_iou_thresh,
        stability_threshold=dials.stability_score_thresh,
        stability_offset=dials.stability_score_offset,
        max_box_iou=dials.box_nms_thresh,
        crop_layers=dials.crop_n_layers,
        max_crop_iou=dials.crop_nms_thresh,
        crop_points_downscale=dials.crop_n_points_downscale_factor,
        min_contrast=0.0,
        tidy=TidyOptions(max_iou=1.0, max_containment=1.0),
    )


def searched(network, image, dials):
    search = Search(segmenter_of(network), EverythingRequest(image, options_of(dials)))
    return completed(search)


def compare(masks, records, least):
    """Both have masks to show, and these match one to one."""
    assert len(records) >= least
    ious = agreement(masks, records)
    assert (ious >= IOU).mean() >= SHARE, (len(masks), len(records), np.sort(ious)[:9])


SAM = Dials(points_per_side=7, pred_iou_thresh=0.65, stability_score_thresh=0.3)


@pytest.mark.parametrize("layers", [0, 1])
def test_sam2_finds_what_transformers_finds(layers):
    """With the same weights, crops or none, transformers' answers give the same masks."""
    pytest.importorskip("transformers")
    from reference_sam2 import Reference

    network = small_sam2(FITTING)
    dials = Dials(**{**vars(SAM), "crop_n_layers": layers, "crop_n_points_downscale_factor": 2})
    image = scene(157, 211)
    records = everything(local_reference(Reference(network), network.spec), image, dials)
    compare(searched(LocalSam2(network), image, dials), records, least=20)


def test_the_built_in_model_finds_the_same_on_a_photo():
    """The shipped weights on a photo, with a coarse grid."""
    model = api.load(device="cpu", dtype="float32")
    network = model._verbs.network
    image = io.images.read(ROOT / "examples" / "chelsea.jpg")
    dials = Dials(points_per_side=9, pred_iou_thresh=0.35, stability_score_thresh=0.5)
    dials.stability_score_offset = 0.1
    records = everything(looking(network, network.spec, decode=network.decode), image, dials)
    compare(model.everything(image, options=options_of(dials)), records, least=30)


def local_reference(reference, spec):
    """Look with transformers, whose masks are kept near their point as ours are."""

    def decode(features, prompts):
        answer = reference.decode(features, prompts)
        candidates = range(answer.scores.shape[1])
        return answer._replace(
            logits=local(answer.logits, prompts.points, spec.image_side, candidates)
        )

    return looking(reference, spec, decode=decode)


@pytest.mark.full
@pytest.mark.timeout(1200)
def test_sam2_tiny_finds_what_transformers_finds_at_full_size():
    """The published sizes on a large image, beside transformers with the same random weights."""
    pytest.importorskip("transformers")
    from reference_sam2 import Reference

    network = small_sam2(sizes.TINY)
    dials = Dials(points_per_side=12, pred_iou_thresh=0.5, stability_score_thresh=0.3)
    image = scene(1500, 2250)
    records = everything(local_reference(Reference(network), network.spec), image, dials)
    compare(searched(LocalSam2(network), image, dials), records, least=30)
