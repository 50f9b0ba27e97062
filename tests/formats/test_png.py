"""Masks as PNG files."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from promptseg.errors import OutputError
from promptseg.formats import png
from promptseg.geometry import Size
from promptseg.results import Masks

SIZE = Size(5, 7)


def stack(*boxes):
    """One mask for each half-open box, on 7 x 5 pixels."""
    masks = np.zeros((len(boxes), *SIZE), bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    return masks


def pixels(path):
    with Image.open(path) as picture:
        return np.array(picture)


def test_a_binary_png_is_the_union(tmp_path):
    """White where any mask is, black elsewhere, at the image's size."""
    masks = stack((0, 0, 2, 2), (1, 1, 5, 3))
    path = png.write_binary(Masks.from_numpy(masks), tmp_path / "a.png")
    assert (pixels(path) == np.where(masks.any(axis=0), 255, 0)).all()
    with Image.open(path) as picture:
        assert picture.mode == "L"


def test_no_masks_make_a_black_image(tmp_path):
    """An empty answer is a picture of nothing, not an error."""
    path = png.write_binary(Masks.empty(SIZE), tmp_path / "a.png")
    assert pixels(path).shape == SIZE
    assert not pixels(path).any()


def test_each_mask_has_a_file_that_sorts_in_order(tmp_path):
    """One mask keeps the name; eleven get numbers of two digits; none makes no file."""
    masks = stack(*[(0, 0, 1 + i % 7, 1) for i in range(11)])
    names = [path.name for path in png.write_each(Masks.from_numpy(masks), tmp_path / "a.png")]
    assert names == [f"a-{i:02}.png" for i in range(11)]
    assert (pixels(tmp_path / "a-03.png") > 0).sum() == 4
    one = png.write_each(Masks.from_numpy(masks[:1]), tmp_path / "b.png")
    assert one == [tmp_path / "b.png"]
    assert png.write_each(Masks.empty(SIZE), tmp_path / "c.png") == []


def test_the_higher_score_wins_where_masks_overlap(tmp_path):
    """Mask i is number i + 1; of equal scores the later mask lies on top."""
    masks = stack((0, 0, 3, 3), (2, 0, 5, 3), (4, 0, 7, 3))
    path = png.write_index(Masks.from_numpy(masks, scores=[0.9, 0.5, 0.5]), tmp_path / "a.png")
    assert pixels(path)[0].tolist() == [1, 1, 1, 2, 3, 3, 3]
    assert pixels(path)[4].tolist() == [0] * 7


def test_the_palette_is_that_of_davis(tmp_path):
    """Numbers 1, 2 and 3 are dark red, green and olive; 255 is almost white."""
    path = png.write_index(Masks.from_numpy(stack((0, 0, 1, 1))), tmp_path / "a.png")
    with Image.open(path) as picture:
        assert picture.mode == "P"
        colours = np.array(picture.getpalette()).reshape(-1, 3)
    assert colours[:4].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    assert list(png.palette()[-3:]) == [224, 224, 192]


def test_256_masks_need_16_bits(tmp_path):
    """With 256 masks the numbers no longer fit in a palette, and the last is still 256."""
    masks = Masks.from_numpy(stack(*[(0, 0, 1, 1)] * 255, (3, 2, 7, 5)))
    path = png.write_index(masks, tmp_path / "a.png")
    with Image.open(path) as picture:
        assert picture.mode.startswith("I")
    assert pixels(path)[4, 6] == 256


def test_an_unwritable_place_is_one_sentence(tmp_path):
    """The error names the file."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match=r"a\.png"):
        png.write_binary(Masks.empty(SIZE), tmp_path / "file" / "a.png")
