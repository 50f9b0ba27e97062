"""`promptseg run`, with a network that finds colours and answers points (tests/fake_finder.py)."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

import promptseg
from fake_finder import FakeBoth, FakeFinder
from fake_model import model_of, paint
from fake_network import FakeNetwork
from promptseg.api import Model
from promptseg.cli.main import main
from promptseg.errors import OutputError, WeightsError
from promptseg.formats.outcomes import OutcomeLog
from promptseg.masks import RunLength
from promptseg.queries import read

RED = {"id": "r", "verb": "find", "text": "red"}
BLUE = {"verb": "find", "text": "blue", "threshold": 0.4}
POINT = {"id": "spot", "verb": "segment", "points": [[3, 3]], "labels": [1]}
ALL = {"verb": "everything", "points_per_side": 2, "threshold": 0.0, "stability_threshold": 0.0}
RUN = ["run", "queries.jsonl", "-o", "out"]


@pytest.fixture
def network(monkeypatch):
    """The network behind every model that is loaded."""
    network = FakeBoth()
    monkeypatch.setattr(promptseg, "load", lambda *names, **options: model_of(network))
    return network


@pytest.fixture
def folder(tmp_path, monkeypatch, network):
    """A working folder with two photos, two lines of queries, and the model."""
    monkeypatch.chdir(tmp_path)
    paint("photos/a.png", ("red", 0, 0, 4, 4), ("red", 8, 0, 14, 4), ("blue", 2, 8, 6, 14))
    paint("photos/b.png", ("blue", 0, 0, 6, 6))
    ask(("photos/a.png", RED, BLUE, POINT), ("photos/b.png", RED, ALL))
    return tmp_path


def ask(*lines):
    """Write the file of queries: images with what is asked of each, or a line as it is."""
    said = [
        line if isinstance(line, str) else json.dumps({"image": line[0], "queries": line[1:]})
        for line in lines
    ]
    Path("queries.jsonl").write_text("\n".join(said))


def name_of(query):
    """The id that is made for a query."""
    path = Path("one.jsonl")
    path.write_text(json.dumps({"image": "a", "queries": [query]}))
    [[question]] = [image.questions for image in read(path).images]
    return question.id


def results(path="out/results.jsonl"):
    """The lines of results, by image and id."""
    lines = [json.loads(line) for line in Path(path).read_text().splitlines()]
    found = {(line["image"], line["id"]): line for line in lines}
    assert len(found) == len(lines)
    return found


def test_each_query_is_answered_on_a_line(folder, capsys):
    """By image and id; masks are run lengths with labels, boxes and scores."""
    assert main(RUN) == 0
    found = results()
    assert set(found) == {
        ("photos/a.png", "r"),
        ("photos/a.png", name_of(BLUE)),
        ("photos/a.png", "spot"),
        ("photos/b.png", "r"),
        ("photos/b.png", name_of(ALL)),
    }
    reds = found["photos/a.png", "r"]["masks"]
    assert [mask["box"] for mask in reds] == [[8, 0, 14, 4], [0, 0, 4, 4]]
    assert [mask["label"] for mask in reds] == ["red", "red"]
    expected = np.zeros((14, 14), bool)
    expected[0:4, 8:14] = True
    np.testing.assert_array_equal(RunLength.from_coco(reds[0]["rle"]).to_mask(), expected)
    assert found["photos/b.png", "r"]["masks"] == []
    [spot] = found["photos/a.png", "spot"]["masks"]
    assert spot["label"] == "spot"
    said = capsys.readouterr()
    assert said.out == "out/results.jsonl\n"
    assert said.err == "queries: 5 answered\n"


def test_answers_are_those_of_the_library(folder):
    """What `Model` says of the same query, whatever else is in the file."""
    assert main(RUN) == 0
    model = model_of(FakeBoth())
    photo = promptseg.read("photos/a.png")
    options = promptseg.FindOptions(threshold=0.4)
    alone = model.find(photo, "blue", options=options)
    [mask] = results()["photos/a.png", name_of(BLUE)]["masks"]
    assert mask["rle"] == alone.to_rle()[0]
    assert mask["score"] == pytest.approx(float(alone.scores[0]))
    alone = model.segment(photo, promptseg.Points([(3, 3)]))
    [mask] = results()["photos/a.png", "spot"]["masks"]
    assert mask["rle"] == alone.to_rle()[0]


def test_an_image_is_encoded_once_for_all_its_queries(folder, network):
    """Five queries of two images are two looks, and one for the crop that `everything` takes."""
    assert main(RUN) == 0
    assert sum(network.encoded) == 2


def test_formats_hold_all_queries_of_an_image(folder, capsys):
    """Files of each image as it is done, those of the run at the end; labels are categories."""
    assert main([*RUN, "--format", "coco", "--format", "index", "--format", "overlay"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed == [
        "out/a.index.png",
        "out/a.overlay.png",
        "out/b.index.png",
        "out/b.overlay.png",
        "out/coco.json",
        "out/results.jsonl",
    ]
    coco = COCO("out/coco.json")
    assert [image["file_name"] for image in coco.imgs.values()] == ["photos/a.png", "photos/b.png"]
    names = {number: each["name"] for number, each in coco.cats.items()}
    labels = [names[each["category_id"]] for each in coco.imgToAnns[1]]
    assert labels == ["red", "red", "blue", "spot"]
    assert {names[each["category_id"]] for each in coco.imgToAnns[2]} <= {"object"}


def test_what_is_done_is_not_done_again(folder, network, capsys):
    """A second run looks at nothing, and its files are the same."""
    assert main([*RUN, "--format", "coco"]) == 0
    before = {path: path.read_bytes() for path in Path("out").iterdir()}
    Path("out/coco.json").unlink()
    network.encoded.clear()
    assert main([*RUN, "--format", "coco"]) == 0
    assert network.encoded == []
    assert {path: path.read_bytes() for path in Path("out").iterdir()} == before
    assert "queries: 0 answered, 5 done before" in capsys.readouterr().err


def test_a_new_query_and_a_changed_one_are_answered(folder, network, capsys):
    """The others are not, and results keep one line for each."""
    assert main(RUN) == 0
    ask(("photos/a.png", {**RED, "max": 1}, BLUE, POINT), ("photos/b.png", RED, ALL, BLUE))
    assert main(RUN) == 0
    assert "2 answered, 4 done before" in capsys.readouterr().err
    found = results()
    assert len(found) == 6
    assert len(found["photos/a.png", "r"]["masks"]) == 1


def test_a_changed_photo_or_model_is_answered_again(folder, network, capsys, monkeypatch):
    """A photo is known by its content, a model by its weights."""
    assert main(RUN) == 0
    content = Path("photos/b.png").read_bytes()
    paint("photos/b.png", ("red", 0, 0, 6, 6))
    assert main(RUN) == 0
    assert "2 answered, 3 done before" in capsys.readouterr().err
    Path("photos/b.png").write_bytes(content)
    other = FakeBoth()
    other.spec = FakeNetwork.spec
    monkeypatch.setattr(promptseg, "load", lambda *names, **options: model_of(other))
    assert main(RUN) == 0
    assert "5 answered" in capsys.readouterr().err


def test_results_of_another_file_stay(folder, capsys):
    """A folder may hold the answers to several files of queries."""
    assert main(RUN) == 0
    ask(("photos/b.png", BLUE))
    assert main(RUN) == 0
    assert len(results()) == 6


def test_files_of_queries_share_a_folder(folder, capsys):
    """Unlike questions have unlike ids, so that neither file takes the other's answers away."""
    reds = {"verb": "find", "text": "red"}
    lines = {
        "one.jsonl": {"image": "photos/a.png", "queries": [reds, POINT]},
        "two.jsonl": {"image": "photos/a.png", "queries": [BLUE]},
    }
    for name, line in lines.items():
        Path(name).write_text(json.dumps(line))
        assert main(["run", name, "-o", "out"]) == 0
    found = results()
    assert len(found) == 3
    capsys.readouterr()
    for name in lines:
        assert main(["run", name, "-o", "out"]) == 0
        assert "queries: 0 answered" in capsys.readouterr().err
    assert results() == found


def test_a_query_that_is_taken_out_leaves_its_own_answer_alone(folder, capsys):
    """Ids do not move up, so the others are done and nothing stale has their names."""
    reds = {"verb": "find", "text": "red"}
    ask(("photos/a.png", reds, BLUE))
    assert main(RUN) == 0
    before = results()
    ask(("photos/a.png", BLUE))
    assert main(RUN) == 0
    assert "0 answered, 1 done before" in capsys.readouterr().err
    assert results() == before


AT_WORK = """
import time
from promptseg.formats.outcomes import OutcomeLog
with OutcomeLog("out/results.jsonl"):
    print("at work", flush=True)
    time.sleep(60)
"""


def test_a_second_run_in_a_folder_is_refused_until_the_first_is_gone(folder, capsys):
    """Though it was killed, and could put nothing in order."""
    Path("out").mkdir()
    command = [sys.executable, "-c", AT_WORK]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "at work\n"
        assert main(RUN) == 2
        os.kill(other.pid, signal.SIGKILL)
    assert capsys.readouterr().err.splitlines() == [
        "error: another run is at work in `out`",
        "hint: Wait until it ends, or choose another folder with `-o`",
    ]
    assert main(RUN) == 0
    assert len(results()) == 5


def test_a_damaged_answer_is_made_again(folder, network, capsys):
    """Named once by its line and its image; the others stay."""
    assert main([*RUN, "--format", "coco"]) == 0
    whole = {path: path.read_bytes() for path in Path("out").iterdir()}
    first, *others = Path("out/results.jsonl").read_text().splitlines(keepends=True)
    broken = re.sub('"score": [0-9.]+', '"score": "x"', first)
    assert broken != first
    Path("out/results.jsonl").write_text("".join([broken, *others]))
    capsys.readouterr()
    assert main([*RUN, "--format", "coco"]) == 0
    said = capsys.readouterr().err
    assert said.count("warning: ") == 1
    assert "warning: line 1 of `out/results.jsonl` is damaged, so photos/a.png, query `" in said
    assert "queries: 1 answered, 4 done before" in said
    assert Path("out/coco.json").read_bytes() == whole[Path("out/coco.json")]
    assert len(results()) == 5


def test_results_that_lead_to_themselves_are_refused(folder, capsys):
    """A link to itself and a device are no place for results."""
    Path("out").mkdir()
    for target in ("results.jsonl", "/dev/zero"):
        Path("out/results.jsonl").symlink_to(target)
        assert main(RUN) == 2
        said = capsys.readouterr().err
        assert said.count("error: cannot write `out/results.jsonl`: ") == 1
        Path("out/results.jsonl").unlink()


def test_of_very_many_broken_lines_some_are_named(folder, capsys):
    """A picture in place of the file of queries fills no terminal."""
    Path("queries.jsonl").write_bytes(b"\x89PNG\n" * 20_000)
    assert main(RUN) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 21
    assert errors[-1] == "error: queries.jsonl: and 19980 more lines that make no sense"


def test_what_a_model_cannot_do_at_all_is_said_once(folder, capsys, monkeypatch):
    """Words for one that knows none, points for one that only finds; nothing is looked at."""
    ask(("photos/a.png", RED, BLUE), ("photos/b.png", RED))
    monkeypatch.setattr(promptseg, "load", lambda *names, **options: model_of(FakeNetwork()))
    assert main(RUN) == 2
    said = capsys.readouterr().err
    assert said.count("error: this model knows no words") == said.count("error: ") == 1
    ask(("photos/a.png", POINT, ALL))
    monkeypatch.setattr(promptseg, "load", lambda *names, **options: model_of(FakeFinder()))
    assert main(RUN) == 2
    said = capsys.readouterr().err
    assert said.count("error: this model only finds") == said.count("error: ") == 1
    assert Path("out/results.jsonl").read_text() == ""


def test_weights_without_a_tokenizer_are_said_once(folder, capsys, monkeypatch):
    """Where all is to be found; beside points, queries of words alone fail."""

    def unreadable(self, phrases):
        raise WeightsError("phrases cannot be read")

    monkeypatch.setattr(FakeFinder, "read", unreadable)
    ask(("photos/a.png", RED, BLUE), ("photos/b.png", RED))
    assert main(RUN) == 2
    assert capsys.readouterr().err == "error: phrases cannot be read\n"
    ask(("photos/a.png", RED, POINT))
    assert main(RUN) == 1
    assert "photos/a.png, query `r`: phrases cannot be read" in capsys.readouterr().err
    assert "masks" in results()["photos/a.png", "spot"]


def test_a_killed_run_goes_on(folder, network, capsys):
    """Half a line at the end is dropped and its query done again: the end is the same."""
    assert main([*RUN, "--format", "coco"]) == 0
    whole = {path: path.read_bytes() for path in Path("out").iterdir()}
    written = Path("out/results.jsonl").read_bytes()
    ends = [place for place, byte in enumerate(written) if byte == ord("\n")]
    Path("out/results.jsonl").write_bytes(written[: ends[2] + 30])
    Path("out/coco.json").unlink()
    capsys.readouterr()
    assert main([*RUN, "--format", "coco"]) == 0
    assert "2 answered, 3 done before" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in Path("out").iterdir()} == whole


def test_an_interruption_keeps_what_is_done(folder, network, capsys, monkeypatch):
    """Ctrl+C ends with 130; what is done is in the files, in the order of the queries."""
    assert main([*RUN, "--format", "coco"]) == 0
    ask(("photos/a.png", RED, {**BLUE, "max": 1}), ("photos/b.png", RED, ALL))
    find = FakeBoth.find

    def interrupted(self, *arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(FakeBoth, "find", interrupted)
    assert main([*RUN, "--format", "coco"]) == 130
    said = capsys.readouterr()
    assert said.err.endswith("interrupted\n")
    images = json.loads(Path("out/coco.json").read_text())["images"]
    assert [image["file_name"] for image in images] == ["photos/b.png"]
    monkeypatch.setattr(FakeBoth, "find", find)
    assert main([*RUN, "--format", "coco"]) == 0
    images = json.loads(Path("out/coco.json").read_text())["images"]
    assert [image["file_name"] for image in images] == ["photos/a.png", "photos/b.png"]


def test_answers_are_on_the_disk_as_they_are_known(folder, monkeypatch):
    """Before the next one is looked for."""
    counts = []
    stream = Model.stream

    def watched(self, batch):
        for answer in stream(self, batch):
            counts.append(len(Path("out/results.jsonl").read_bytes().splitlines()))
            yield answer

    monkeypatch.setattr(Model, "stream", watched)
    assert main(RUN) == 0
    assert counts == [0, 1, 2, 3, 4]


def test_a_full_disk_stops_and_says_how_to_go_on(folder, capsys, monkeypatch):
    """One sentence, status 1 as some is done; the same command does the rest."""
    append = OutcomeLog._append
    count = []

    def full(self, said):
        count.append(said)
        if len(count) == 3:
            cause = OSError(28, "No space left on device")
            raise OutputError("cannot write `out/results.jsonl`: no space left") from cause
        return append(self, said)

    monkeypatch.setattr(OutcomeLog, "_append", full)
    assert main(RUN) == 1
    said = capsys.readouterr()
    assert said.err.splitlines() == [
        "error: cannot write `out/results.jsonl`: no space left",
        "hint: What is done is kept: make room, and go on with the same command",
        "queries: 2 answered",
    ]
    assert len(results()) == 2
    assert main(RUN) == 0
    assert "3 answered, 2 done before" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_file_of_the_run_without_room_is_said(folder, capsys):
    """Status 1: all is answered and kept, and the file can be had later."""
    Path("out").mkdir()
    Path("out/coco.json").symlink_to("/dev/full")
    assert main([*RUN, "--format", "coco"]) == 1
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "error: cannot write `out/coco.json`: no space left on device",
        "hint: What is done is kept: make room, and go on with the same command",
        "queries: 5 answered",
    ]
    Path("out/coco.json").unlink()
    assert main([*RUN, "--format", "coco"]) == 0
    assert "0 answered, 5 done before" in capsys.readouterr().err
    assert len(COCO("out/coco.json").imgs) == 2


def test_one_file_in_two_spellings_is_one_image(folder, capsys):
    """Its answers are together, and no file of one overwrites the other's."""
    ask(("photos/a.png", RED), (f"{folder}/photos/a.png", BLUE), ("photos/./a.png", POINT))
    arguments = [f"{folder}/queries.jsonl", "-o", "out", "--format", "coco"]
    assert main(["run", *arguments]) == 0
    coco = COCO("out/coco.json")
    assert [image["file_name"] for image in coco.imgs.values()] == ["photos/a.png"]
    assert len(coco.anns) == 4
    assert set(results()) == {("photos/a.png", name) for name in ("r", name_of(BLUE), "spot")}


def test_excluded_examples_alone_are_legal_and_explained(folder, capsys):
    """What is left is found, and it is said that the model must guess what is meant."""
    ask(("photos/a.png", {"id": "rest", "verb": "find", "exclude": [[1, 1, 3, 3]]}))
    assert main(RUN) == 0
    assert "query `rest`: only `exclude` is given" in capsys.readouterr().err
    [mask] = results()["photos/a.png", "rest"]["masks"]
    assert mask["box"] == [2, 8, 6, 14]
    assert mask["label"] == "rest"


def test_a_phrase_too_long_for_the_network_fails_alone(folder, capsys):
    """It is only known when it is read, with others beside it."""
    ask(("photos/a.png", RED, {"id": "long", "verb": "find", "text": "a b c d e f g h"}, POINT))
    assert main(RUN) == 1
    assert "photos/a.png, query `long`: a phrase has at most 6 words" in capsys.readouterr().err
    assert ["masks" in line for line in results().values()].count(True) == 2


@pytest.mark.parametrize("mode", ["L", "RGBA", "LA", "P"])
def test_pictures_of_other_kinds_are_read(folder, mode):
    """Grey and transparent ones are taken as every command takes them."""
    Image.new(mode, (14, 14)).save("other.png")
    ask(("other.png", RED))
    assert main(RUN) == 0
    assert results()["other.png", "r"]["masks"] == []


def test_a_broken_line_is_named_and_the_rest_runs(folder, capsys):
    """Status 1, and a sentence with the number of the line."""
    ask(("photos/a.png", RED), "", '{"image": "photos/b.p', ("photos/b.png", BLUE, {"verb": 1}))
    assert main(RUN) == 1
    said = capsys.readouterr()
    errors = [line for line in said.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 2
    assert errors[0].startswith("error: queries.jsonl, line 3: not JSON: ")
    assert errors[1].startswith("error: queries.jsonl, line 4: query 2: `verb` is one of find")
    assert set(results()) == {("photos/a.png", "r")}


def test_two_queries_with_one_id_are_refused(folder, capsys):
    """In one line or in two about the same image; other images may have it."""
    ask(("photos/a.png", RED), ("photos/b.png", RED), ("photos/a.png", {**BLUE, "id": "r"}))
    assert main(RUN) == 1
    assert "line 3: two queries of one image have the id `r`" in capsys.readouterr().err
    assert set(results()) == {("photos/a.png", "r"), ("photos/b.png", "r")}


def test_a_missing_or_damaged_image_fails_alone(folder, capsys):
    """Each is named once, its queries have the error for a result, and are tried again."""
    Path("photos/c.png").write_bytes(b"no picture")
    ask(("photos/none.png", RED, BLUE), ("photos/c.png", RED), ("photos/b.png", BLUE))
    assert main(RUN) == 1
    said = capsys.readouterr()
    assert said.err.count("error: ") == 2
    assert results()["photos/none.png", "r"]["error"]["kind"] == "ImageError"
    assert "queries: 1 answered, 3 failed" in said.err
    paint("photos/none.png")
    paint("photos/c.png")
    assert main(RUN) == 0
    assert all("masks" in line for line in results().values())


def test_scores_that_are_no_numbers_fail_alone(folder, capsys, monkeypatch):
    """As a network with damaged weights gives them: its query has an error, the others answers."""
    decode = FakeBoth.decode

    def damaged(self, features, prompts):
        found = decode(self, features, prompts)
        return found._replace(scores=found.scores * float("nan"))

    monkeypatch.setattr(FakeBoth, "decode", damaged)
    ask(("photos/a.png", RED, POINT))
    assert main([*RUN, "--format", "coco"]) == 1
    assert "photos/a.png, query `spot`: mask 0 has a score of nan" in capsys.readouterr().err
    assert len(COCO("out/coco.json").anns) == 2


@pytest.mark.parametrize("name", ["\ud800.png", "\0.png", "x" * 300 + ".png", "photos"])
def test_names_that_no_image_has_are_said(folder, capsys, name):
    """Whatever is written there, it is an image that is missing, and the others are done."""
    ask((name, RED), ("photos/a.png", RED))
    assert main([*RUN, "--format", "coco"]) == 1
    said = capsys.readouterr().err
    assert said.count("error: ") == 1
    assert "queries: 1 answered" in said


def test_a_photo_that_is_gone_for_once_loses_no_answer(folder, capsys):
    """When it is back, what was found before counts again."""
    assert main(RUN) == 0
    Path("photos/a.png").rename("a.png")
    assert main(RUN) == 1
    Path("a.png").rename("photos/a.png")
    capsys.readouterr()
    assert main(RUN) == 0
    assert "0 answered, 5 done before" in capsys.readouterr().err
    assert all("masks" in line for line in results().values())


def test_a_query_that_does_not_fit_fails_alone(folder, capsys):
    """A point outside, a box outside, a mask that is missing: each is named by its id."""
    outside = {"id": "far", "verb": "segment", "points": [[400, 3]]}
    example = {"id": "off", "verb": "find", "include": [[90, 90, 99, 99]]}
    mask = {"id": "hint", "verb": "segment", "mask": "none.png"}
    ask(("photos/a.png", outside, example, mask, POINT))
    assert main(RUN) == 1
    said = capsys.readouterr().err
    for name, words in (("far", "outside"), ("off", "outside"), ("hint", "there is no file")):
        [line] = [line for line in said.splitlines() if f"query `{name}`" in line]
        assert words in line
    assert "masks" in results()["photos/a.png", "spot"]


def test_a_mask_is_found_beside_the_file_of_queries(folder, capsys, monkeypatch):
    """As images are, wherever the command is run from."""
    hint = np.zeros((14, 14), bool)
    hint[2:6, 2:6] = True
    Image.fromarray(hint).save("hint.png")
    ask(("photos/a.png", {"id": "hint", "verb": "segment", "mask": "hint.png"}))
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert main(["run", "../queries.jsonl", "-o", "out"]) == 0
    assert "masks" in results()["photos/a.png", "hint"]


def test_text_for_a_model_without_words_is_said(folder, capsys, monkeypatch):
    """Its queries fail, those of points are answered."""
    monkeypatch.setattr(promptseg, "load", lambda *names, **options: model_of(FakeNetwork()))
    assert main(RUN) == 1
    said = capsys.readouterr().err
    assert "photos/a.png, query `r`: this model knows no words" in said
    assert "masks" in results()["photos/a.png", "spot"]


def test_the_built_in_model_answers_too(folder, capsys, monkeypatch):
    """A point and a coarse look at all, with the model that comes with the package."""
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    ask(("photos/a.png", POINT, {"verb": "everything", "points_per_side": 2}))
    assert main(RUN) == 0
    assert len(results()) == 2


def test_a_folder_of_a_full_run_can_be_any(folder, capsys):
    """A name with a dot is one, and a file of that name is said."""
    assert main(["run", "queries.jsonl", "-o", "out.d/deep"]) == 0
    assert len(results("out.d/deep/results.jsonl")) == 5


@pytest.mark.parametrize(
    ("content", "arguments", "words"),
    [
        ("", ["-o", "out"], "asks nothing"),
        (" \n\n", ["-o", "out"], "asks nothing"),
        ("{", ["-o", "out"], "line 1: not JSON"),
        (None, ["-o", "out"], "there is no file"),
        ("folder", ["-o", "out"], "is a folder"),
        (b"\x93NUMPY", ["-o", "out"], "not text in UTF-8"),
        ("good", [], "-o"),
        ("good", ["-o", "out.json"], "several files are written"),
        ("good", ["-o", "queries.jsonl"], "cannot write to the folder"),
        ("good", ["-o", "photos", "--format", "png", "--format", "coco", "--model", ""], "photos"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(folder, capsys, content, arguments, words):
    """Nothing on stdout, one `error:` line on stderr, and never a traceback."""
    if "photos" in arguments:
        Path("photos/coco.json").mkdir()
    if content != "good":
        Path("queries.jsonl").unlink()
    if content == "folder":
        Path("queries.jsonl").mkdir()
    elif isinstance(content, bytes):
        Path("queries.jsonl").write_bytes(content)
    elif content is not None and content != "good":
        Path("queries.jsonl").write_text(content)
    assert main(["run", "queries.jsonl", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert [line[:7] for line in said.err.splitlines()].count("error: ") == 1
    assert words in said.err


def test_results_never_overwrite_the_queries(folder, capsys):
    """A file of queries called results.jsonl, and its own folder for answers."""
    Path("queries.jsonl").rename("results.jsonl")
    before = Path("results.jsonl").read_bytes()
    assert main(["run", "results.jsonl", "-o", "."]) == 2
    assert "into the file of queries" in capsys.readouterr().err
    assert Path("results.jsonl").read_bytes() == before


def test_another_files_results_are_not_touched(folder, capsys):
    """A file of that name that is not ours is refused by its line."""
    Path("out").mkdir()
    Path("out/results.jsonl").write_text('{"mine": 1}\n')
    assert main(RUN) == 2
    assert "line 1 of `out/results.jsonl` is no result" in capsys.readouterr().err
    assert Path("out/results.jsonl").read_text() == '{"mine": 1}\n'


def test_there_may_be_more_is_said(folder, capsys):
    """Where a query took all slots of the network; the result says so too."""
    paint("many.png", *[("red", x, y, x + 2, y + 4) for y in (0, 6) for x in (0, 4, 8)])
    ask(("many.png", RED))
    assert main(RUN) == 0
    assert "warning: many.png, query `r`: there may be more" in capsys.readouterr().err
    assert results()["many.png", "r"]["complete"] is False


def test_quiet_says_nothing_but_errors(folder, capsys):
    """Nor how many there were."""
    assert main([*RUN, "--quiet"]) == 0
    assert capsys.readouterr().err == ""
