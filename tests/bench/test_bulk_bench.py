"""The suite of many photos: how turns are watched, compared and said."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from promptseg.bench import bulk
from promptseg.bench.bulk import Side
from promptseg.errors import PromptsegError
from promptseg.queries import read

# A process that writes files one by one, and holds ten megabytes more from the fourth on.
WRITING = """
import sys, time
from pathlib import Path
folder = Path(sys.argv[1])
folder.mkdir()
held = []
for number in range(8):
    time.sleep(0.05)
    if number == 3:
        held.append(bytearray(b"x") * 10_000_000)
    (folder / f"{number}.png").touch()
time.sleep(0.5)
"""


def test_a_process_is_watched_by_its_files(tmp_path, monkeypatch):
    """Seconds for each, and memory at a photo and at the end."""
    monkeypatch.setattr(bulk, "WARM", 1)
    monkeypatch.setattr(bulk, "STEADY", 2)
    monkeypatch.setattr(bulk, "LOOK_SECONDS", 0.01)
    side = bulk._watched(WRITING, [str(tmp_path / "out")], tmp_path / "out", 8)
    assert side.seconds > 0.04
    assert side.last_bytes - side.steady_bytes > 8_000_000
    assert 0 <= side.busy <= 1
    assert "side" in side.line("side")


def test_a_process_that_fails_is_said(tmp_path):
    """With what it said last."""
    with pytest.raises(PromptsegError, match=r"(?s)ended with status 3.*no luck"):
        bulk._watched("import sys; print('no luck', file=sys.stderr); sys.exit(3)", [], tmp_path, 8)


def test_photos_differ_and_each_is_asked_about(tmp_path):
    """One line for each."""
    bulk._make(tmp_path, 3)
    [*asked], broken = read(tmp_path / "queries.jsonl")
    assert not broken
    assert [image.path.exists() for image in asked] == [True] * 3
    assert len({image.path.read_bytes() for image in asked}) == 3


def test_masks_are_compared(tmp_path):
    """Two of three pixels are common; those of nothing are equal."""
    for name, pixels in (("a", [1, 1, 0]), ("b", [1, 1, 1]), ("c", [0, 0, 0])):
        Image.fromarray(np.array([pixels], np.uint8) * 255).save(tmp_path / f"{name}.png")
    assert bulk._overlap(tmp_path / "a.png", tmp_path / "b.png") == pytest.approx(2 / 3)
    assert bulk._overlap(tmp_path / "a.png", tmp_path / "a.png") == 1
    assert bulk._overlap(tmp_path / "c.png", tmp_path / "c.png") == 1


def test_each_turn_of_the_loop_is_between_two_of_ours(monkeypatch):
    """By hand: 30 beside 10 and 20, 60 beside 20 and 10."""
    seconds = {"ours": 10, "loop-0": 30, "ours-0": 20, "loop-1": 60, "ours-1": 10}

    def watched(code, arguments, output, photos):
        output.mkdir()
        Image.new("1", (5, 3), 1).save(output / "x.png")
        return Side(
            seconds=seconds[output.name], busy=0.5, others=0.25, steady_bytes=7, last_bytes=11
        )

    monkeypatch.setattr(bulk, "_watched", watched)
    found = bulk.measure(photos=2, rounds=2)
    assert found.contest.ratio == (3, 2, 4)
    assert (found.contest.ours, found.contest.peer) == (10, 45)
    assert (found.equal, found.least_iou) == (1, 1.0)
    assert any("50%" in line and "25%" in line for line in found.lines())
    assert json.loads(json.dumps(found.as_json()))["photos"] == 2
