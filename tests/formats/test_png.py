"""Masks as black and white PNG files."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from some_masks import SIZE, masks_of

from promptseg.errors import ImageError, OutputError
from promptseg.formats import index, png
from promptseg.results import Masks


def pixels(path):
    with Image.open(path) as picture:
        return np.array(picture)


def test_a_binary_png_is_the_union(tmp_path):
    """White where any mask is, black elsewhere, at the image's size."""
    masks = masks_of((0, 0, 2, 2), (1, 1, 5, 3))
    path = png.write_binary(masks, tmp_path / "a.png")
    assert (pixels(path) == np.where(masks.to_numpy().any(axis=0), 255, 0)).all()
    with Image.open(path) as picture:
        assert picture.mode == "L"


def test_no_masks_make_a_black_image(tmp_path):
    """An empty answer is a picture of nothing, not an error."""
    path = png.write_binary(Masks.empty(SIZE), tmp_path / "a.png")
    assert pixels(path).shape == SIZE
    assert not pixels(path).any()


def test_each_mask_has_a_file_that_sorts_in_order(tmp_path):
    """One mask keeps the name; eleven get numbers of two digits; none makes no file."""
    masks = masks_of(*[(0, 0, 1 + i % 7, 1) for i in range(11)])
    names = [path.name for path in png.write_each(masks, tmp_path / "a.png")]
    assert names == [f"a-{i:02}.png" for i in range(11)]
    assert (pixels(tmp_path / "a-03.png") > 0).sum() == 4
    assert png.write_each(masks[:1], tmp_path / "b.png") == [tmp_path / "b.png"]
    assert png.write_each(Masks.empty(SIZE), tmp_path / "c.png") == []


def test_files_of_a_folder_are_named_after_their_images(tmp_path):
    """A number belongs to the mask only behind `mask`, so that numbered photos stay apart."""
    written = png.write([("a.jpg", masks_of((0, 0, 1, 1), (1, 0, 2, 1)))], tmp_path)
    assert [path.name for path in written] == ["a.mask-0.png", "a.mask-1.png"]
    png.write_binary(masks_of((0, 0, 1, 1)), tmp_path / "photo-1.png")
    png.write_binary(masks_of((0, 0, 1, 1)), tmp_path / "photo-2.png")
    answers = png.read(tmp_path)
    assert [(answer.name, len(answer.masks)) for answer in answers] == [
        ("a", 2),
        ("photo-1", 1),
        ("photo-2", 1),
    ]


def test_a_picture_of_greys_is_no_mask(tmp_path):
    """Shades would have to be cut somewhere, which is for the user to say."""
    Image.fromarray(np.arange(6, dtype=np.uint8).reshape(2, 3)).save(tmp_path / "grey.png")
    with pytest.raises(ImageError, match="has 6 values"):
        png.read(tmp_path)


@pytest.mark.parametrize("module", [png, index])
def test_a_picture_that_is_too_large_is_not_decoded(tmp_path, module):
    """Its pixels would be held, so its header's word is enough to refuse it."""
    header = struct.pack(">2I5B", 32_771, 32_771, 8, 0, 0, 0, 0)
    chunks = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in ((b"IHDR", header), (b"IDAT", b""))
    ]
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    with pytest.raises(ImageError, match="32771 x 32771 pixels, the limit is 1073741824"):
        module.read(tmp_path)


def test_an_unwritable_place_is_one_sentence(tmp_path):
    """The error names the file."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match=r"a\.png"):
        png.write_binary(Masks.empty(SIZE), tmp_path / "file" / "a.png")
