"""labelme's JSON, as labelme writes and reads it."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image
from some_masks import SIZE, masks_of, ring

from promptseg.formats import labelme
from promptseg.geometry import Size

KEYS = {"version", "flags", "shapes", "imagePath", "imageData", "imageHeight", "imageWidth"}
SHAPE_KEYS = {"label", "points", "group_id", "description", "shape_type", "flags", "mask"}


def document(*shapes, **changes):
    return {
        "version": "5.5.0",
        "flags": {},
        "shapes": [{"group_id": None, "flags": {}, **shape} for shape in shapes],
        "imagePath": "cat.jpg",
        "imageData": None,
        "imageHeight": 5,
        "imageWidth": 7,
        **changes,
    }


def read(tmp_path, *shapes, **changes):
    path = tmp_path / "cat.json"
    path.write_text(json.dumps(document(*shapes, **changes)))
    [answer] = labelme.read(path)
    return answer.masks


def as_png(mask):
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(mask)).save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def test_a_file_by_hand(tmp_path):
    """All keys that labelme writes are there; a part is a polygon, a hole makes a mask."""
    masks = masks_of((1, 2, 4, 5), labels=np.array(["cup"]))
    [path] = labelme.write([("cat.jpg", masks)], tmp_path)
    assert path == tmp_path / "cat.json"
    written = json.loads(path.read_text())
    assert set(written) == KEYS
    [shape] = written["shapes"]
    assert set(shape) >= SHAPE_KEYS
    assert shape["points"] == [[1, 2], [4, 2], [4, 5], [1, 5]]
    assert (shape["label"], shape["shape_type"], shape["group_id"]) == ("cup", "polygon", 1)
    [path] = labelme.write([("hole.jpg", ring())], tmp_path)
    [shape] = json.loads(path.read_text())["shapes"]
    assert shape["shape_type"] == "mask"
    # The corners are pixels inside, both of them.
    assert shape["points"] == [[1, 0], [5, 4]]
    inside = np.array(Image.open(io.BytesIO(base64.b64decode(shape["mask"])))) > 0
    assert (inside == ring().to_numpy()[0, 0:5, 1:6]).all()


def test_rectangles_and_masks_of_others_are_read(tmp_path):
    """Corners of a rectangle come in any order; a mask has its own size, from its first corner."""
    rectangle = {"label": "a", "shape_type": "rectangle", "points": [[4, 5], [1, 2]]}
    crop = {
        "label": "b",
        "shape_type": "mask",
        "points": [[2.0, 1.0], [4.0, 2.0]],
        "mask": as_png([[True, False, True], [True, True, True]]),
    }
    masks = read(tmp_path, rectangle, crop)
    assert masks.runs[0] == masks_of((1, 2, 4, 5)).runs[0]
    assert masks.to_numpy()[1].astype(int).tolist() == [
        [0, 0, 0, 0, 0, 0, 0],
        [0, 0, 1, 0, 1, 0, 0],
        [0, 0, 1, 1, 1, 0, 0],
        [0, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0],
    ]
    assert masks.labels.tolist() == ["a", "b"]


@pytest.mark.parametrize("corner", [(-1, -1), (6, 4), (100, 100), (-100, 0)])
def test_a_mask_that_sticks_out_is_cut_off(tmp_path, corner):
    """Only what lies in the image counts."""
    x, y = corner
    shape = {
        "label": "a",
        "shape_type": "mask",
        "points": [[x, y], [x + 1, y + 1]],
        "mask": as_png(np.ones((2, 2), bool)),
    }
    expected = np.zeros(SIZE, bool)
    expected[max(y, 0) : max(y + 2, 0), max(x, 0) : max(x + 2, 0)] = True
    assert (read(tmp_path, shape).to_numpy()[0] == expected).all()


def test_shapes_of_one_group_are_one_mask(tmp_path):
    """Same label and same group, joined; another label, or no group, apart."""
    square = {"shape_type": "polygon", "points": [[0, 0], [2, 0], [2, 2], [0, 2]]}
    other = {"shape_type": "polygon", "points": [[3, 0], [5, 0], [5, 2], [3, 2]]}
    masks = read(
        tmp_path,
        {**square, "label": "a", "group_id": 3},
        {**other, "label": "a", "group_id": 3},
        {**other, "label": "b", "group_id": 3},
        {**other, "label": "a"},
        {**other, "label": "a"},
    )
    assert masks.areas.tolist() == [8, 4, 4, 4]


@pytest.mark.parametrize("group", [-3, -2, -1, 0, 1])
def test_no_group_has_a_shape_without_one(tmp_path, group):
    """Whatever its number, a group is only of the shapes that have it."""
    square = {"label": "a", "points": [[0, 0], [2, 0], [2, 2], [0, 2]]}
    other = {"label": "a", "points": [[3, 0], [5, 0], [5, 3], [3, 3]]}
    masks = read(tmp_path, square, {**other, "group_id": group}, {**square, "group_id": group})
    assert masks.areas.tolist() == [4, 10]


def test_shapes_without_an_area_are_named(tmp_path, caplog):
    """Points, lines and circles are no masks, and are said to be missing."""
    masks = read(
        tmp_path,
        {"label": "a", "shape_type": "point", "points": [[1, 1]]},
        {"label": "a", "shape_type": "line", "points": [[1, 1], [2, 2]]},
    )
    assert len(masks) == 0
    assert masks.size == Size(5, 7)
    assert "are left out: line, point" in caplog.text


def test_a_mask_without_pixels_is_said_to_be_left_out(tmp_path, caplog):
    """labelme has no shape for nothing."""
    [path] = labelme.write([("cat.jpg", masks_of((0, 0, 0, 0)))], tmp_path)
    assert json.loads(path.read_text())["shapes"] == []
    assert "cat.jpg: mask 0 has no pixels and is left out" in caplog.text


def test_a_missing_size_is_that_of_the_photo(tmp_path):
    """Old files leave the size out; the photo's header has it, orientation applied."""
    (tmp_path / "photos" / "deep").mkdir(parents=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (5, 7)).save(tmp_path / "photos" / "deep" / "cat.jpg", exif=exif)
    path = tmp_path / "cat.json"
    path.write_text(json.dumps(document(imageHeight=None, imagePath="..\\photos\\cat.jpg")))
    [answer] = labelme.read(path, images=tmp_path / "photos")
    assert answer.masks.size == Size(5, 7)
