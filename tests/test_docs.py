"""What the documents say is true: their blocks run, and their lists are complete."""

from __future__ import annotations

import re
import runpy
import shlex
import shutil
from dataclasses import fields
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import torch

from places import ROOT
from promptseg import settings
from promptseg.cli.main import COMMANDS, main
from promptseg.nn.sam2.config import TINY
from promptseg.nn.sam2.model import Sam2Network
from promptseg.weights.convert import convert
from seeded import fill
from small_sam3 import small_sam3
from stored_sam2 import no_network

__all__ = ["no_network"]

CHECKPOINT = Path("checkpoints/sam2.1_hiera_tiny.pt")
SAM3 = Path("checkpoints/sam3.pt")
NANO = Path("tests/nano/nano.safetensors")
# Commands that the model in the package can do.
RUNNABLE = tuple(f"promptseg {name} " for name in ("segment", "everything", "convert", "run"))
FIND = "promptseg find "
GUIDES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


def blocks(path, language):
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)


def having(language):
    found = [path for path in GUIDES if blocks(path, language)]
    return pytest.mark.parametrize("guide", found, ids=[path.name for path in found])


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder with the example photos, as a reader's clone has."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def have_checkpoint(path):
    """Put SAM 2.1 tiny with random weights where a guide expects Meta's own file."""
    path.parent.mkdir()
    with torch.device("meta"):
        network = Sam2Network(TINY)
    convert(fill(network, seed=3), path, "meta")


def have_sam3(path):
    """Put a small SAM 3 with random weights where a guide expects Meta's own file."""
    path.parent.mkdir(exist_ok=True)
    made = path.with_suffix(".safetensors")
    convert(small_sam3(), made, "promptseg")
    made.rename(path)


def have_weights(text):
    """Put every file of weights that a guide names where it expects it."""
    if str(CHECKPOINT) in text:
        have_checkpoint(CHECKPOINT)
    if str(SAM3) in text:
        have_sam3(SAM3)
    if str(NANO) in text:
        NANO.parent.mkdir(parents=True)
        shutil.copy(ROOT / NANO, NANO)


def runs(command):
    """Whether a command can be run: `find` where it names the file of a SAM 3."""
    return command.startswith(RUNNABLE) or (command.startswith(FIND) and str(SAM3) in command)


@having("python")
def test_python_blocks_run(guide, workplace, no_network):
    """The python blocks of a document run, top to bottom."""
    have_weights(guide.read_text())
    exec(compile("\n".join(blocks(guide, "python")), str(guide), "exec"), {})


@having("sh")
def test_commands_run(guide, workplace):
    """Each command of a document that works on pictures ends with status 0."""
    commands = [
        line
        for block in blocks(guide, "sh")
        for line in block.replace("\\\n", " ").splitlines()
        if runs(line)
    ]
    have_weights("\n".join(commands))
    for command in commands:
        assert main(shlex.split(command)[1:]) == 0, command


def test_nothing_is_left_to_fill_in():
    """No guide has a gap where a number was to be."""
    for guide in GUIDES:
        assert "{{" not in guide.read_text(), guide


def test_the_readme_shows_python_and_commands():
    """The front page has both, so that the tests above are about something."""
    assert blocks(ROOT / "README.md", "python")
    assert blocks(ROOT / "README.md", "sh")


# `ask_service.py` is run where there is a service to ask (tests/client).
SCRIPTS = [path for path in sorted((ROOT / "examples").glob("*.py")) if "service" not in path.name]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_examples_run(script, workplace):
    """Every script of examples/ runs from any folder."""
    runpy.run_path(str(script), run_name="__main__")


def test_help_pages_are_what_help_says():
    """docs/cli has exactly the pages that dev/make_help.py makes, as `make docs` does."""
    spec = spec_from_file_location("make_help", ROOT / "dev" / "make_help.py")
    maker = module_from_spec(spec)
    spec.loader.exec_module(maker)
    assert {path.name: path.read_text() for path in maker.FOLDER.glob("*.md")} == maker.pages()


def test_every_command_has_a_page():
    """Each command of the program is documented."""
    pages = {path.stem for path in (ROOT / "docs" / "cli").glob("*.md")}
    assert {f"promptseg-{name}" for name in COMMANDS} <= pages


def test_every_setting_is_documented():
    """The tour's table has each variable with its default and its meaning."""
    tour = (ROOT / "docs" / "tour.md").read_text()
    for each in fields(settings.Settings):
        row = f"| `{settings.variable(each.name)}` | `{each.default}` | {each.metadata['help']} |"
        assert row in tour


def test_links_between_documents_lead_somewhere():
    """A relative link of a document names a file that is there."""
    broken = [
        f"{guide.name}: {target}"
        for guide in GUIDES
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", guide.read_text())
        if not (guide.parent / target).exists()
    ]
    assert broken == []
