"""Masks as PNG files of numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from some_masks import any_masks, masks_of

from promptseg.errors import OutputError
from promptseg.formats import index
from promptseg.tidying import separate


def pixels(path):
    with Image.open(path) as picture:
        return np.array(picture)


def test_the_higher_score_wins_where_masks_overlap(tmp_path, caplog):
    """Mask i is number i + 1; of equal scores the earlier one stays; what is lost is said."""
    masks = masks_of((0, 0, 3, 3), (2, 0, 5, 3), (4, 0, 7, 3), scores=[0.9, 0.5, 0.5])
    path = index.write_index(masks, tmp_path / "a.png")
    assert pixels(path)[0].tolist() == [1, 1, 1, 2, 2, 3, 3]
    assert pixels(path)[4].tolist() == [0] * 7
    assert (
        "a.png: masks overlap, and lose 6 pixels to those with a higher score, "
        "or with the same one and before them"
    ) in caplog.text


@given(any_masks(), st.lists(st.sampled_from([0.25, 0.5]), min_size=3, max_size=3))
@settings(max_examples=40, deadline=None)
def test_an_index_image_is_the_label_map(masks, scores):
    """Every rule gives a shared pixel to the same mask: the file, the array and `tidy` agree."""
    masks = replace(masks, scores=scores[: len(masks)], objects=range(len(masks)))
    with TemporaryDirectory() as folder:
        written = pixels(index.write_index(masks, Path(folder) / "a.png"))
    np.testing.assert_array_equal(written, masks.to_label_map())
    for number, run in enumerate(separate(masks.runs, np.argsort(-masks.scores, kind="stable"))):
        np.testing.assert_array_equal(written == number + 1, run.to_mask())


def test_nothing_is_said_where_masks_keep_apart(tmp_path, caplog):
    """A warning means that something was lost."""
    index.write_index(masks_of((0, 0, 2, 2), (2, 0, 3, 1)), tmp_path / "a.png")
    assert caplog.text == ""


def test_the_palette_is_that_of_davis(tmp_path):
    """Numbers 1, 2 and 3 are dark red, green and olive; 255 is almost white."""
    path = index.write_index(masks_of((0, 0, 1, 1)), tmp_path / "a.png")
    with Image.open(path) as picture:
        assert picture.mode == "P"
        colours = np.array(picture.getpalette()).reshape(-1, 3)
    assert colours[:4].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    assert list(index.palette()[-3:]) == [224, 224, 192]


def test_256_masks_need_16_bits(tmp_path):
    """With 256 masks the numbers no longer fit in a palette, and the last is still 256."""
    masks = masks_of(*[(0, 0, 1, 1)] * 255, (3, 2, 7, 5))
    path = index.write_index(masks, tmp_path / "a.png")
    with Image.open(path) as picture:
        assert picture.mode.startswith("I")
    assert pixels(path)[4, 6] == 256


def test_numbers_are_those_of_objects(tmp_path):
    """An object keeps its number, whatever others there are."""
    masks = masks_of((0, 0, 1, 1), (2, 0, 3, 1), objects=[299, 6])
    path = index.write_index(masks, tmp_path / "a.png")
    assert pixels(path)[0, :3].tolist() == [300, 0, 7]
    assert index.read(path)[0].masks.objects.tolist() == [6, 299]


def test_a_number_that_does_not_fit_is_refused(tmp_path):
    """8 bits are a promise where they are asked for, and 16 end too."""
    masks = masks_of((0, 0, 1, 1), objects=[255])
    with pytest.raises(
        OutputError, match="8 bits numbers masks up to 255, but one has the number 256"
    ):
        index.write_index(masks, tmp_path / "a.png", bits=8)
    far = masks_of((0, 0, 1, 1), objects=[65_535])
    with pytest.raises(
        OutputError, match="16 bits numbers masks up to 65535, but one has the number 65536"
    ) as caught:
        index.write_index(far, tmp_path / "a.png")
    assert caught.value.hint == "Write COCO, which has no such limit"
    assert list(tmp_path.iterdir()) == []
