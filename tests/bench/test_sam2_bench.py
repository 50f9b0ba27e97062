"""The benchmark of SAM 2 measures what it says; which side wins on this machine is not tested."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip("transformers")
pytest.importorskip("pycocotools")

from promptseg.bench import sam2
from promptseg.bench.contest import Contest, better, compete
from promptseg.bench.peer import Peer, coco_by_pixels
from promptseg.bench.processes import Finished
from promptseg.cli.main import main
from promptseg.engine.upsample import to_runs
from promptseg.errors import ConfigError
from promptseg.geometry import Size
from small_sam2 import FITTING

SMALL = replace(FITTING, memory=None)


def test_turns_are_taken_as_a_b_b_a():
    """One time each to warm up, and then two rounds."""
    turns = []
    found = compete("x", lambda: turns.append("a"), lambda: turns.append("b"), rounds=2)
    assert "".join(turns) == "ab" + "abba" * 2
    assert found.ratio[1] <= found.ratio[0] <= found.ratio[2]


def test_the_quicker_way_of_the_peer_counts():
    """Of two ways the one with the shorter time is reported."""
    slow, quick = Contest(task="x", ours=1.0, peer=5.0), Contest(task="x", ours=1.0, peer=3.0)
    assert better([slow, quick]) is quick


def test_both_sides_answer_the_same_clicks():
    """Without it, speeds would be of different things: ours, one by one and batched agree."""
    network = sam2.random_network(SMALL)
    peer = Peer(network)
    pixels = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    points = sam2._places(5, 64)
    with torch.inference_mode():
        ours = torch.cat(list(sam2._click(network, network.encode(pixels), points)))
        grids = peer.encode(pixels)
        assert ours.abs().max() > 0.5
        for way in (sam2._one_by_one, sam2._batched):
            theirs = torch.cat(list(way(peer, grids, points)))
            torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=0)


def test_outlines_by_pixel_are_those_of_run_lengths():
    """The peer's bytes are ours."""
    logits = np.random.default_rng(2).normal(size=(2, 16, 16)).astype(np.float32)
    size = Size(53, 71)
    ours = [runs.to_coco()["counts"] for runs in to_runs(logits, size)]
    assert coco_by_pixels(logits, size) == ours


def test_everything_is_measured(monkeypatch):
    """A table with a line for each task, and the same as JSON; processes are only told."""
    told = []

    def run_python(code, arguments, *, settings=None):
        told.append((arguments, bool(settings)))
        return Finished("0.5", 1.0, 10**9 * len(told))

    monkeypatch.setitem(sam2.SIZES, "tiny", SMALL)
    monkeypatch.setattr(sam2, "run_python", run_python)
    found = sam2.measure("tiny", counts=(1, 2), rounds=1)

    tasks = [contest.task for contest in found.contests]
    assert tasks == [
        "preprocess 1080p",
        *(
            f"{task}, {dtype}"
            for dtype in ("float32", "bfloat16")
            for task in ("encode", "1 prompts", "2 prompts")
        ),
        "2 masks to COCO, 1080p",
        "2 masks to COCO, 4K",
        "peak memory, 2 prompts, 2250 x 1500",
        "ours: click, memory kept | given back",
        "peer: click, memory kept | given back",
    ]
    assert told[:2] == [(["ours", "tiny", "2"], False), (["peer", "tiny", "2"], False)]
    assert [kept for _, kept in told[2:]] == [False, True] * 2
    lines = "\n".join(found.lines())
    assert all(task in lines for task in tasks)
    for part in ("same bytes", "2.00x", "1.00 GB", "GFLOP/s bfloat16", "IoU with float32 1.0000"):
        assert part in lines
    assert len(json.loads(json.dumps(found.as_json()))["contests"]) == len(tasks)


@pytest.mark.parametrize("who", ["ours", "peer"])
def test_what_processes_run_can_be_run(monkeypatch, capsys, who):
    """Prompts on a large photo, and the time of a click, on either side."""
    monkeypatch.setitem(sam2.SIZES, "tiny", SMALL)
    monkeypatch.setattr(sam2, "LARGE_PHOTO", Size(90, 130))
    sam2.hold(who, "tiny", "3")
    sam2.time_clicks(f"{who} tiny")
    assert float(capsys.readouterr().out) > 0


def test_an_unknown_size_or_suite_is_refused(capsys):
    """With the names that there are."""
    with pytest.raises(ConfigError, match="unknown size `huge`"):
        sam2.measure("huge")
    assert main(["bench", "--suite", "nothing"]) == 2
    assert "first-light, sam2, everything" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("suite", "flag"),
    [("sam2", "--model"), ("sam2", "--device"), ("sam2", "--clicks"), ("first-light", "--size")],
)
def test_a_flag_of_the_other_suite_is_refused(suite, flag, capsys):
    """Else it would be ignored in silence."""
    assert main(["bench", "--suite", suite, flag, "7"]) == 2
    assert f"`{flag}` means nothing to the suite `{suite}`" in capsys.readouterr().err


def test_the_peers_absence_is_said(monkeypatch, capsys):
    """In one sentence, with what to install."""
    monkeypatch.setitem(sys.modules, "transformers", None)
    for name in ("peer", "sam2"):
        monkeypatch.delitem(sys.modules, f"promptseg.bench.{name}")
        monkeypatch.delattr(f"promptseg.bench.{name}")
    assert main(["bench", "--suite", "sam2"]) == 2
    said = capsys.readouterr().err
    assert "transformers and pycocotools, which are not installed" in said
    assert "promptseg[dev]" in said
