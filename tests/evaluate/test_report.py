"""What was measured, for programs and for people."""

from __future__ import annotations

import json

import pytest

from promptseg.evaluate import datasets, report
from promptseg.evaluate.run import evaluate


@pytest.fixture
def measured(data_folder, blob, scripted):
    truth, half = blob(4, 5, 15, 16), blob(4, 5, 15, 10)
    other = blob(20, 5, 31, 16)
    dataset = datasets.load(
        data_folder(("a/0", "a.png", "cups", truth), ("b/0", "b.png", "cats", other))
    )
    full = evaluate(scripted([half, truth], box=truth), dataset)
    short = evaluate(scripted([half], box=half, cap=5), dataset)
    return [full, short], dataset


def test_json_has_every_number_and_is_the_same_twice(measured):
    """Means, domains and objects are there; what differs between runs is under `timing`."""
    evaluations, dataset = measured
    document = report.to_json(evaluations, dataset)
    assert json.loads(json.dumps(document, allow_nan=False))
    first, second = document["predictors"]
    assert document["data"]["masks"] == 2
    assert first["domains"]["cups"]["click_1"] == 0.4545
    assert first["domains"]["cups"]["masks"] == 1
    assert first["mean"]["box"] == 0.5
    assert first["objects"][0]["clicks"] == [0.4545, 1.0]
    assert second["mean"]["noc_80"] is None
    assert set(first["timing"]) == {"image_seconds", "answer_seconds", "images", "answers"}


def test_tables_line_up(measured):
    """Every line is as long as the others, and what is not known is a dash."""
    evaluations, _ = measured
    text = report.mean_table(evaluations).as_text().splitlines()
    assert len({len(line) for line in text}) == 1
    assert text[2].endswith("-")
    rows = report.domain_table(evaluations).as_markdown().splitlines()
    assert rows[0] == "| domain, method | 1 click | 3 clicks | 5 clicks | box |"
    assert rows[2] == "| cups, scripted | 0.455 | 1.000 | 1.000 | 1.000 |"
    assert len(rows) == 2 + 2 * 2
