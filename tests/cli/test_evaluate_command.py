"""`promptseg evaluate`, from the data folder to the numbers on stdout."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from promptseg.cli.main import main
from promptseg.masks import RunLength
from promptseg.weights.save import save
from small_network import small_network


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "small.safetensors"
    save(small_network(), path)
    return str(path)


@pytest.fixture
def data(tmp_path):
    """Two photos of noise with a bright square each, in two domains."""
    folder = tmp_path / "data"
    folder.mkdir()
    random = np.random.default_rng(5)
    entries = []
    for number, domain in enumerate(("cups", "cats")):
        mask = np.zeros((47, 53), bool)
        mask[11:30, 13 + number : 37] = True
        shade = random.integers(0, 60, (47, 53, 3)) + 150 * mask[..., None]
        Image.fromarray(shade.astype(np.uint8)).save(folder / f"{number}.png")
        rle = RunLength.from_mask(mask).to_coco()
        entries.append({"id": domain, "image": f"{number}.png", "domain": domain, "rle": rle})
    (folder / "index.json").write_text(json.dumps({"masks": entries}))
    return str(folder)


def test_json_has_the_model_and_every_baseline(data, weights, capsys):
    """One document on stdout, the model first; on stderr a line for each as it is done."""
    assert main(["evaluate", "--data", data, "--model", weights, "--baselines", "--json"]) == 0
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    names = [each["name"] for each in document["predictors"]]
    assert names == ["small", "disc and ellipse", "watershed", "random walker", "GrabCut"]
    assert set(document["predictors"][0]["domains"]) == {"cups", "cats"}
    assert document["predictors"][0]["cap"] == 20
    assert document["data"] == {"name": "data", "masks": 2, "images": 2}
    said = [line.partition(": 1 click ")[0] for line in printed.err.splitlines()]
    assert said == names


def test_an_interrupted_run_keeps_what_is_done(data, weights, capsys, monkeypatch):
    """Ctrl+C during the first baseline: the model's numbers come out, with the status of Ctrl+C."""

    def interrupted(self, image):
        raise KeyboardInterrupt

    monkeypatch.setattr("promptseg.evaluate.baselines.Baseline.start", interrupted)
    command = ["evaluate", "--data", data, "--model", weights, "--baselines", "--json"]
    assert main(command) == 130
    printed = capsys.readouterr()
    assert [each["name"] for each in json.loads(printed.out)["predictors"]] == ["small"]
    assert "interrupted" in printed.err
    monkeypatch.setattr("promptseg.evaluate.served.Served.start", interrupted)
    assert main(command) == 130
    assert capsys.readouterr().out == ""


def test_quiet_says_nothing_beside_the_result(data, weights, capsys):
    """Stderr stays empty."""
    assert main(["evaluate", "--data", data, "--model", weights, "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_tables_without_json(data, weights, capsys):
    """The means, then each domain."""
    assert main(["evaluate", "--data", data, "--model", weights]) == 0
    text = capsys.readouterr().out
    assert "mean over domains" in text
    assert "cups, small" in text


def test_a_limit_keeps_some_of_each_domain(data, weights, capsys):
    """One mask of each domain is two masks."""
    assert main(["evaluate", "--data", data, "--model", weights, "--limit", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["data"]["masks"] == 2


def test_a_folder_without_an_index_is_one_sentence(tmp_path, capsys):
    """Status 2, an error and a hint, and no traceback."""
    assert main(["evaluate", "--data", str(tmp_path)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: cannot read")
    assert "hint: A data folder has an index.json" in printed.err


def test_an_unknown_model_is_said_before_anything_is_measured(data, capsys):
    """The models that there are are listed."""
    assert main(["evaluate", "--data", data, "--model", "nonsense", "--baselines"]) == 2
    assert "`builtin`" in capsys.readouterr().err
