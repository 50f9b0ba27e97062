"""Models have names; files have paths."""

from __future__ import annotations

from pathlib import Path

import pytest

from promptseg.errors import ConfigError
from promptseg.weights import catalog


@pytest.mark.parametrize("name", [None, "builtin"])
def test_the_built_in_model_lies_in_the_package(name):
    """Without a name, and by its name, it is the file beside its network."""
    source = catalog.find(name)
    assert source.name == "builtin"
    assert source.path.parts[-4:] == ("promptseg", "nn", "tiny", "builtin.safetensors")


def test_a_file_is_named_by_its_stem(tmp_path):
    """A path is taken as text or as a path."""
    file = tmp_path / "mine.safetensors"
    file.touch()
    assert catalog.find(file) == catalog.find(str(file)) == catalog.Source("mine", file)


@pytest.mark.parametrize("name", ["huge", "", "missing/file.safetensors", Path("builtin")])
def test_an_unknown_name_lists_what_there_is(name, tmp_path, monkeypatch):
    """The hint names every model; a folder or a missing file is none."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="no model and no weights file") as caught:
        catalog.find(name)
    assert "`builtin`" in str(caught.value.hint)
