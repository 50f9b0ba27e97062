"""Data folders, and what can be wrong with one."""

from __future__ import annotations

import json

import numpy as np
import pytest

from promptseg.errors import ConfigError, ImageError
from promptseg.evaluate import datasets


def test_a_folder_gives_its_photos_with_their_masks(data_folder, blob):
    """The masks of one image come together, in the order of the index, pixel by pixel."""
    one, two, three = blob(1, 2, 5, 7), blob(11, 3, 17, 9), blob(0, 0, 37, 31)
    folder = data_folder(
        ("a/0", "a.png", "cups", one),
        ("b/0", "b.png", "cups", two),
        ("a/1", "a.png", "cats", three),
    )
    dataset = datasets.load(folder)
    assert (len(dataset), dataset.image_count) == (3, 2)
    photos = list(dataset.photos())
    assert [[each.id for each in photo.examples] for photo in photos] == [["a/0", "a/1"], ["b/0"]]
    assert photos[0].image.shape == (31, 37, 3)
    assert (photos[0].examples[0].truth.to_mask() == one).all()
    assert photos[0].examples[1].domain == "cats"


def test_a_limit_is_for_each_domain_and_evenly_spread(data_folder, blob):
    """Two of five are the first and the third; a domain with fewer keeps what it has."""
    objects = [(f"a/{i}", f"{i}.png", "many", blob(1, 2, 5, 7)) for i in range(5)]
    folder = data_folder(*objects, ("b/0", "0.png", "few", blob(1, 2, 5, 7)))
    kept = datasets.load(folder).limited(2)
    assert sorted(each.id for each in kept.examples) == ["a/0", "a/2", "b/0"]
    with pytest.raises(ConfigError, match="got 0"):
        kept.limited(0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "no such file"),
        ("{", "is not JSON"),
        (b"\xff\xfe{", "is not JSON"),
        ("[]", "no list of `masks`"),
        ('{"masks": {}}', "no list of `masks`"),
        ('{"masks": []}', "lists no masks"),
        ('{"masks": [3]}', "mask 0 .* is not an object"),
        ('{"masks": [{"id": "a", "image": "a.png", "rle": {}}]}', "has no `domain`"),
    ],
)
def test_a_damaged_index_is_one_sentence(tmp_path, text, said):
    """Whatever is wrong with the index is said in one sentence, with the layout as the hint."""
    if text is not None:
        content = text if isinstance(text, bytes) else text.encode()
        (tmp_path / "index.json").write_bytes(content)
    with pytest.raises(ConfigError, match=said) as caught:
        datasets.load(tmp_path)
    assert caught.value.hint == datasets.LAYOUT


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("id", 3, "`id` of mask 0 .* is not a name: 3"),
        ("image", "../a.png", "leaves the data folder"),
        ("image", "/a.png", "leaves the data folder"),
        ("rle", {"size": [31, 37]}, "`rle` of mask 0 .* is damaged"),
        ("rle", {"size": [31, 37], "counts": "~~"}, "`rle` of mask 0 .* is damaged"),
        ("rle", {"size": [2, 3], "counts": [6]}, "is empty"),
    ],
)
def test_a_damaged_entry_is_named(data_folder, blob, key, value, said):
    """The error says which mask, and what of it."""
    folder = data_folder(("a/0", "a.png", "cups", blob(1, 2, 5, 7)))
    index = json.loads((folder / "index.json").read_text())
    index["masks"][0][key] = value
    (folder / "index.json").write_text(json.dumps(index))
    with pytest.raises(ConfigError, match=said):
        datasets.load(folder)


def test_two_masks_of_one_id_are_refused(data_folder, blob):
    """An id stands for one mask."""
    folder = data_folder(*[("a/0", "a.png", "cups", blob(1, 2, 5, 7))] * 2)
    with pytest.raises(ConfigError, match="two masks with the id `a/0`"):
        datasets.load(folder)


def test_a_mask_of_another_size_than_its_image_is_refused(data_folder, blob):
    """The sizes are said as width and height."""
    folder = data_folder(("a/0", "a.png", "cups", blob(1, 2, 5, 7)))
    index = json.loads((folder / "index.json").read_text())
    index["masks"][0]["rle"] = {"size": [2, 3], "counts": [0, 6]}
    (folder / "index.json").write_text(json.dumps(index))
    with pytest.raises(ConfigError, match=r"3 x 2 .* 37 x 31"):
        list(datasets.load(folder).photos())


def test_a_missing_image_is_named(data_folder, blob):
    """An image that is not there is an error of images."""
    folder = data_folder(("a/0", "a.png", "cups", blob(1, 2, 5, 7)))
    (folder / "a.png").unlink()
    with pytest.raises(ImageError, match=r"a\.png"):
        list(datasets.load(folder).photos())
    assert np.any(blob(1, 2, 5, 7))
