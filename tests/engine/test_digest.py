"""Images are named by content."""

from __future__ import annotations

import numpy as np

from promptseg.engine import digest
from promptseg.engine.digest import ImageDigest


def test_equal_pixels_have_one_name():
    """A copy has the name of its original, whoever asks."""
    image = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    assert ImageDigest()(image) == ImageDigest()(image.copy())


def test_a_strided_view_has_the_name_of_its_pixels():
    """How pixels lie in memory does not matter."""
    image = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    flipped = image[:, ::-1]
    assert ImageDigest()(flipped) == ImageDigest()(np.ascontiguousarray(flipped))


def test_shape_is_part_of_the_name():
    """The same bytes in another shape are another image."""
    image = np.zeros((5, 7, 3), dtype=np.uint8)
    assert ImageDigest()(image) != ImageDigest()(image.reshape(7, 5, 3))


def test_an_image_changed_in_place_gets_another_name():
    """The remembered image is a copy, so that one changed pixel is noticed."""
    name = ImageDigest()
    image = np.zeros((5, 7, 3), dtype=np.uint8)
    before = name(image)
    image[4, 6, 2] = 1
    assert name(image) != before
    image[4, 6, 2] = 0
    assert name(image) == before


def test_an_image_seen_again_is_not_hashed(monkeypatch):
    """The last image is recognised by its pixels."""
    name = ImageDigest()
    image = np.zeros((5, 7, 3), dtype=np.uint8)
    before = name(image)
    monkeypatch.setattr(digest.hashlib, "sha256", None)
    assert name(image.copy()) == before


def test_a_huge_image_is_not_remembered(monkeypatch):
    """No copy of an image above the limit is kept."""
    monkeypatch.setattr(digest, "REMEMBERED_BYTES", 5 * 7 * 3 - 1)
    name = ImageDigest()
    image = np.zeros((5, 7, 3), dtype=np.uint8)
    assert name(image) == name(image)
    assert name._last is None
