"""The training loop for real, on a network and data of a toy's size."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from promptseg.cli.main import main
from promptseg.errors import ConfigError, OutputError, WeightsError
from promptseg.nn.tiny.model import TinyNetwork
from promptseg.options import StreamOptions, TrainOptions
from promptseg.train.loop import rate_at, train_builtin
from promptseg.weights.load import load_builtin
from small_network import SMALL

OPTIONS = TrainOptions(
    steps=6,
    save_every=2,
    warmup=1,
    rounds=1,
    stream=StreamOptions(side=64, batch=2, things=2, workers=0, buffer=4),
)
CPU = torch.device("cpu")


def fresh() -> TinyNetwork:
    """The same random network each time."""
    torch.manual_seed(0)
    return TinyNetwork(SMALL)


def test_training_stops_and_goes_on(training_folder: Path, tmp_path: Path) -> None:
    """What is stopped after three steps goes on from the last state saved, to the end."""
    out = tmp_path / "weights.safetensors"
    run = train_builtin(training_folder, out, OPTIONS, start=fresh(), device=CPU)
    before = [report.step for report in itertools.islice(run, 3)]
    run.close()

    after = [
        r.step for r in train_builtin(training_folder, out, OPTIONS, start=fresh(), device=CPU)
    ]

    assert before == [1, 2, 3]
    assert after == [3, 4, 5, 6]
    log = (tmp_path / "weights.safetensors.log.jsonl").read_text().splitlines()
    lines = [json.loads(line) for line in log]
    assert [line["step"] for line in lines] == [1, 2, 3, 3, 4, 5, 6]
    assert load_builtin(out).spec.image_side == 64


def test_a_seed_gives_the_same_training(training_folder: Path, tmp_path: Path) -> None:
    """Two runs of one seed report the same losses."""
    losses = []
    for name in ("a", "b"):
        run = train_builtin(training_folder, tmp_path / name, OPTIONS, start=fresh(), device=CPU)
        losses.append([report.numbers.loss for report in itertools.islice(run, 2)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_weights_change_where_they_are_used(training_folder: Path, tmp_path: Path) -> None:
    """A step moves every weight of the network: no part of it is out of the loss."""
    out = tmp_path / "weights"
    options = replace(OPTIONS, steps=2, average=0.0)
    start = fresh().state_dict()
    list(train_builtin(training_folder, out, options, start=fresh(), device=CPU))
    end = torch.load(f"{out}.state", weights_only=True)["network"]

    still = [name for name in start if torch.equal(start[name], end[name])]
    assert still == []


def test_a_state_of_something_else_is_refused(training_folder: Path, tmp_path: Path) -> None:
    """A file that is no training state gives a sentence and is left as it is."""
    (tmp_path / "w.state").write_bytes(b"not a state")
    with pytest.raises(WeightsError, match="cannot go on from"):
        next(train_builtin(training_folder, tmp_path / "w", OPTIONS, start=fresh(), device=CPU))
    assert (tmp_path / "w.state").read_bytes() == b"not a state"


def test_the_rate_rises_stays_and_falls() -> None:
    """The schedule is level between its warm-up and its last fifth."""
    options = TrainOptions(steps=1000, rate=1.0, warmup=10, cooldown=0.2)
    assert rate_at(0, options) == pytest.approx(0.1)
    assert rate_at(500, options) == 1.0
    assert rate_at(999, options) < 0.02


def test_a_rate_that_is_no_rate_is_refused() -> None:
    """A nan would make every weight one."""
    with pytest.raises(ConfigError, match="at most 1, got nan"):
        TrainOptions(rate=float("nan"))


def test_an_unwritable_place_is_found_before_the_first_step(
    training_folder: Path, tmp_path: Path
) -> None:
    """A file where a folder is needed gives a sentence; a missing folder is made."""
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "weights"
    with pytest.raises(OutputError, match="cannot write"):
        next(train_builtin(training_folder, out, OPTIONS, start=fresh(), device=CPU))
    out = tmp_path / "new" / "folder" / "weights"
    next(train_builtin(training_folder, out, OPTIONS, start=fresh(), device=CPU))
    assert out.with_name("weights.log.jsonl").exists()


def test_weights_to_start_with_are_not_ignored_in_silence(
    training_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--start` beside a state that would win is refused, and the state stays."""
    (tmp_path / "w.state").write_bytes(b"half-way")
    arguments = ["train", "builtin", "--data", str(training_folder), "--out", str(tmp_path / "w")]
    assert main([*arguments, "--start", str(tmp_path / "old")]) == 2
    assert "`--start` would do nothing" in capsys.readouterr().err
    assert (tmp_path / "w.state").read_bytes() == b"half-way"
