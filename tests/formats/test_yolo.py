"""YOLO's data sets."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from PIL import Image
from some_masks import masks_of

from promptseg.errors import MaskError
from promptseg.formats import yolo
from promptseg.geometry import Size

SQUARE = "0 0 0.4 0 0.4 0.5 0 0.5"


@pytest.fixture
def dataset(tmp_path):
    """A data set of another's making: labels, a photo of 5 x 4, and no word of sizes."""
    (tmp_path / "labels" / "train").mkdir(parents=True)
    (tmp_path / "images" / "train").mkdir(parents=True)
    Image.new("RGB", (5, 4)).save(tmp_path / "images" / "train" / "a.png")
    (tmp_path / "labels" / "train" / "a.txt").write_text(f"1 {SQUARE}\n")
    (tmp_path / "labels" / "classes.txt").write_text("cup\ndog\n")
    return tmp_path


def test_a_data_set_by_hand(tmp_path):
    """Shares of width and height, classes from 0, photos beside the labels."""
    masks = masks_of((0, 0, 2, 2), (4, 1, 8, 3), size=Size(4, 8), labels=np.array(["cup", "dog"]))
    files = yolo.write([("photos/a.jpg", masks)], tmp_path)
    assert files == [tmp_path / "labels" / "a.txt", tmp_path / "data.yaml"]
    assert files[0].read_text() == (
        "0 0 0 0.25 0 0.25 0.5 0 0.5\n1 0.5 0.25 1 0.25 1 0.75 0.5 0.75\n"
    )
    data = yaml.safe_load(files[1].read_text())
    assert (data["train"], data["nc"], data["names"]) == ("images", 2, {0: "cup", 1: "dog"})
    assert data["promptseg"]["images"]["a"] == {
        "file_name": "photos/a.jpg", "height": 4, "width": 8,
    }  # fmt: skip


def test_a_data_set_of_others(dataset, caplog):
    """Names as a list, sizes of the photos, scores behind the corners, boxes left out."""
    (dataset / "data.yaml").write_text("names: [cup, dog]\nnc: 2\n")
    lines = [f"1 {SQUARE}", f"1.0 {SQUARE} 0.75", "", "0 0.5 0.5 0.2 0.2", f"7 {SQUARE}"]
    (dataset / "labels" / "train" / "a.txt").write_text("\n".join(lines))
    for path in (dataset, dataset / "data.yaml"):
        [answer] = yolo.read(path)
        assert answer.name == "a.png"
        assert answer.masks.areas.tolist() == [4, 4, 4]
        assert answer.masks.labels.tolist() == ["dog", "dog", "7"]
        assert answer.masks.scores.tolist() == [1, 0.75, 1]
    assert "1 lines are boxes without a mask and are left out" in caplog.text


def test_a_folder_of_labels_alone(tmp_path):
    """Without names of classes their numbers are what is known; the photos are told apart."""
    (tmp_path / "a.txt").write_text(f"3 {SQUARE}\n")
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (5, 4)).save(tmp_path / "photos" / "a.png")
    [answer] = yolo.read(tmp_path, images=tmp_path / "photos")
    assert answer.masks.labels.tolist() == ["3"]
    with pytest.raises(MaskError, match="does not say how large `a` is"):
        yolo.read(tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("names: [a, b", "is not YAML"),
        ("[" * 100_000, "is nested too deeply|is not YAML"),
        ("- 1", "must be an object"),
        ("names: 3", "`names` must be an object"),
        ("promptseg: {images: {a: {height: -1, width: 3}}}", "has an impossible size"),
        ("promptseg: {images: [1]}", "`promptseg.images` must be an object"),
        ("names: !!python/object/apply:os.system ['true']", "is not YAML"),
        ("a: &a [x]\nb: &b [*a, *a]\nnames: [*b]", r"`names\[0\]` must be the name of a class"),
        (f"names: [0x{'f' * 5000}]", r"`names\[0\]` must be the name of a class"),
        (f"names: {{0: 0x{'f' * 5000}}}", "`names.0` must be the name of a class"),
        ("names: {0: [cup]}", "`names.0` must be the name of a class"),
        ("\0", "is not YAML"),
    ],
)
def test_a_damaged_description_is_one_sentence(dataset, text, words):
    """What is wrong, with the file."""
    (dataset / "data.yaml").write_text(text)
    with pytest.raises(MaskError, match=words) as caught:
        yolo.read(dataset)
    assert str(dataset / "data.yaml") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_classes_whose_keys_are_no_numbers_are_passed_over(dataset):
    """Numbers may be text; words, yes and numbers beyond any class name none."""
    keys = {"0": "cup", "'1'": "dog", "first": "cat", "yes": "cow", f"0x{'f' * 5000}": "ant"}
    lines = [f"  ? {key}\n  : {name}" for key, name in keys.items()]
    (dataset / "data.yaml").write_text("\n".join(["names:", *lines]))
    [answer] = yolo.read(dataset)
    assert answer.masks.labels.tolist() == ["dog"]


def test_labels_that_are_no_text(dataset):
    """Bytes of anything else are named."""
    (dataset / "labels" / "train" / "a.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(MaskError, match=r"a\.txt` is not text"):
        yolo.read(dataset)


def test_a_mask_without_pixels_is_said_to_be_left_out(tmp_path, caplog):
    """A line needs an outline."""
    yolo.write([("a.jpg", masks_of((0, 0, 0, 0)))], tmp_path)
    assert "a.jpg: mask 0 has no pixels and is left out" in caplog.text
