"""What docs/client.md and the example say is true of a service that runs."""

from __future__ import annotations

import re
import runpy
import shutil
import sys

import pytest
from served import serving

import promptseg as ps
from places import ROOT

USUAL = "http://127.0.0.1:8000"


@pytest.fixture
def url(tmp_path, monkeypatch):
    """A service of the network with known answers, asked from a folder with the example photos."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    places = {"jobs": str(tmp_path / "jobs"), "job_inputs": (str(tmp_path / "examples"),)}
    with serving(**places) as served:
        yield served.url


def test_the_guide_runs(url, capsys):
    """The blocks of the page run, top to bottom."""
    text = (ROOT / "docs" / "client.md").read_text()
    blocks = re.findall(r"^```py\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 5
    names: dict[str, object] = {}
    exec("\n".join(blocks).replace(USUAL, url), names)
    assert len(names["answers"]) == 2
    assert len(names["found"]) >= 2
    assert isinstance(names["regions"], ps.Masks)
    assert capsys.readouterr().out.endswith("True\n")


def test_the_example_runs(url, monkeypatch, tmp_path, capsys):
    """The script asks the service that it is told of, and saves a picture."""
    monkeypatch.setattr(sys, "argv", ["ask_service.py", url])
    runpy.run_path(str(tmp_path / "examples" / "ask_service.py"), run_name="__main__")
    assert (tmp_path / "coffee-asked.png").stat().st_size > 1000
    assert "predicted IoU" in capsys.readouterr().out
