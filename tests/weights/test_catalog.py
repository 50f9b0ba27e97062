"""Models have names; files and folders have paths; the hub has repositories."""

from __future__ import annotations

from pathlib import Path

import pytest

from promptseg.errors import ConfigError
from promptseg.weights import catalog
from promptseg.weights.catalog import Hosted, Local


@pytest.mark.parametrize("name", [None, "builtin"])
def test_the_built_in_model_lies_in_the_package(name):
    """Without a name, and by its name, it is the file beside its network."""
    source = catalog.find(name)
    assert source.name == "builtin"
    assert source.path.parts[-4:] == ("promptseg", "nn", "tiny", "builtin.safetensors")


def test_a_file_is_named_by_its_stem(tmp_path):
    """A path is taken as text or as a path."""
    file = tmp_path / "sam2.1_mine.pt"
    file.touch()
    assert catalog.find(file) == catalog.find(str(file)) == Local("sam2.1_mine", file)


def test_a_folder_is_named_by_its_own_name(tmp_path, monkeypatch):
    """Also where it is the current one."""
    folder = tmp_path / "sam2.1-mine"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert catalog.find(folder) == Local("sam2.1-mine", folder)
    assert catalog.find(".") == Local("sam2.1-mine", Path())


@pytest.mark.parametrize("version", ["2", "2.1"])
@pytest.mark.parametrize("size", ["tiny", "small", "base-plus", "large"])
def test_each_published_model_goes_by_two_names(version, size):
    """Its short one, and that of its repository."""
    model = catalog.find(f"sam{version}-{size}")
    assert model is catalog.find(f"facebook/sam{version}-hiera-{size}")
    assert model.licence == "Apache-2.0"
    folder = {"2": "072824", "2.1": "092824"}[version]
    file = f"sam{version}_hiera_{size.replace('-', '_')}.pt"
    assert model.url == f"https://dl.fbaipublicfiles.com/segment_anything_2/{folder}/{file}"
    assert model.files == ("model.safetensors", file)


def test_sam3_goes_by_two_names():
    """Its licence is not Apache's, and its repository asks who you are."""
    model = catalog.find("sam3")
    assert model is catalog.find("facebook/sam3")
    assert (model.licence, model.gated) == ("SAM License", True)
    assert model.files == ("model.safetensors", "sam3.pt")
    assert {"config.json", "tokenizer.json", "vocab.json", "merges.txt"} <= set(model.beside)
    assert model.own_file == "sam3.pt"


@pytest.mark.parametrize("name", ["facebook/sam3.1", "someone/SAM3.1-multiplex", "sam3.1"])
def test_sam31_is_refused_by_its_name(name):
    """Nothing of it is downloaded to find out."""
    with pytest.raises(ConfigError, match=r"is SAM 3\.1, which is not known here") as caught:
        catalog.find(name)
    assert "`sam3`" in caught.value.hint


def test_any_repository_can_be_named():
    """What has an owner and a name is looked for on the hub; nothing is known of it yet."""
    assert catalog.find("someone/sam2-cells") == Hosted("someone/sam2-cells", "someone/sam2-cells")


def test_a_file_goes_before_a_repository(tmp_path, monkeypatch):
    """A path that is there is never asked of the network."""
    (tmp_path / "someone").mkdir()
    (tmp_path / "someone" / "cells").touch()
    monkeypatch.chdir(tmp_path)
    assert catalog.find("someone/cells") == Local("cells", Path("someone/cells"))


@pytest.mark.parametrize(
    "name",
    [
        "huge",
        "",
        "missing/file.safetensors",
        "missing/file.pt",
        "a/b/c",
        "../x",
        "nul\0l",
        "x" * 5000,
        Path("builtin"),
        Path("someone/cells"),
    ],
)
def test_an_unknown_name_lists_what_there_is(name, tmp_path, monkeypatch):
    """The hint names every model."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="no model and no weights file") as caught:
        catalog.find(name)
    for known in catalog.NAMED:
        assert f"`{known}`" in str(caught.value.hint)


@pytest.mark.parametrize("name", [7, b"builtin", ["builtin"], True])
def test_what_is_no_name_is_refused(unchecked, name):
    """Its type is named, and the hint has the names."""
    with pytest.raises(
        ConfigError, match=f"by a name or a path, got {type(name).__name__}"
    ) as caught:
        catalog.find(name)
    assert "`builtin`" in str(caught.value.hint)


def test_an_empty_path_is_not_the_current_folder():
    """A variable that is empty by mistake does not find weights by chance."""
    with pytest.raises(ConfigError, match="an empty path") as caught:
        catalog.find(Path())
    assert caught.value.hint
