"""`promptseg run` on many images: killed, interrupted, shared out, and with copies among them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import promptseg
from fake_finder import FakeBoth
from fake_model import model_of, paint
from places import ROOT
from promptseg.cli import answering, console
from promptseg.cli.main import main
from promptseg.cli.shard import Shard
from promptseg.errors import ConfigError
from promptseg.io import images

POINT = {"verb": "segment", "points": [[3, 3]]}
RED = {"verb": "find", "text": "red"}
RUN = ["run", "queries.jsonl", "-o", "out"]
# The command with a network of a few lines, which may be slow and held to small files.
COMMAND = """
import resource, sys, time
import promptseg
from fake_finder import FakeBoth
from fake_model import model_of
from promptseg.cli.main import run
slow, most = float(sys.argv.pop(1)), int(sys.argv.pop(1))
class Slow(FakeBoth):
    def encode(self, pixels):
        time.sleep(slow)
        return super().encode(pixels)
if most:
    import signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    # Compiled code that is cut short would break every other process.
    sys.dont_write_bytecode = True
promptseg.load = lambda *names, **options: model_of(Slow())
run()
"""


@pytest.fixture
def network(monkeypatch):
    """The network behind every model that is loaded."""
    network = FakeBoth()
    monkeypatch.setattr(promptseg, "load", lambda *names, **options: model_of(network))
    return network


@pytest.fixture
def folder(tmp_path, monkeypatch, network):
    """A working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make(count, *, queries=(POINT,)):
    """Paint so many unlike pictures, and ask the same of each."""
    Path("photos").mkdir(exist_ok=True)
    for number in range(count):
        pixels = np.zeros((11, 13, 3), np.uint8)
        pixels[1:8, 1:8] = (200, number % 256, number // 256)
        Image.fromarray(pixels).save(f"photos/{number:03}.png")
    ask({f"photos/{number:03}.png": queries for number in range(count)})


def ask(queries_of):
    """Write the file of queries."""
    lines = [json.dumps({"image": name, "queries": asked}) for name, asked in queries_of.items()]
    Path("queries.jsonl").write_text("\n".join(lines))


def results(path="out/results.jsonl"):
    """The lines of results, by image and id; each is there once."""
    lines = [json.loads(line) for line in Path(path).read_text().splitlines()]
    found = {(line["image"], line["id"]): line for line in lines}
    assert len(found) == len(lines)
    return found


def start(*arguments, slow=0.0, most=0):
    """Start the command in a process of its own."""
    command = [sys.executable, "-c", COMMAND, str(slow), str(most), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def wait_for_files(pattern, count):
    """Wait until so many files are there."""
    ends = time.monotonic() + 50
    while len(list(Path().glob(pattern))) < count:
        assert time.monotonic() < ends
        time.sleep(0.01)


@pytest.mark.parametrize("count", [80, pytest.param(500, marks=pytest.mark.full)])
def test_a_run_that_is_killed_halfway_goes_on(folder, count):
    """Finished images stay untouched, and the end is that of one run."""
    make(count)
    arguments = [*RUN, "--format", "png", "--format", "coco"]
    with start(*arguments, slow=0.02) as process:
        wait_for_files("out/*.mask.png", count * 2 // 5)
        process.kill()
    there = {path: path.stat().st_mtime_ns for path in Path("out").glob("*.mask.png")}
    lines = Path("out/results.jsonl").read_text().count("\n")
    assert count * 2 // 5 <= len(there) <= lines < count
    time.sleep(0.05)
    with start(*arguments) as process:
        said = process.communicate()[1]
    assert process.returncode == 0
    assert f"queries: {count - lines} answered, {lines} done before" in said
    assert {path: path.stat().st_mtime_ns for path in there} == there
    assert main(["run", "queries.jsonl", "-o", "clean", *arguments[4:]]) == 0
    for path in Path("clean").iterdir():
        if path.name.startswith("."):
            continue
        again = Path("out", path.name)
        if path.suffix == ".jsonl":
            assert results(path) == results(again)
        else:
            assert path.read_bytes() == again.read_bytes()


def test_ctrl_c_ends_it_soon_and_keeps_what_is_done(folder):
    """Status 130, whole lines, and the same command does the rest."""
    make(60)
    with start(*RUN, slow=0.05) as process:
        ends = time.monotonic() + 50
        while not (Path("out/results.jsonl").exists() and Path("out/results.jsonl").stat().st_size):
            assert time.monotonic() < ends
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        said = process.communicate()[1]
        assert time.monotonic() - began < 5
    assert process.returncode == 130
    assert said.splitlines()[-1] == "interrupted"
    assert "Traceback" not in said
    done = len(results())
    assert 0 < done < 60
    assert main(RUN) == 0
    assert len(results()) == 60


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_a_disk_that_is_full_ends_it(folder):
    """One sentence, whole lines, and the rest once there is room."""
    make(60)
    with start(*RUN, most=5000) as process:
        said = process.communicate()[1]
    assert process.returncode == 1
    assert said.count("error: ") == said.count("hint: ") == 1
    assert "error: cannot write `out/results.jsonl`: file too large" in said.lower()
    assert "What is done is kept: make room" in said
    done = len(results())
    assert 0 < done < 60
    assert main(RUN) == 0
    assert len(results()) == 60


def test_images_that_are_alike_are_looked_at_once(folder, network, capsys):
    """Ten copies and another: each has its answers, with its own labels and files."""
    paint("one.png", ("red", 0, 0, 4, 4))
    paint("other.png", ("red", 2, 2, 9, 9))
    for number in range(10):
        Path(f"copy-{number}.png").write_bytes(Path("one.png").read_bytes())
    named = {"id": "thing", **POINT}
    ask({"one.png": [RED, POINT], "other.png": [RED, POINT]}
        | {f"copy-{number}.png": [RED, named] for number in range(10)})  # fmt: skip
    assert main([*RUN, "--format", "index"]) == 0
    assert sum(network.encoded) == 2
    said = capsys.readouterr()
    assert "queries: 24 answered (20 of them alike)" in said.err
    found = results()
    masks = {(image, verb): line["masks"] for (image, _), line in found.items()
             for verb in [line["verb"]]}  # fmt: skip
    assert len(masks) == 24
    for number in range(10):
        assert masks[f"copy-{number}.png", "find"] == masks["one.png", "find"]
        [mask], [first] = masks[f"copy-{number}.png", "segment"], masks["one.png", "segment"]
        assert (mask["label"], first["label"]) == ("thing", None)
        assert {**mask, "label": None} == first
        assert Path(f"out/copy-{number}.index.png").exists()


def test_a_renamed_photo_is_not_looked_at_again(folder, network, capsys):
    """It is another query, and the answer is known."""
    make(3)
    assert main(RUN) == 0
    network.encoded.clear()
    Path("photos").rename("pictures")
    ask({f"pictures/{number:03}.png": [POINT] for number in range(3)})
    assert main(RUN) == 0
    assert network.encoded == []
    assert "queries: 3 answered (3 of them alike)" in capsys.readouterr().err
    assert len(results()) == 6


def test_of_queries_that_fail_alike_each_is_said(folder, capsys):
    """A point outside, of two images with one content."""
    make(1)
    Path("copy.png").write_bytes(Path("photos/000.png").read_bytes())
    outside = {"id": "far", "verb": "segment", "points": [[99, 99]]}
    ask({"photos/000.png": [outside], "copy.png": [outside]})
    assert main(RUN) == 2
    said = capsys.readouterr().err
    assert said.count("error: ") == 2
    assert "queries: 0 answered, 2 failed" in said


def test_an_image_that_changes_while_it_is_read_is_refused(folder, capsys, monkeypatch):
    """So that no answer is kept under the name of another content."""
    make(3)
    other = Path("photos/000.png").read_bytes()
    read = images.read

    def meanwhile(path, **options):
        if path.name == "001.png":
            path.write_bytes(other)
        return read(path, **options)

    monkeypatch.setattr(answering.images, "read", meanwhile)
    assert main(RUN) == 1
    said = capsys.readouterr().err
    assert "error: `photos/001.png` changed while it was read" in said
    assert "queries: 2 answered, 1 failed" in said
    assert main(RUN) == 0


def test_a_mask_that_changes_while_it_is_read_is_refused(folder, capsys, monkeypatch):
    """As an image is; the other queries are answered."""
    make(1)
    hint = Image.fromarray(np.eye(11, 13, dtype=bool))
    hint.save("hint.png")
    ask({"photos/000.png": [{"id": "hint", "verb": "segment", "mask": "hint.png"}, POINT]})
    read = images.read_mask

    def meanwhile(path, **options):
        found = read(path, **options)
        path.write_bytes(path.read_bytes() + b"x")
        return found

    monkeypatch.setattr(images, "read_mask", meanwhile)
    assert main(RUN) == 1
    assert "query `hint`: " in (said := capsys.readouterr().err)
    assert "changed while it was read" in said
    assert "queries: 1 answered, 1 failed" in said


def test_answers_to_something_else_are_replaced_and_that_is_said(folder, capsys):
    """Once, in a folder of a run with other options; and not where nothing differs."""
    make(4, queries=[{"id": "thing", **POINT}])
    assert main(RUN) == 0
    make(4, queries=[{"id": "thing", "verb": "segment", "points": [[9, 9]]}])
    capsys.readouterr()
    assert main(RUN) == 0
    said = capsys.readouterr().err
    assert said.count("warning: ") == 1
    assert "warning: `out/results.jsonl` has answers of another model, with other options" in said
    assert main(RUN) == 0
    assert "warning" not in capsys.readouterr().err
    assert len(results()) == 4


def test_parts_are_put_together(folder, network, capsys):
    """Each image is in one of them, and a run of all asks nothing again."""
    make(30)
    for number in (1, 2, 3):
        assert main([*RUN, "--format", "png", "--shard", f"{number}/3"]) == 0
    parts = [results(f"out/results-{number}-of-3.jsonl") for number in (1, 2, 3)]
    assert len(set().union(*parts)) == sum(map(len, parts)) == 30
    assert all(4 < len(part) < 16 for part in parts)
    assert len(list(Path("out").glob("*.png"))) == 30
    network.encoded.clear()
    capsys.readouterr()
    assert main([*RUN, "--format", "coco"]) == 0
    assert network.encoded == []
    assert "queries: 30 answered (30 of them alike)" in capsys.readouterr().err
    assert results() == parts[0] | parts[1] | parts[2]
    assert len(json.loads(Path("out/coco.json").read_text())["images"]) == 30


def test_a_part_does_not_change_with_the_others():
    """It goes by the hash of an image's name; every name is in one part."""
    names = [f"{number}.jpg" for number in range(1000)]
    for count in (1, 2, 7):
        parts = [{name for name in names if Shard(number, count).has(name)}
                 for number in range(1, count + 1)]  # fmt: skip
        assert sum(map(len, parts)) == len(set.union(*parts)) == 1000
        assert min(map(len, parts)) > 0.8 * 1000 / count
    assert Shard(1, 1).file_name == "results.jsonl"
    assert Shard(2, 7).has("\udc80") in (True, False)


@pytest.mark.parametrize("text", ["", "0/3", "4/3", "1", "1/0", "a/b", "-1/3", "1/3/5", "1.0/3"])
def test_no_such_part_is_a_sentence(folder, capsys, text):
    """Nothing is asked."""
    make(1)
    assert main([*RUN, "--shard", text]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("error: ")
    assert said[1] == "hint: The second of eight parts is `--shard 2/8`"
    with pytest.raises(ConfigError):
        Shard.parse(text)


def test_a_file_of_all_images_is_none_of_a_part(folder, capsys):
    """What to do is said."""
    make(1)
    assert main([*RUN, "--shard", "1/2", "--format", "coco"]) == 2
    said = capsys.readouterr().err
    assert "error: `coco` is one file of all images, and a shard has only some" in said
    assert "hint: Leave it out" in said


def test_an_empty_part_is_done(folder, capsys):
    """There is nothing to do, and that is no failure."""
    make(1)
    [empty] = [number for number in (1, 2) if not Shard(number, 2).has("photos/000.png")]
    assert main([*RUN, "--shard", f"{empty}/2"]) == 0
    assert capsys.readouterr().err == f"no image is in part {empty}/2\n"


@pytest.mark.parametrize(
    ("speed", "said"),
    [(None, ""), (0, ""), (12.34, "12.3/s"), (0.5, "30.0/min"), (0.01, "36.0/h")],
)
def test_a_rate_is_said_in_a_unit_that_suits(speed, said):
    """More than one a second, a minute or an hour."""
    assert console.rate(speed) == said


def test_a_bar_has_a_rate_and_the_time_left(monkeypatch, capsys):
    """On a terminal, beside how many are done."""
    monkeypatch.setattr(console, "is_terminal", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    with console.counter(total=3, label="run", quiet=False) as count:
        for _ in range(3):
            time.sleep(0.02)
            count()
            console.note("said meanwhile")
    said = capsys.readouterr().err
    assert "3/3" in said
    assert "/s" in said
    assert said.count("said meanwhile") == 3
