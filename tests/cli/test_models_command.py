"""`promptseg models`: list, pull, info, convert, verify."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from promptseg.cli import advice, console
from promptseg.cli.main import main
from promptseg.weights import catalog, download, identify
from small_sam3 import SMALL
from stored_sam2 import (
    NAME,
    hub,
    in_cache,
    known_sizes,
    no_network,
    write_meta,
    write_transformers,
)
from stored_sam3 import write as write_sam3

__all__ = ["hub", "known_sizes", "no_network"]
TINY = catalog.PUBLISHED[NAME]

pytestmark = pytest.mark.usefixtures("hub", "known_sizes")


@pytest.fixture
def model(tmp_path):
    """A small model in Meta's layout."""
    return write_meta(tmp_path / "anything.pt")


@pytest.fixture
def cached(hub):
    """The tiny model in the hub's cache."""
    return write_transformers(in_cache(hub, TINY.repository, "model.safetensors"))


def test_the_list_has_each_model_and_its_place(capsys, cached):
    """Sizes and licences of all, and where those are that are here."""
    assert main(["models", "list"]) == 0
    headings, *rows = capsys.readouterr().out.splitlines()
    assert headings.split()[:3] == ["model", "size", "licence"]
    assert [row.split()[0] for row in rows] == list(catalog.NAMED)
    assert all(("Apache-2.0" in row) != ("SAM License" in row) for row in rows)
    assert [row.split()[0] for row in rows if "SAM License" in row] == ["sam3"]
    there = {row.split()[0]: row.split()[-1] for row in rows}
    assert there[NAME] == str(cached)
    assert there["sam2.1-large"] == "no"


def test_the_list_as_json(capsys, cached):
    """One line for each."""
    assert main(["models", "list", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row["name"]: row["path"] for row in rows}[NAME] == str(cached)
    assert {row["name"]: row["megabytes"] for row in rows}["sam2.1-large"] == 898


def test_pull_prints_where_the_file_lies(capsys, monkeypatch, cached):
    """The path alone is on stdout; one that fails is named, and the others are done."""
    monkeypatch.setattr(download, "fetch", lambda source: download.require(source))
    assert main(["models", "pull", NAME, "sam2.1-large"]) == 1
    said = capsys.readouterr()
    assert said.out == f"{cached}\n"
    assert "error: `sam2.1-large`" in said.err


def test_pull_without_network_says_what_to_do(capsys, no_network):
    """One error, one hint, status 2, nothing on stdout."""
    assert main(["models", "pull", NAME]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    error, hint = said.err.splitlines()
    assert error.startswith("error: `sam2.1-tiny` is not on this machine")
    assert TINY.url in hint


def test_pull_works_in_a_process_of_its_own(tmp_path):
    """Nothing that it needs is loaded by chance before it."""
    code = "from promptseg.cli.main import run; run()"
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, "models", "pull", NAME],
        check=False,
        capture_output=True,
        timeout=100,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)},
    )
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 2
    assert b"HF_HUB_OFFLINE forbids" in ended.stderr


def test_info_is_told_by_the_tensors(capsys, model):
    """Whatever the file is called."""
    assert main(["models", "info", str(model), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["name"] == NAME
    assert (facts["family"], facts["version"], facts["size"]) == ("sam2", "2.1", "tiny")
    assert facts["layout"] == "meta"
    assert facts["bytes"] == model.stat().st_size
    assert facts["licence"] is None


def test_info_for_people(capsys, cached):
    """A line for each fact; of a name the licence is known."""
    assert main(["models", "info", NAME, "builtin"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"path:       {cached}" in lines
    assert "layout:     transformers" in lines
    assert "version:    2.1" in lines
    assert lines.count("licence:    Apache-2.0") == 2
    assert "parameters: 2.60 million" in lines


def test_info_of_what_is_not_here_downloads_nothing(capsys):
    """It says how to get it."""
    assert main(["models", "info", NAME]) == 2
    assert "promptseg models pull sam2.1-tiny" in capsys.readouterr().err


def test_convert_goes_round(capsys, tmp_path, model):
    """Through all layouts; the digest stays."""
    ours, theirs = tmp_path / "o.safetensors", tmp_path / "t.safetensors"
    metas = tmp_path / "m.pt"
    assert main(["models", "convert", str(model), str(ours)]) == 0
    assert main(["models", "convert", str(ours), str(theirs), "--to", "transformers"]) == 0
    assert main(["models", "convert", str(theirs), str(metas), "--to", "meta"]) == 0
    assert capsys.readouterr().out == f"{ours}\n{theirs}\n{metas}\n"
    files = [str(path) for path in (model, ours, theirs, metas)]
    assert main(["models", "verify", *files, "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["path"] for row in rows] == files
    assert len({row["digest"] for row in rows}) == 1


def test_the_built_in_model_has_one_layout(capsys, tmp_path):
    """Converting it is refused."""
    assert main(["models", "convert", "builtin", str(tmp_path / "x.safetensors")]) == 2
    assert "has no other layout" in capsys.readouterr().err


def test_verify_names_what_is_damaged(capsys, tmp_path, model):
    """One that is damaged is named, the whole one is shown; status 1, and 2 where none is whole."""
    broken = tmp_path / "broken.pt"
    broken.write_bytes(model.read_bytes()[:-100])
    assert main(["models", "verify", str(broken), str(model)]) == 1
    said = capsys.readouterr()
    assert said.out.startswith(f"{model}: whole, sam2.1-tiny, sha256 ")
    assert str(broken) in said.err
    assert main(["models", "verify", str(broken)]) == 2


def test_verify_notices_a_flipped_bit(capsys, model):
    """Meta's file has checksums of its own, that reading alone does not look at."""
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    assert main(["models", "verify", str(model)]) == 2
    assert "is damaged: " in capsys.readouterr().err


@pytest.mark.parametrize("command", ["verify", "info", "convert"])
def test_other_weights_under_a_name_are_refused(capsys, tmp_path, command):
    """A file that was misplaced does not pass for another model, as it does not when loaded."""
    write_transformers(download.place() / "sam2.1-large.safetensors")
    out = [str(tmp_path / "x.safetensors")] if command == "convert" else []
    assert main(["models", command, "sam2.1-large", *out]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "holds `sam2.1-tiny`, not `sam2.1-large`" in said.err
    assert not (tmp_path / "x.safetensors").exists()


@pytest.mark.parametrize("layout", ["ggml", "PROMPTSEG"])
def test_an_unknown_layout_is_refused(capsys, tmp_path, model, layout):
    """The layouts that there are are named."""
    out = tmp_path / "x.safetensors"
    assert main(["models", "convert", str(model), str(out), "--to", layout]) == 2
    said = capsys.readouterr().err
    assert all(f"'{known}'" in said for known in ("promptseg", "transformers", "meta"))
    assert not out.exists()


@pytest.fixture
def state(tmp_path, monkeypatch):
    """Where this program may remember something."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def terminal(monkeypatch, state):
    """Someone reads stderr."""
    monkeypatch.setattr(console, "is_terminal", lambda: True)


def test_better_models_are_named_once(capsys, terminal):
    """One line on stderr, and never again on this machine."""
    advice.name_better_models("builtin", quiet=False)
    said = capsys.readouterr()
    assert said.out == ""
    [line] = said.err.splitlines()
    assert "promptseg models pull sam2.1-tiny" in line
    advice.name_better_models("builtin", quiet=False)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("model", "quiet"), [("builtin", True), ("x.pt", False)])
def test_nobody_is_told_who_need_not_be(capsys, terminal, model, quiet):
    """Who asked for quiet, or has chosen a model."""
    advice.name_better_models(model, quiet=quiet)
    assert capsys.readouterr().err == ""


def test_who_has_a_better_model_is_not_told(capsys, terminal, cached):
    """It is there already."""
    advice.name_better_models("builtin", quiet=False)
    assert capsys.readouterr().err == ""


def test_a_pipe_is_not_told(capsys):
    """Only a terminal is."""
    advice.name_better_models("builtin", quiet=False)
    assert capsys.readouterr().err == ""


def test_what_was_told_is_not_kept_among_weights(terminal, state, hub):
    """The folder in which users place weights has nothing else."""
    advice.name_better_models("builtin", quiet=False)
    assert [path.name for path in state.rglob("*")] == ["promptseg", advice.MARK]
    assert not hub.exists()


@pytest.mark.parametrize(
    ("platform", "environment", "folder"),
    [
        ("linux", {"XDG_STATE_HOME": "/state"}, Path("/state/promptseg")),
        ("linux", {"XDG_STATE_HOME": "here"}, Path.home() / ".local/state/promptseg"),
        ("linux", {"LOCALAPPDATA": "/local"}, Path.home() / ".local/state/promptseg"),
        ("darwin", {}, Path.home() / ".local/state/promptseg"),
        ("win32", {"LOCALAPPDATA": "/local"}, Path("/local/promptseg")),
        ("win32", {"XDG_STATE_HOME": "/state"}, Path.home() / "AppData/Local/promptseg"),
    ],
)
def test_the_place_to_remember_is_that_of_the_system(monkeypatch, platform, environment, folder):
    """A path that is not absolute does not count."""
    monkeypatch.setattr(sys, "platform", platform)
    assert advice.state_folder(environment) == folder


def test_nobody_without_a_home_fails(capsys, terminal, monkeypatch):
    """As in some containers."""
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setattr(Path, "home", no_home)
    advice.name_better_models("builtin", quiet=False)
    assert capsys.readouterr().err


def no_home() -> None:
    raise RuntimeError("Could not determine home directory.")


def test_a_home_that_cannot_be_written_to_is_no_failure(capsys, terminal, state):
    """Then it is said each time."""
    state.write_text("a file where the folder should be")
    for _ in range(2):
        advice.name_better_models("builtin", quiet=False)
        assert capsys.readouterr().err


def test_sam3_is_shown_converted_and_verified(tmp_path, capsys, monkeypatch):
    """As SAM 2 is; but it is not written in a layout of others, which is said."""
    monkeypatch.setattr(identify, "SIZES3", {"sam3": SMALL})
    path = write_sam3(tmp_path / "theirs", "meta")
    assert main(["models", "info", str(path)]) == 0
    assert "sam3" in capsys.readouterr().out
    ours = tmp_path / "ours.safetensors"
    assert main(["models", "convert", str(path), str(ours)]) == 0
    assert main(["models", "convert", str(path), str(tmp_path / "x.pt"), "--to", "meta"]) == 2
    assert "in our layout only" in capsys.readouterr().err
    assert main(["models", "verify", str(path), str(ours)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[1].startswith("whole, sam3") for line in said] == [True, True]
    assert len({line.split()[-1] for line in said}) == 1
