"""COCO JSON, as pycocotools reads it."""

from __future__ import annotations

import contextlib
import io
import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools.coco import COCO

from promptseg.formats import coco
from promptseg.geometry import Size
from promptseg.results import Masks

SIZE = Size(5, 7)


def masks_of(*boxes, scores=None):
    stack = np.zeros((len(boxes), *SIZE), bool)
    for mask, (x0, y0, x1, y1) in zip(stack, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    return Masks.from_numpy(stack, scores=scores)


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


def test_pycocotools_reads_the_same_masks(tmp_path):
    """The file loads, and every mask comes back pixel by pixel."""
    first, second = masks_of((1, 2, 4, 5), (0, 0, 7, 5)), masks_of((6, 0, 7, 1))
    data = loaded(coco.write([("a.jpg", first), ("b.jpg", second)], tmp_path / "coco.json"))
    for image_id, masks in ((1, first), (2, second)):
        found = data.loadAnns(data.getAnnIds(imgIds=[image_id]))
        read = np.array([data.annToMask(each) for each in found], bool)
        assert (read == masks.to_numpy()).all()


@given(stack=arrays(bool, st.tuples(st.integers(0, 3), st.just(5), st.just(7))))
def test_any_masks_survive(stack):
    """A document that went through text has the masks it was made of."""
    document = json.loads(json.dumps(coco.to_coco([("a.jpg", Masks.from_numpy(stack))])))
    runs = [annotation["segmentation"] for annotation in document["annotations"]]
    again = Masks.from_rle(runs).to_numpy() if runs else np.zeros_like(stack)
    assert (again == stack).all()


def test_an_empty_mask_is_kept():
    """An answer without pixels is an annotation of area 0, so that no object is lost."""
    [annotation] = coco.to_coco([("a.jpg", masks_of((0, 0, 0, 0)))])["annotations"]
    assert annotation["bbox"] == [0, 0, 0, 0]
    assert annotation["area"] == 0
