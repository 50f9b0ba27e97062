"""`promptseg everything`, with the built-in model on small pictures."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

import promptseg
from promptseg.cli.main import main
from promptseg.engine.everything import Search
from promptseg.options import EverythingOptions

FEW = ["--points-per-side", "4", "--threshold", "0.1", "--stability-threshold", "0"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with two pictures of a disc on a plain ground."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    y, x = np.mgrid[:83, :101]
    for number, ground in enumerate((40, 90)):
        image = np.full((83, 101, 3), ground, np.uint8)
        image[(x - 50) ** 2 + (y - 40) ** 2 < 400] = (200, 30, 60)
        Image.fromarray(image).save(f"photos/{number}.png")
    return tmp_path


def test_a_summary_without_files(folder, capsys):
    """One line an image: how many masks, and the best of them."""
    assert main(["everything", "photos", *FEW]) == 0
    said = capsys.readouterr()
    assert [line.split(":")[0] for line in said.out.splitlines()] == [
        "photos/0.png",
        "photos/1.png",
    ]
    assert all(" masks: " in line for line in said.out.splitlines())


def test_a_folder_gets_one_coco_file(folder, capsys):
    """With `-o` alone all masks of the run, with where they came from."""
    assert main(["everything", "photos", *FEW, "-o", "out"]) == 0
    assert capsys.readouterr().out == "out/coco.json\n"
    document = COCO("out/coco.json")
    assert len(document.getImgIds()) == 2
    assert len(document.getAnnIds()) > 4
    assert {"stability", "point", "crop"} <= set(document.loadAnns(1)[0])


def test_the_disc_is_among_the_regions(folder):
    """The masks of the library, in the file, and one of them is the disc."""
    assert main(["everything", "photos/0.png", *FEW, "-o", "all.json"]) == 0
    y, x = np.mgrid[:83, :101]
    disc = promptseg.Masks.from_numpy(((x - 50) ** 2 + (y - 40) ** 2 < 400)[None])
    document = COCO("all.json")
    codes = [each["segmentation"] for each in document.loadAnns(document.getAnnIds())]
    assert promptseg.Masks.from_rle(codes).overlaps(disc).max() > 0.9


def test_json_has_a_line_for_each_image(folder, capsys):
    """With the point that gave each mask, its stability, and whether all was asked."""
    assert main(["everything", "photos", *FEW, "--json"]) == 0
    for line in capsys.readouterr().out.splitlines():
        answer = json.loads(line)
        assert answer["complete"] is True
        assert all(0 <= mask["stability"] <= 1 for mask in answer["masks"])
        assert all(len(mask["point"]) == 2 for mask in answer["masks"])


def test_pictures_are_drawn(folder, capsys):
    """An overlay of each image, and a sheet of all."""
    command = [
        "everything",
        "photos",
        *FEW,
        "--format",
        "overlay",
        "--format",
        "sheet",
        "-o",
        "out",
    ]
    assert main(command) == 0
    made = capsys.readouterr().out.splitlines()
    assert made == ["out/0.overlay.png", "out/1.overlay.png", "out/sheet.png"]
    with Image.open("out/0.overlay.png") as picture:
        assert picture.size == (101, 83)


def test_a_budget_ends_the_search_and_says_so(folder, capsys):
    """What was found in no time is written, with a warning and in the JSON."""
    assert main(["everything", "photos/0.png", *FEW, "--time-budget", "0", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["complete"] is False
    assert "ended early" in said.err


def test_an_interruption_keeps_what_was_found(folder, capsys, monkeypatch):
    """Ctrl+C in the midst of the first image: its masks so far are in the file, status 130."""
    look = Search._look

    def interrupted(self, crop, points):
        for number, found in enumerate(look(self, crop, points)):
            if number == 2:
                raise KeyboardInterrupt
            yield found

    monkeypatch.setattr(Search, "_look", interrupted)
    assert main(["everything", "photos", *FEW, "-o", "out"]) == 130
    said = capsys.readouterr()
    assert "ended early" in said.err
    assert said.err.endswith("interrupted\n")
    document = json.loads(Path("out/coco.json").read_text())
    assert [image["file_name"] for image in document["images"]] == ["0.png"]
    assert document["annotations"]


def test_tiles_give_masks_of_the_whole_image(folder, capsys):
    """`--tile` looks at parts, here of a `.npy` file, and the disc over a seam is one mask."""
    image = promptseg.read("photos/0.png")
    np.save("large.npy", np.kron(image, np.ones((2, 2, 1), np.uint8)))
    command = [
        "everything",
        "large.npy",
        *FEW,
        "--tile",
        "128",
        "-o",
        "all.json",
        "--max-iou",
        "0.5",
    ]
    assert main(command) == 0
    document = COCO("all.json")
    codes = [each["segmentation"] for each in document.loadAnns(document.getAnnIds())]
    y, x = np.mgrid[:166, :202]
    disc = promptseg.Masks.from_numpy(((x - 100.5) ** 2 + (y - 80.5) ** 2 < 1600)[None])
    overlaps = promptseg.Masks.from_rle(codes).overlaps(disc)
    assert (overlaps > 0.85).sum() == 1


def test_a_plain_picture_has_no_regions(folder, capsys):
    """And it is said, as no file tells."""
    Image.new("RGB", (60, 40), "grey").save("plain.png")
    assert main(["everything", "plain.png", "--points-per-side", "4", "--format", "png"]) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "no masks were found" in said.err


def test_pictures_of_tiled_images_are_drawn(folder, capsys):
    """Also of a file that only windows can be read of, if it is not too large."""
    np.save("large.npy", promptseg.read("photos/0.png"))
    command = ["everything", "large.npy", *FEW, "--tile", "64", "--format", "overlay"]
    assert main(command) == 0
    with Image.open("large.overlay.png") as picture:
        assert picture.size == (101, 83)


def test_the_limit_of_pixels_holds_for_tiles_too(folder, capsys, monkeypatch):
    """What has to be decoded in one piece is bounded by the same setting."""
    monkeypatch.setenv("PROMPTSEG_MAX_PIXELS", "1000")
    assert main(["everything", "photos/0.png", *FEW, "--tile", "64"]) == 2
    assert "1000" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["photos", "--threshold", "1.2"], "`threshold` must lie in 0..1"),
        (["photos", "--detail", "closely"], "coarse, normal, fine"),
        (["photos", "--points-per-side", "0"], "1 to 512"),
        (["photos", "--time-budget", "-1"], "at least 0"),
        (["photos", "--max-iou", "nan"], "`max_iou`"),
        (["photos", "--tile", "1"], "64"),
        (["photos", "--format", "index8", "-o", "photos/0.png"], "do not fit"),
        (["nothing.png"], "there is no file"),
    ],
)
def test_what_cannot_be_is_one_sentence(folder, capsys, arguments, words):
    """Status 2, nothing on stdout, no traceback."""
    assert main(["everything", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert words in said.err
    assert len([line for line in said.err.splitlines() if line.startswith("error: ")]) == 1


def test_every_dial_has_a_flag(capsys):
    """Flags are made from the record: each field but the records in it has one."""
    assert main(["everything", "--help"]) == 0
    shown = capsys.readouterr().out
    for entry in fields(EverythingOptions):
        if entry.name != "tidy":
            assert f"--{entry.name.replace('_', '-')}" in shown
