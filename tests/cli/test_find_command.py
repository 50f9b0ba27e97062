"""`promptseg find`, with a network that finds coloured blobs (tests/fake_finder.py)."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

import promptseg
from fake_finder import FakeFinder
from fake_model import model_of, paint
from promptseg.cli.main import main
from promptseg.options import TidyOptions


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with two photos, and a model that knows colours."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(promptseg, "load", lambda *names, **options: model_of(FakeFinder()))
    paint("photos/first.png", ("red", 0, 0, 4, 4), ("red", 8, 0, 14, 4), ("blue", 2, 8, 6, 14))
    paint("photos/second.png", ("blue", 0, 0, 6, 6))
    return tmp_path


def test_a_line_says_how_many_of_each(folder, capsys):
    """Counted by phrase, with the scores best first; what is not there is said too."""
    assert main(["find", "photos", "--text", "red", "--text", "blue"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        # Blobs of 6, 4 and 6 cells have scores of 6/7, 4/5 and 6/7; of 9 cells 9/10.
        "photos/first.png: 2 red (0.86, 0.80), 1 blue (0.86)",
        "photos/second.png: no red, 1 blue (0.90)",
    ]


def test_a_folder_gets_a_coco_file_whose_categories_are_the_phrases(folder, capsys):
    """With `-o` alone, and the masks in it are the blobs."""
    assert main(["find", "photos", "--text", "red", "--text", "blue", "-o", "out"]) == 0
    assert capsys.readouterr().out == "out/coco.json\n"
    coco = COCO("out/coco.json")
    names = {number: each["name"] for number, each in coco.cats.items()}
    assert [names[each["category_id"]] for each in coco.anns.values()] == [
        "red",
        "red",
        "blue",
        "blue",
    ]
    expected = np.zeros((14, 14), bool)
    expected[0:4, 8:14] = True
    np.testing.assert_array_equal(coco.annToMask(coco.anns[1]), expected)


def test_json_has_labels_and_predicted_boxes(folder, capsys):
    """One line an image; boxes are those of the masks, and of the model."""
    assert main(["find", "photos/first.png", "--text", "blue", "--json"]) == 0
    [mask] = json.loads(capsys.readouterr().out)["masks"]
    assert mask["label"] == "blue"
    assert mask["box"] == [2, 8, 6, 14]
    assert mask["predicted_box"] == [2.0, 8.0, 6.0, 14.0]


def test_an_example_finds_its_like(folder, capsys):
    """Without words, things are found that are like the one in the box."""
    assert main(["find", "photos/first.png", "--example", "1,1,3,3"]) == 0
    assert capsys.readouterr().out == "photos/first.png: 2 example (0.86, 0.80)\n"


def test_a_counterexample_takes_away_its_like(folder, capsys):
    """Beside a phrase that means more, without a warning."""
    arguments = ["--text", "red blue", "--counterexample", "1,1,3,3"]
    assert main(["find", "photos/first.png", *arguments]) == 0
    said = capsys.readouterr()
    assert said.out == "photos/first.png: 1 red blue (0.86)\n"
    assert said.err == ""


def test_counterexamples_alone_are_legal_and_explained(folder, capsys):
    """It is said that the model must guess what is meant."""
    assert main(["find", "photos/first.png", "--counterexample", "1,1,3,3"]) == 0
    said = capsys.readouterr()
    assert said.out == "photos/first.png: 1 example (0.86)\n"
    assert said.err.startswith("warning: only counterexamples are given: what is meant is left to")


def test_the_threshold_and_the_greatest_number(folder, capsys):
    """`--threshold` is what a score must be above, `--max` how many of each phrase come back."""
    assert main(["find", "photos/first.png", "--text", "red", "--threshold", "0.81"]) == 0
    assert main(["find", "photos/first.png", "--text", "red", "--max", "1"]) == 0
    assert capsys.readouterr().out.splitlines() == ["photos/first.png: 1 red (0.86)"] * 2


def test_across_keeps_one_name_for_one_thing(folder, capsys):
    """A thing found under two phrases stays under the one asked first."""
    asked = ["find", "photos/second.png", "--text", "blue", "--text", "dark blue"]
    assert main([*asked, "--max-iou", "0.5"]) == 0
    assert main([*asked, "--max-iou-across", "0.5"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "photos/second.png: 1 blue (0.90), 1 dark blue (0.90)",
        "photos/second.png: 1 blue (0.90), no dark blue",
    ]


def test_when_all_slots_are_taken_it_is_said(folder, capsys):
    """Six blobs, and the network has five slots: the warning offers tiles."""
    blobs = [("red", x, y, x + 2, y + 4) for y in (0, 6) for x in (0, 4, 8)]
    paint("many.png", *blobs)
    assert main(["find", "many.png", "--text", "red"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("many.png: 5 red")
    assert "many.png: as many things were found as the model answers with at once" in said.err
    assert "--tile" in said.err


def test_tiles_look_closer(folder, capsys):
    """A picture four tiles large has a thing in each, found at the tile's own scale."""
    paint("large.png", ("red", 4, 4, 24, 24), ("red", 104, 90, 124, 110), height=113, width=127)
    assert main(["find", "large.png", "--text", "red", "--tile", "64"]) == 0
    assert capsys.readouterr().out.startswith("large.png: 2 red")
    assert main(["find", "large.png", "--example", "4,4,24,24", "--tile", "64"]) == 2
    assert "examples are only known in the tile" in capsys.readouterr().err


def test_overlays_have_one_colour_for_each_phrase(folder, capsys):
    """And the phrase on it: the two red blobs look alike, the blue one does not."""
    paint(
        "photo.png",
        ("red", 0, 0, 120, 120),
        ("red", 200, 0, 320, 120),
        ("blue", 100, 200, 260, 330),
        height=350,
        width=350,
    )
    asked = ["find", "photo.png", "--text", "red", "--text", "blue", "--format", "overlay"]
    assert main(asked) == 0
    with Image.open("photo.overlay.png") as picture:
        drawn = np.asarray(picture)
    assert (drawn[20, 20] == drawn[20, 220]).all()
    assert (drawn[20, 20] != drawn[220, 120]).any()


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "LA"])
def test_pictures_of_other_kinds_are_read(folder, capsys, mode):
    """Grey and transparent ones are taken as every command takes them."""
    Image.new(mode, (14, 14)).save("other.png")
    assert main(["find", "other.png", "--text", "red"]) == 0
    assert capsys.readouterr().out == "other.png: no red\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "nothing to find was given"),
        (["--text", ""], "a phrase needs a word at least"),
        (["--text", " \t "], "a phrase needs a word at least"),
        (["--text", "cat" * 400], "at most 1000 letters"),
        (["--text", "a b c d e f g h"], "at most 6 words"),
        (["--text", "red\x07blue"], "no control characters"),
        (["--text", "red", "--text", "blue", "--example", "1,1,3,3"], "belong to one concept"),
        (["--example", "1,1,3"], "`--example` takes 4 numbers"),
        (["--counterexample", "1,1,3,x"], "`--counterexample` takes 4 numbers"),
        (["--example", "3,3,1,1"], "x0 < x1"),
        (["--example", "100,100,120,120"], "outside the image"),
        (["--text", "red", "--point", "3,3"], "`find` takes no `--point`"),
        (["--text", "red", "--box", "1,1,3,3"], "`find` takes no `--box`"),
        (["--text", "red", "--threshold", "2"], "0..1"),
        (["--text", "red", "--max", "0"], "'--max'"),
        (["--text", "red", "-o", "photos/first.png"], "first.png"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(folder, capsys, arguments, words):
    """Nothing on stdout, one `error:` line on stderr, and never a traceback."""
    assert main(["find", "photos/first.png", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert [line[:7] for line in said.err.splitlines()].count("error: ") == 1
    assert words in said.err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_one_sentence(folder, capsys):
    """Not a traceback."""
    Path("full.json").symlink_to("/dev/full")
    assert main(["find", "photos/first.png", "--text", "red", "-o", "full.json"]) == 2
    said = capsys.readouterr().err
    assert said.splitlines()[0] == "error: cannot write `full.json`: no space left on device"


def test_a_model_without_words_says_so_once(folder, capsys, monkeypatch):
    """One sentence, however many images there are."""
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    assert main(["find", "photos", "--text", "red"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "error: this model knows no words and finds nothing by example",
        "hint: `find` needs the half of SAM 3 that finds: load `sam3`, or a file with it",
    ]


def test_text_given_to_segment_leads_here(folder, capsys):
    """The hint of `segment --text` has the command that does it."""
    assert main(["segment", "photos/first.png", "--text", "red"]) == 2
    assert "promptseg find --text" in capsys.readouterr().err


def test_one_bad_image_is_named_and_the_others_are_done(folder, capsys):
    """Status 1."""
    Path("photos/middle.png").write_bytes(b"no picture")
    assert main(["find", "photos", "--text", "blue"]) == 1
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 2
    assert "middle.png" in said.err


def test_every_way_to_tidy_has_a_flag(capsys):
    """Flags are made from the record, as those of the other verbs."""
    assert main(["find", "--help"]) == 0
    shown = capsys.readouterr().out
    for entry in fields(TidyOptions):
        assert f"--{entry.name.replace('_', '-')}" in shown
