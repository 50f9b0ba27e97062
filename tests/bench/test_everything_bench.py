"""The benchmark of everything measures what it says; who wins on this machine is not tested."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

pytest.importorskip("transformers")
pytest.importorskip("pycocotools")

from promptseg.bench import everything
from promptseg.bench.processes import Finished
from promptseg.cli.main import main
from promptseg.errors import ConfigError
from promptseg.geometry import Size
from small_sam2 import FITTING

PHOTO = Size(90, 130)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """The small sizes stand in for the published ones."""
    monkeypatch.setitem(everything.SIZES, "tiny", replace(FITTING, memory=None))


def test_both_sides_find_the_same_masks():
    """Without it, speeds would be of different things."""
    bars = everything._bars("tiny", PHOTO)
    network, image = everything._network("tiny"), everything.photo(PHOTO)
    ours = everything._ours(network, image, bars, 6)
    theirs = everything._peer(network, image, bars, 6)
    assert len(ours) > 3
    assert {run.counts.tobytes() for run in ours} == {run.counts.tobytes() for run in theirs}


def test_a_line_for_each_task(monkeypatch, capsys):
    """Time and peak by processes, run here instead, the filters, and the same as JSON."""

    def run_python(code, arguments, *, settings=None):
        everything.search(*arguments)
        return Finished(capsys.readouterr().out, 1.0, 10**9 * (1 + ("peer" in arguments)))

    monkeypatch.setattr(everything, "run_python", run_python)
    found = everything.measure("tiny", per_side=4, photo_size=PHOTO)
    lines = "\n".join(found.lines())
    for part in (
        "4 x 4 points, memory given back",
        "4 x 4 points, memory kept",
        "2.00x",
        "filter 192 masks, 130 x 90",
        "the same",
    ):
        assert part in lines
    assert len(json.loads(json.dumps(found.as_json()))["contests"]) == 5


def test_what_is_unknown_is_refused(capsys):
    """A size, and a flag of another suite."""
    with pytest.raises(ConfigError, match="unknown size `huge`"):
        everything.measure("huge")
    assert main(["bench", "--suite", "everything", "--clicks", "7"]) == 2
    assert "`--clicks` means nothing" in capsys.readouterr().err
