"""`promptseg segment`: first with a model that answers boxes with boxes, then the built-in one."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

import promptseg
from promptseg.cli.main import main
from promptseg.masks import RunLength
from promptseg.options import TidyOptions
from promptseg.results import Masks

WIDTH, HEIGHT = 31, 23
BOX = ["--box", "3,5,17,19"]


class BoxModel:
    """Marks the inside of each box, or the pixel under the first point, with a score of 0.75."""

    def segment(self, image, prompts, *, options, tiling=None):
        size = promptseg.Size(*image.shape[:2])
        stack = np.zeros((len(prompts), *size), np.bool_)
        for mask, prompt in zip(stack, prompts, strict=True):
            prompt.check(size)
            if prompt.box is not None:
                left, top, right, bottom = (int(edge) for edge in prompt.box.as_array())
                mask[top:bottom, left:right] = True
            elif prompt.points is not None:
                x, y = prompt.points.coordinates[0].astype(int)
                mask[y, x] = True
        scores = np.full(len(prompts), 0.75, np.float32)
        answer = Masks.from_numpy(stack, scores=scores)
        return replace(answer, confident=scores >= options.threshold)


class Loads(list):
    """Remembers what was asked of `promptseg.load`."""

    def __call__(self, name=None, **options):
        self.append((name, options))
        return BoxModel()


@pytest.fixture
def loads(monkeypatch):
    """A `promptseg.load` that gives the box model."""
    loads = Loads()
    monkeypatch.setattr(promptseg, "load", loads)
    return loads


@pytest.fixture
def folder(tmp_path, monkeypatch, loads):
    """A working folder with two small photos, and the box model."""
    monkeypatch.chdir(tmp_path)
    for name in ("photos/first.png", "photos/second.png"):
        paint(Path(name))
    return tmp_path


def paint(path, width=WIDTH, height=HEIGHT):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), "navy").save(path)


def lines(text):
    return text.splitlines()


def test_a_mask_is_written_and_its_path_is_printed(folder, capsys):
    """`-o` writes a black and white PNG; stdout has its path and stderr nothing."""
    assert main(["segment", "photos/first.png", *BOX, "-o", "out"]) == 0
    said = capsys.readouterr()
    assert lines(said.out) == [str(Path("out/first.mask.png"))]
    assert said.err == ""
    written = np.asarray(Image.open("out/first.mask.png"))
    assert written.shape == (HEIGHT, WIDTH)
    assert (written == 255).sum() == 14 * 14


def test_without_files_a_summary_is_printed(folder, capsys):
    """With neither `-o`, `--format` nor `--json`, one line says what was found."""
    assert main(["segment", "photos/first.png", *BOX]) == 0
    assert "first.png: 1 mask: 196 pixels (score 0.75)" in capsys.readouterr().out
    assert sorted(folder.iterdir()) == [folder / "photos"]


def test_json_is_one_line_for_each_image(folder, capsys):
    """The line has the path, the size, and masks whose runs decode to the box."""
    assert main(["segment", "photos", *BOX, "--json"]) == 0
    first, second = map(json.loads, lines(capsys.readouterr().out))
    assert first["size"] == {"height": HEIGHT, "width": WIDTH}
    assert first["files"] == []
    (mask,) = first["masks"]
    assert mask["box"] == [3, 5, 17, 19]
    assert mask["area"] == 196
    assert mask["score"] == 0.75
    assert mask["confident"] is True
    assert RunLength.from_coco(mask["rle"]).to_mask()[5:19, 3:17].all()
    assert second["path"].endswith("second.png")


def test_every_format_at_once(folder, capsys):
    """Each format of an image is a file; COCO is one file for the run, which pycocotools loads."""
    formats = [part for kind in ("png", "index", "coco", "overlay") for part in ("--format", kind)]
    assert main(["segment", "photos", *BOX, *formats, "-o", "out"]) == 0
    names = {path.name for path in Path("out").iterdir()}
    kinds = ("mask", "index", "overlay")
    assert names == {f"{s}.{k}.png" for s in ("first", "second") for k in kinds} | {"coco.json"}
    assert {Path(line).name for line in lines(capsys.readouterr().out)} == names
    coco = COCO("out/coco.json")
    assert [image["file_name"] for image in coco.imgs.values()] == ["first.png", "second.png"]
    assert coco.annToMask(coco.anns[1]).sum() == 196


def test_several_boxes_are_several_objects(folder, capsys):
    """Two boxes give two masks, numbered as the boxes were."""
    boxes = [*BOX, "--box", "19,2,29,7"]
    assert main(["segment", "photos/first.png", *boxes, "--json", "--format", "index"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert [mask["object"] for mask in record["masks"]] == [0, 1]
    assert record["files"] == ["first.index.png"]
    assert set(np.unique(np.asarray(Image.open("first.index.png")))) == {0, 1, 2}


def test_a_file_of_its_own_name(folder, capsys):
    """`-o name.png` writes exactly that file."""
    assert main(["segment", "photos/first.png", *BOX, "-o", "deep/cup.png"]) == 0
    assert capsys.readouterr().out == f"{Path('deep/cup.png')}\n"
    assert Path("deep/cup.png").exists()


def test_equal_names_do_not_overwrite_each_other(folder):
    """Photos of one name in two folders give two files."""
    paint(Path("more/first.png"))
    assert main(["segment", "photos", "more", *BOX, "-o", "out"]) == 0
    names = sorted(path.name for path in Path("out").iterdir())
    assert names == ["more-first.mask.png", "photos-first.mask.png", "second.mask.png"]


def test_one_bad_image_is_named_and_the_others_are_done(folder, capsys):
    """The status is 1, the bad file is named on stderr, and its neighbours are written."""
    Path("photos/middle.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    assert main(["segment", "photos", "none.jpg", *BOX, "-o", "out"]) == 1
    said = capsys.readouterr()
    assert len(lines(said.out)) == 2
    errors = [line for line in lines(said.err) if line.startswith("error: ")]
    assert "none.jpg" in errors[0]
    assert "middle.png" in errors[1]
    assert len(errors) == 2
    assert "Traceback" not in said.err


def test_a_prompt_outside_one_image_fails_that_one(folder, capsys):
    """A point that a smaller image does not have is an error of that image, which is named."""
    paint(Path("photos/tiny.png"), width=5, height=3)
    assert main(["segment", "photos", "--point", "20,11"]) == 1
    said = capsys.readouterr()
    assert len(lines(said.out)) == 2
    assert "tiny.png: the point (20, 11) lies outside the image" in said.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["photos/first.png"],
        ["photos/first.png", "--point", "-5,3"],
        ["photos/first.png", "--point", "nan,3"],
        ["photos/first.png", "--point", "400,3"],
        ["photos/first.png", "--box", "1,2,3"],
        ["photos/first.png", "--box", "7,2,3,9"],
        ["photos/first.png", "--box", "100,100,200,200"],
        ["photos/first.png", "--point", "5,3", *BOX, *BOX],
        ["photos/first.png", "--mask", "none.png"],
        ["photos/first.png", "--mask", "photos/first.png"],
        ["photos/first.png", *BOX, "--threshold", "2"],
        ["photos/first.png", *BOX, "--threshold", "nan"],
        ["photos/first.png", *BOX, "--max-iou", "2"],
        ["photos/first.png", *BOX, "--fill-holes", "-1"],
        ["photos/first.png", *BOX, "--smooth", "1.5"],
        ["photos/first.png", *BOX, "--overlap", "largest"],
        ["photos/first.png", *BOX, "--format", "bmp"],
        ["photos/first.png", *BOX, "-o", "photos/first.png"],
        ["photos/first.png", *BOX, "-o", "photos/first.png/out"],
        ["photos", *BOX, "-o", "one.png"],
        ["none.png", *BOX],
        ["none*.png", *BOX],
        ["empty", *BOX],
        ["notes.txt", *BOX],
    ],
)
def test_bad_input_is_one_sentence_and_status_2(folder, capsys, arguments):
    """Nothing on stdout, one `error:` line on stderr, no file, and never a traceback."""
    Path("empty").mkdir()
    Path("notes.txt").write_text("not an image")
    before = sorted(folder.rglob("*"))
    assert main(["segment", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert [line[:7] for line in lines(said.err)].count("error: ") == 1
    assert all(line.startswith(("error: ", "hint: ")) for line in lines(said.err))
    assert sorted(folder.rglob("*")) == before


def test_an_interruption_keeps_what_is_done(folder, capsys, monkeypatch):
    """Ctrl+C in the second image ends with 130, and the first is in the COCO file."""
    answer, asked = BoxModel.segment, []

    def interrupted(self, image, prompts, *, options, tiling=None):
        asked.append(image)
        if len(asked) > 1:
            raise KeyboardInterrupt
        return answer(self, image, prompts, options=options)

    monkeypatch.setattr(BoxModel, "segment", interrupted)
    assert main(["segment", "photos", *BOX, "--format", "coco"]) == 130
    assert capsys.readouterr().err == "interrupted\n"
    images = json.loads(Path("coco.json").read_text())["images"]
    assert [image["file_name"] for image in images] == ["first.png"]


def test_below_the_threshold_the_best_is_kept_and_said(folder, capsys):
    """A warning names the image, and JSON says that the mask is not confident."""
    assert main(["segment", "photos/first.png", *BOX, "--threshold", "0.9", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["masks"][0]["confident"] is False
    assert said.err.startswith("warning: ")
    assert "first.png" in said.err


def test_every_way_to_tidy_has_a_flag(folder, monkeypatch):
    """Flags are made from the record: each field has one, and what is given arrives in it."""
    asked = []
    answer = BoxModel.segment

    def remembered(self, image, prompts, *, options, tiling=None):
        asked.append(options.tidy)
        return answer(self, image, prompts, options=options)

    monkeypatch.setattr(BoxModel, "segment", remembered)
    wanted = TidyOptions(
        min_score=0.5,
        min_stability=0.25,
        keep_best=True,
        fill_holes=5,
        drop_specks=7,
        smooth=2,
        max_iou=0.75,
        max_containment=0.8,
        overlap="area",
    )
    values = {entry.name: getattr(wanted, entry.name) for entry in fields(TidyOptions)}
    given = []
    for name, value in values.items():
        assert value != getattr(TidyOptions(), name)
        given += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
    assert main(["segment", "photos/first.png", *BOX, *given]) == 0
    assert main(["segment", "photos/first.png", *BOX]) == 0
    assert asked == [wanted, TidyOptions()]


def test_quiet_says_nothing_but_results(folder, capsys):
    """`--quiet` keeps warnings to itself."""
    assert main(["segment", "photos/first.png", *BOX, "--threshold", "0.9", "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_flags_win_over_the_environment(folder, loads, monkeypatch):
    """The environment gives the defaults, a flag overrides each."""
    monkeypatch.setenv("PROMPTSEG_MODEL", "theirs")
    monkeypatch.setenv("PROMPTSEG_DEVICE", "cuda")
    main(["segment", "photos/first.png", *BOX, "--device", "cpu"])
    ((name, options),) = loads
    assert name == "theirs"
    assert options["device"] == "cpu"
    assert options["dtype"] == "auto"


def test_the_pixel_limit_comes_from_the_environment(folder, capsys, monkeypatch):
    """An image over `PROMPTSEG_MAX_PIXELS` is refused with the limit in the message."""
    monkeypatch.setenv("PROMPTSEG_MAX_PIXELS", "700")
    assert main(["segment", "photos/first.png", *BOX]) == 2
    assert "the limit is 700" in capsys.readouterr().err


def test_the_built_in_model_segments_a_photo(photo, tmp_path, monkeypatch, capsys):
    """The cup in its box: a mask that fills a good part of the box and hardly leaves it."""
    monkeypatch.chdir(tmp_path)
    box = ["--box", "172,18,409,308"]
    arguments = ["segment", str(photo), *box, "--json", "--format", "overlay", "--format", "coco"]
    assert main(arguments) == 0
    record = json.loads(capsys.readouterr().out)
    mask = RunLength.from_coco(record["masks"][0]["rle"]).to_mask()
    inside = mask[18:308, 172:409].sum()
    assert inside > 0.4 * (308 - 18) * (409 - 172)
    assert inside > 0.8 * mask.sum()
    assert len(COCO("coco.json").anns) == 1
    with Image.open("coffee.overlay.png") as picture:
        assert picture.size == (600, 400)


def test_an_unknown_model_lists_what_there_is(photo, capsys):
    """The sentence has the name that was asked for, and the models that exist."""
    assert main(["segment", str(photo), "--point", "285,150", "--model", "nonesuch"]) == 2
    said = capsys.readouterr().err
    assert "nonesuch" in said
    assert "builtin" in said


def test_all_candidates_are_written_apart(photo, tmp_path, monkeypatch, capsys):
    """Three candidates of one point are three files."""
    monkeypatch.chdir(tmp_path)
    arguments = ["segment", str(photo), "--point", "285,150", "--all-candidates", "-o", "out"]
    assert main(arguments) == 0
    assert len(lines(capsys.readouterr().out)) == len(list(Path("out").iterdir())) == 3


def test_a_name_that_grows_too_long_fails_alone(folder, capsys):
    """The images after it are done."""
    long = folder / f"{'l' * 250}.png"
    Image.new("RGB", (WIDTH, HEIGHT)).save(long)
    last = folder / "zzz.png"
    Image.new("RGB", (WIDTH, HEIGHT)).save(last)
    assert main(["segment", str(long), str(last), *BOX, "-o", "out"]) == 1
    printed = capsys.readouterr()
    assert "file name too long" in printed.err
    assert printed.out.split() == ["out/zzz.mask.png"]


def test_lines_and_the_bar_do_not_mix_on_a_terminal(folder):
    """Every result has a line of its own, though a bar is drawn between them."""
    pty = pytest.importorskip("pty")
    for name in ("one.png", "two.png"):
        Image.new("RGB", (WIDTH, HEIGHT)).save(folder / name)
    code = "from promptseg.cli.main import run; run()"
    arguments = ["segment", "one.png", "two.png", *BOX, "--device", "cpu"]
    mine, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=theirs,
        stderr=theirs,
        cwd=folder,
        env={**os.environ, "XDG_STATE_HOME": str(folder)},
    ) as process:
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # the end of a terminal
            while part := os.read(mine, 1 << 16):
                shown += part
        os.close(mine)
    assert process.returncode == 0, shown
    assert b"segment" in shown
    plain = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", shown).decode()
    lines = [line.strip() for line in re.split(r"[\r\n]+", plain)]
    assert [line.split(":")[0] for line in lines if ": 1 mask" in line] == ["one.png", "two.png"]
