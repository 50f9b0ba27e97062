"""COCO JSON, as pycocotools reads it."""

from __future__ import annotations

import contextlib
import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from some_masks import any_masks, masks_of, ring

from promptseg.formats import coco
from promptseg.geometry import Size
from promptseg.results import Masks


def loaded(path):
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


def test_a_document_by_hand():
    """Boxes are x, y, width, height; ids count from 1; images without masks stay listed."""
    document = coco.to_coco(
        [("a.jpg", masks_of((1, 2, 4, 5), scores=[0.9])), ("b.jpg", Masks.empty(Size(3, 2)))],
        category="cup",
    )
    assert document["images"] == [
        {"id": 1, "file_name": "a.jpg", "height": 5, "width": 7},
        {"id": 2, "file_name": "b.jpg", "height": 3, "width": 2},
    ]
    [annotation] = document["annotations"]
    assert annotation["bbox"] == [1, 2, 3, 3]
    assert annotation["area"] == 9
    assert annotation["score"] == 0.9
    assert (annotation["id"], annotation["image_id"], annotation["category_id"]) == (1, 1, 1)
    assert annotation["iscrowd"] == 0
    assert document["categories"] == [{"id": 1, "name": "cup", "supercategory": ""}]


@pytest.mark.parametrize("polygons", [False, True])
def test_pycocotools_reads_the_same_masks(tmp_path, polygons):
    """The file loads, and every mask comes back pixel by pixel, as its area and box say."""
    first, second = masks_of((1, 2, 4, 5), (0, 0, 7, 5), (0, 0, 0, 0)), ring()
    answers = [("a.jpg", first), ("b.jpg", second)]
    [path] = coco.write(answers, tmp_path / "coco.json", polygons=polygons)
    data = loaded(path)
    for image_id, masks in ((1, first), (2, second)):
        found = data.loadAnns(data.getAnnIds(imgIds=[image_id]))
        read = np.array([data.annToMask(each) for each in found], bool)
        assert (read == masks.to_numpy()).all()
        for annotation, run in zip(found, masks.runs, strict=True):
            code = data.annToRLE(annotation)
            assert coco_mask.area(code) == annotation["area"] == run.area
            assert coco_mask.toBbox(code).tolist() == annotation["bbox"]


@settings(max_examples=60, deadline=None)
@given(masks=any_masks())
def test_pycocotools_fills_any_outlines_to_the_same_mask(masks):
    """Holes through seams, parts, diagonals: its own rasteriser gives every mask back."""
    document = coco.to_coco([("a.jpg", masks)], polygons=True)
    for annotation, run in zip(document["annotations"], masks.runs, strict=True):
        if run.area:
            codes = coco_mask.frPyObjects(annotation["segmentation"], *masks.size)
            assert (coco_mask.decode(coco_mask.merge(codes)) == run.to_mask()).all()


def test_labels_are_categories(tmp_path):
    """In the order in which they come, over all images; what has none is of the category given."""
    labels = np.array(["cup", "", "dog", "cup"])
    masks = masks_of(*[(0, 0, 1, 1)] * 4, labels=labels)
    answers = [("a.jpg", masks), ("b.jpg", masks_of((0, 0, 1, 1)))]
    document = coco.to_coco(answers, category="thing")
    assert [each["name"] for each in document["categories"]] == ["cup", "thing", "dog"]
    assert [each["category_id"] for each in document["annotations"]] == [1, 2, 3, 1, 2]


def test_scores_are_written_with_the_digits_they_have():
    """0.9 does not read 0.8999999761581421, and no digit that tells two scores apart is lost."""
    document = coco.to_coco([("a.jpg", masks_of((0, 0, 1, 1), scores=[0.9]))])
    assert json.dumps(document["annotations"][0]["score"]) == "0.9"


def test_an_empty_mask_is_kept():
    """An answer without pixels is an annotation of area 0, so that no object is lost."""
    [annotation] = coco.to_coco([("a.jpg", masks_of((0, 0, 0, 0)))])["annotations"]
    assert annotation["bbox"] == [0, 0, 0, 0]
    assert annotation["area"] == 0
