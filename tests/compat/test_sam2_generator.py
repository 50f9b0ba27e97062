"""Code written for `sam2`'s automatic masks gets its records by its import alone."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from plain_everything import Dials, everything, looking, scene
from promptseg.api import Model
from promptseg.bench.random_sam2 import LocalSam2
from promptseg.compat.sam2 import Sam2, SAM2AutomaticMaskGenerator
from promptseg.engine.cache import FeatureCache
from promptseg.engine.runtime import Runtime
from promptseg.errors import ConfigError
from small_network import small_network
from small_sam2 import small_sam2

PHOTO = scene(71, 97)
# So that random weights leave some masks, by every rule.
DIALS = {
    "points_per_side": 5,
    "pred_iou_thresh": 0.6,
    "stability_score_thresh": 0.3,
    "crop_n_layers": 1,
    "crop_n_points_downscale_factor": 2,
}
KEYS = {
    "segmentation",
    "area",
    "bbox",
    "predicted_iou",
    "point_coords",
    "stability_score",
    "crop_box",
}


@pytest.fixture(scope="module")
def model():
    """Small, with seeded weights whose masks stay near their points."""
    network = LocalSam2(small_sam2())
    return Model("small", network, Runtime.choose("cpu"), cache=FeatureCache(2**24))


@pytest.fixture(scope="module")
def records(model):
    """What the generator finds in the photo."""
    found = SAM2AutomaticMaskGenerator(model, **DIALS).generate(PHOTO)
    assert len(found) > 5
    return found


def test_records_are_those_of_sam2(records):
    """Keys, kinds and conventions: boxes are x, y, width, height up to the last pixel."""
    for record in records:
        assert set(record) == KEYS
        mask = record["segmentation"]
        assert mask.shape == (71, 97)
        assert mask.dtype == bool
        assert record["area"] == mask.sum()
        y, x = np.nonzero(mask)
        assert record["bbox"] == [x.min(), y.min(), x.max() - x.min(), y.max() - y.min()]
        assert record["predicted_iou"] > 0.6
        assert record["stability_score"] >= 0.3
        [[px, py]] = record["point_coords"]
        left, top, width, height = record["crop_box"]
        assert left <= px < left + width
        assert top <= py < top + height


def test_records_are_those_of_the_obvious_way(model, records):
    """The same masks with the same numbers as a slow, dense search by the published rules."""
    network = model._verbs.network
    look = looking(network, network.spec, decode=network.decode)
    plain = everything(look, PHOTO, Dials(**DIALS))
    assert len(plain) == len(records)
    mine = {record["segmentation"].tobytes(): record for record in records}
    for each in plain:
        record = mine[each.mask.tobytes()]
        assert record["predicted_iou"] == pytest.approx(each.score, abs=1e-5)
        assert record["stability_score"] == pytest.approx(each.stability, abs=1e-3)


@pytest.mark.parametrize("mode", ["uncompressed_rle", "coco_rle"])
def test_run_lengths_are_the_masks(model, records, mode):
    """pycocotools reads both kinds as the dense masks."""
    coded = SAM2AutomaticMaskGenerator(model, **DIALS, output_mode=mode).generate(PHOTO)
    for record, dense in zip(coded, records, strict=True):
        code = record["segmentation"]
        if mode == "uncompressed_rle":
            assert isinstance(code["counts"], list)
            code = coco.frPyObjects(code, 71, 97)
        assert np.array_equal(coco.decode(code).astype(bool), dense["segmentation"])


def test_pillow_images_and_grids_of_ones_own(model):
    """A picture is converted; points may be given instead of their number."""
    grids = [np.array([[0.25, 0.25], [0.75, 0.5]])]
    dials = {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0, "box_nms_thresh": 1.0}
    generator = SAM2AutomaticMaskGenerator(model, None, point_grids=grids, **dials)
    records = generator.generate(Image.fromarray(PHOTO))
    asked = {tuple(record["point_coords"][0]) for record in records}
    assert asked <= {(97 / 4, 71 / 4), (97 * 3 / 4, 71 / 2)}
    assert len(records) == 6


def test_other_dials_have_a_say(model, records):
    """A single mask a point, a refinement, smaller regions: each changes what is found."""
    count = len(records)
    single = SAM2AutomaticMaskGenerator(model, **DIALS, multimask_output=False).generate(PHOTO)
    assert len(single) < count
    refined = SAM2AutomaticMaskGenerator(model, **DIALS, use_m2m=True).generate(PHOTO)
    assert [each["area"] for each in refined] != [each["area"] for each in records]
    clean = SAM2AutomaticMaskGenerator(model, **DIALS, min_mask_region_area=50).generate(PHOTO)
    assert sum(each["area"] for each in clean) != sum(each["area"] for each in records)


def test_a_model_without_postprocessing_answers_by_its_sure_candidate(model):
    """As in `sam2`'s own example: no falling back, a refinement, an area that is a float."""
    dials = {**DIALS, "use_m2m": True, "min_mask_region_area": 25.0}
    dials |= {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0, "box_nms_thresh": 1.0}
    strict = SAM2AutomaticMaskGenerator(Sam2(model, falls_back=False), **dials).generate(PHOTO)
    usual = SAM2AutomaticMaskGenerator(Sam2(model), **dials).generate(PHOTO)
    assert strict
    assert [each["predicted_iou"] for each in strict] != [each["predicted_iou"] for each in usual]


@pytest.mark.parametrize(
    ("dials", "words"),
    [
        ({"points_per_side": None}, "exactly one"),
        ({"point_grids": [np.zeros((1, 2))]}, "exactly one"),
        ({"output_mode": "polygons"}, "output_mode"),
        ({"pred_iou_thresh": 1.5}, "must lie in 0..1"),
        ({"points_per_side": 0}, "points_per_side"),
        ({"crop_n_points_downscale_factor": 0}, "crop_points_downscale"),
    ],
)
def test_what_makes_no_sense_is_refused(model, dials, words):
    """One sentence, before any work."""
    with pytest.raises(ConfigError, match=words):
        SAM2AutomaticMaskGenerator(model, **dials)


def test_only_sam2_will_do():
    """The built-in model's kind is refused by name."""
    other = Model("tiny", small_network(), Runtime.choose("cpu"), cache=FeatureCache(0))
    with pytest.raises(ConfigError, match="SAM2AutomaticMaskGenerator"):
        SAM2AutomaticMaskGenerator(other)
