"""`promptseg convert`: files of masks from one format to another."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from promptseg.cli.main import main
from promptseg.formats import coco, index, labelme, recognise, yolo
from promptseg.formats.names import PICTURES, Format
from promptseg.geometry import Size
from promptseg.results import Masks

SIZE = Size(11, 13)
KEPT = [each for each in Format if each not in (Format.SVG, *PICTURES)]


def some_masks():
    stack = np.zeros((2, *SIZE), bool)
    stack[0, 1:8, 2:7] = True
    stack[0, 3, 4] = False
    stack[1, 9:, 5:] = True
    return replace(Masks.from_numpy(stack), labels=np.array(["cup", "a cat"]))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with photos and a COCO file about them."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for name in ("a.png", "b.png"):
        Image.new("RGB", (13, 11), "navy").save(Path("photos") / name)
    coco.write([("a.png", some_masks()), ("b.png", some_masks()[:1])], "masks.json")
    return tmp_path


def said_files(capsys):
    said = capsys.readouterr()
    assert said.err == ""
    return [Path(line) for line in said.out.splitlines()]


@pytest.mark.parametrize("kind", Format, ids=lambda kind: kind.value)
def test_every_format_is_written_and_its_files_are_printed(folder, capsys, kind):
    """What is printed is there; what is read again has the masks."""
    command = ["convert", "masks.json", "--to", kind.value, "-o", "out", "--images", "photos"]
    assert main(command) == 0
    files = said_files(capsys)
    assert files
    assert {path for path in Path("out").rglob("*") if path.is_file()} == set(files)
    if kind in KEPT:
        answers = recognise.read("out")
        assert [answer.name.removesuffix(".png") for answer in answers] == ["a", "b"]
        assert answers[0].masks.runs == some_masks().runs


@pytest.mark.parametrize("kind", KEPT, ids=lambda kind: kind.value)
def test_every_format_is_read_by_its_content(folder, capsys, kind):
    """There and back: masks are the same, and where the format has names, they are."""
    assert main(["convert", "masks.json", "--to", kind.value, "-o", "out"]) == 0
    assert main(["convert", "out", "--to", "coco", "-o", "again.json"]) == 0
    assert capsys.readouterr().err == ""
    first = coco.read("again.json")[0]
    assert first.masks.runs == some_masks().runs
    if kind not in (Format.PNG, Format.INDEX, Format.INDEX8):
        assert first.name == "a.png"
        assert first.masks.labels.tolist() == ["cup", "a cat"]


def test_names_of_images_with_folders_stay(folder, capsys):
    """In files that hold many images, a name is what it was."""
    coco.write([("train/a.png", some_masks())], "named.json")
    assert main(["convert", "named.json", "--to", "coco-polygons", "-o", "out.json"]) == 0
    assert said_files(capsys) == [Path("out.json")]
    assert coco.read("out.json")[0].name == "train/a.png"


def test_one_file_of_its_own_name(folder, capsys):
    """Where there is one image, `-o` may name its file; without `-o` it is in this folder."""
    index.write_index(some_masks(), "c.index.png")
    assert main(["convert", "c.index.png", "--to", "labelme", "-o", "deep/c.json"]) == 0
    assert said_files(capsys) == [Path("deep/c.json")]
    assert labelme.read("deep/c.json")[0].masks.runs == some_masks().runs
    assert main(["convert", "c.index.png", "--to", "geojson"]) == 0
    assert said_files(capsys) == [Path("c.geojson")]


def test_a_data_set_of_yolo_is_its_folder(folder, capsys):
    """`data.yaml` lies where `-o` says, and may be named."""
    assert main(["convert", "masks.json", "--to", "yolo", "-o", "set"]) == 0
    assert Path("set/data.yaml") in said_files(capsys)
    assert main(["convert", "set/data.yaml", "--to", "yolo", "-o", "two/mine.yaml"]) == 0
    assert Path("two/mine.yaml") in said_files(capsys)
    assert yolo.read("two/mine.yaml")[0].masks.runs == some_masks().runs


def test_photos_say_how_large_they_are(folder, capsys):
    """For formats that leave it out, `--images` is needed, and named where it is missing."""
    Path("labels").mkdir()
    Path("labels/a.txt").write_text("0 0 0 1 0 1 1 0 1\n")
    assert main(["convert", "labels", "--to", "coco", "-o", "out.json"]) == 2
    assert "--images" in capsys.readouterr().err
    command = ["convert", "labels", "--to", "coco", "-o", "out.json", "--images", "photos"]
    assert main(command) == 0
    assert coco.read("out.json")[0].masks.areas.tolist() == [11 * 13]


def test_what_is_lost_of_a_mask_is_said(folder, capsys):
    """Overlaps are, by a warning, which `-q` keeps quiet."""
    stack = np.ones((2, *SIZE), bool)
    coco.write([("a.png", Masks.from_numpy(stack))], "overlap.json")
    assert main(["convert", "overlap.json", "--to", "index", "-o", "out"]) == 0
    assert "lose 143 pixels to those with a higher score" in capsys.readouterr().err
    assert main(["convert", "overlap.json", "--to", "index", "-o", "out", "-q"]) == 0
    assert capsys.readouterr().err == ""
    coco.write([("a.png", Masks.empty(SIZE))], "none.json")
    assert main(["convert", "none.json", "--to", "png"]) == 0
    assert "no image has a mask" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["no.json", "--to", "coco"], "there is no file `no.json`"),
        (["photos/a.png", "--to", "coco"], "it has colours"),
        (["masks.json", "--to", "bmp"], "'bmp'"),
        (["masks.json"], "no format to write is given"),
        (["masks.json", "--to", "overlay"], "`overlay` is drawn on the photo"),
        (["masks.json", "--to", "overlay", "--images", "x"], "there is no folder `x`"),
        (["masks.json", "--to", "overlay", "--images", "other"], "there is no photo `a.png`"),
        (["masks.json", "--to", "coco", "-o", "masks.json"], "could overwrite an input"),
        (["masks.json", "--to", "coco", "-o", "photos/a.png"], "`coco` is written as .json"),
        (["masks.json", "--to", "index", "-o", "x.png"], "2 images do not fit"),
        (["masks.json", "--to", "coco", "-o", "blocked"], "coco.json in it is a folder"),
        (
            ["far.json", "--to", "index8"],
            "8 bits numbers masks up to 255, but one has the number 300",
        ),
        (["empty.json", "--to", "coco"], "has no images"),
        (["other", "--to", "coco"], "has no masks"),
    ],
)
def test_what_cannot_be_is_two_lines_at_most(folder, capsys, arguments, words):
    """Status 2, one sentence and perhaps a hint, and no file."""
    Path("other").mkdir()
    Path("blocked/coco.json").mkdir(parents=True)
    coco.write([("a.png", replace(some_masks(), objects=[0, 299]))], "far.json")
    Path("empty.json").write_text(json.dumps({"images": [], "annotations": []}))
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert main(["convert", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert words in said.err
    assert len(said.err.splitlines()) <= 2
    after = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert after == before


def test_files_of_a_folder_are_not_written_over(folder, capsys):
    """What is read from a folder stays."""
    labelme.write([("a.png", some_masks())], "shapes")
    assert main(["convert", "shapes", "--to", "labelme", "-o", "shapes"]) == 2
    assert "could overwrite an input" in capsys.readouterr().err
