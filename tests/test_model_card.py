"""The script that fills the model card."""

from __future__ import annotations

import json
from importlib.util import module_from_spec, spec_from_file_location

import pytest

from places import ROOT


@pytest.fixture
def maker(tmp_path, monkeypatch):
    """The script, with a card of its own."""
    spec = spec_from_file_location("model_card", ROOT / "dev" / "model_card.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "CARD", tmp_path / "card.md")
    module.CARD.write_text("head\n<!-- numbers: begin -->\nold\n<!-- numbers: end -->\ntail\n")
    return module


def test_numbers_replace_what_was_between_the_marks(maker, tmp_path):
    """The tables come in, the old text goes, the rest stays; twice is the same as once."""
    scores = {column.field: 0.5 for column in maker.COLUMNS} | {"noc_80": None}
    predictor = {"name": "builtin", "mean": scores, "domains": {"cups": scores}}
    evaluation = tmp_path / "evaluation.json"
    data = {"masks": 3, "images": 2}
    evaluation.write_text(json.dumps({"predictors": [predictor], "data": data}))
    maker.numbers(evaluation)
    once = maker.CARD.read_text()
    maker.numbers(evaluation)
    assert maker.CARD.read_text() == once
    assert once.startswith("head\n")
    assert once.endswith("\ntail\n")
    assert "old" not in once
    assert "3 masks in 2 photos of 1 domains" in once
    assert "| cups, builtin | 0.500 | 0.500 | 0.500 | 0.500 |" in once


def test_the_card_has_a_place_for_both(maker):
    """The real card has the marks that the script looks for."""
    text = (ROOT / "docs" / "builtin-model.md").read_text()
    for name in ("numbers", "gallery"):
        assert f"<!-- {name}: begin -->" in text
        assert f"<!-- {name}: end -->" in text


def test_only_licences_that_allow_it_are_shown(maker):
    """Photos for which nothing may be derived or sold are never begun with what is listed."""
    for licence in ("CC BY-NC 2.0", "photo CC BY-NC-SA 2.0", "photo CC BY-ND 2.0"):
        assert not licence.startswith(maker.CREDITED)
