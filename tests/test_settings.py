"""Flags, the environment and a file become settings, or one clear sentence."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptseg import settings
from promptseg.errors import ConfigError
from promptseg.settings import Settings, gather


@dataclass(frozen=True, kw_only=True)
class Wide(Settings):
    """One setting of every kind."""

    port: int = field(default=8000, metadata={"help": "A port."})
    seconds: float = field(default=1.5, metadata={"help": "A time."})
    rate: float | None = field(default=None, metadata={"help": "A rate."})
    open: bool = field(default=False, metadata={"help": "A switch."})
    keys: Path | None = field(default=None, metadata={"help": "A file."})
    hosts: tuple[str, ...] = field(default=(), metadata={"help": "Names."})
    layout: Literal["text", "json"] = field(default="text", metadata={"help": "A word."})


def written(folder, text):
    file = folder / "promptseg.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_an_empty_environment_gives_the_defaults():
    """Nothing set, or set to nothing, is the default."""
    assert settings.load({}) == Settings()
    assert settings.load({"PROMPTSEG_MODEL": "", "PROMPTSEG_MAX_PIXELS": ""}) == Settings()


def test_every_setting_is_read_from_its_variable():
    """Words stay words, numbers become numbers."""
    said = {
        "PROMPTSEG_MODEL": "a.safetensors",
        "PROMPTSEG_DEVICE": "cuda:1",
        "PROMPTSEG_DTYPE": "bfloat16",
        "PROMPTSEG_CACHE_BYTES": "0",
        "PROMPTSEG_MAX_PIXELS": "13",
    }
    assert settings.load(said) == Settings(
        model="a.safetensors", device="cuda:1", dtype="bfloat16", cache_bytes=0, max_pixels=13
    )


def test_the_process_environment_is_the_default(monkeypatch):
    """Without an argument the variables of the process count, as they are at the call."""
    monkeypatch.setenv("PROMPTSEG_DEVICE", "mps")
    assert settings.load().device == "mps"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("PROMPTSEG_CACHE_BYTES", "512MiB", "is a whole number, got `512MiB`"),
        ("PROMPTSEG_MAX_PIXELS", "1e8", "is a whole number, got `1e8`"),
        ("PROMPTSEG_CACHE_BYTES", "-1", "at least 0, got -1"),
        ("PROMPTSEG_MAX_PIXELS", "0", "at least 1, got 0"),
    ],
)
def test_a_bad_number_is_named(name, value, words):
    """The message says which variable, and what it was."""
    with pytest.raises(ConfigError) as caught:
        settings.load({name: value})
    assert words in str(caught.value)
    assert name in str(caught.value)


def test_flags_go_before_the_environment_before_the_file(tmp_path):
    """Each setting comes from the first that says it, and that is told."""
    file = written(tmp_path, "port = 1\nseconds = 1\nrate = 1\n")
    said = {"PROMPTSEG_PORT": "2", "PROMPTSEG_SECONDS": "2"}
    found = gather(Wide, file=file, environment=said, given={"port": 3})
    assert found.settings == Wide(port=3, seconds=2.0, rate=1.0)
    assert {name: found.sources[name] for name in ("port", "seconds", "rate", "model")} == {
        "port": "flag",
        "seconds": "PROMPTSEG_SECONDS",
        "rate": str(file),
        "model": "default",
    }


def test_every_kind_is_read_from_a_file(tmp_path):
    """Numbers, switches, lists and paths; a relative path starts at the file's folder."""
    text = (
        'port = 1\nseconds = 2.5\nrate = 3\nopen = true\nkeys = "keys.toml"\n'
        'hosts = ["a.org", "b.org"]\nlayout = "json"\nmodel = "sam3"\n'
    )
    found = gather(Wide, file=written(tmp_path, text), environment={}).settings
    assert found == Wide(
        port=1,
        seconds=2.5,
        rate=3.0,
        open=True,
        keys=tmp_path / "keys.toml",
        hosts=("a.org", "b.org"),
        layout="json",
        model="sam3",
    )


def test_every_kind_is_read_from_the_environment():
    """Lists are separated by commas; switches are said in several words."""
    said = {
        "PROMPTSEG_RATE": "3",
        "PROMPTSEG_OPEN": "Yes",
        "PROMPTSEG_KEYS": "/etc/keys.toml",
        "PROMPTSEG_HOSTS": "a.org, b.org,",
        "PROMPTSEG_LAYOUT": "json",
    }
    assert gather(Wide, environment=said).settings == Wide(
        rate=3.0, open=True, keys=Path("/etc/keys.toml"), hosts=("a.org", "b.org"), layout="json"
    )


@pytest.mark.parametrize(
    ("text", "words", "hint"),
    [
        ("prot = 1", "sets `prot`, and there is no such setting", "The nearest is `port`"),
        ("[port]\nx = 1", "`port` in `{file}` is a whole number, got {{'x': 1}}", None),
        ('port = "80"', "is a whole number, got '80'", None),
        ("port = true", "is a whole number, got True", None),
        ("open = 1", "`open` in `{file}` is true or false, got 1", None),
        ("seconds = true", "is a number, got True", None),
        ("hosts = 'a.org'", "is a list of texts, got 'a.org'", 'As in ["a", "b"]'),
        ("keys = 1", "is a path, got 1", None),
        ("model = 1", "is a text, got 1", None),
        ("cache_bytes = -1", "`cache_bytes` is at least 0, got -1 ({file})", None),
        ("port 1", "is no TOML: ", None),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path, text, words, hint):
    """The sentence names the file and the setting."""
    file = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        gather(Wide, file=file, environment={})
    assert words.format(file=file) in str(caught.value)
    assert str(file) in str(caught.value)
    assert hint is None or caught.value.hint == hint


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("PROMPTSEG_OPEN", "perhaps", "`PROMPTSEG_OPEN` is true or false, got `perhaps`"),
        ("PROMPTSEG_RATE", "fast", "`PROMPTSEG_RATE` is a number, got `fast`"),
    ],
)
def test_a_mistake_in_the_environment_is_named(name, value, words):
    """The sentence names the variable."""
    with pytest.raises(ConfigError, match=words):
        gather(Wide, environment={name: value})


def test_a_flag_out_of_range_is_called_one():
    """What the record refuses is said with where it came from."""
    with pytest.raises(ConfigError, match=r"`max_pixels` is at least 1, got 0 \(flag\)"):
        gather(Settings, environment={}, given={"max_pixels": 0})


def test_a_file_that_is_not_there_is_one_sentence(tmp_path):
    """It is named."""
    with pytest.raises(ConfigError, match=r"cannot read `.*none\.toml`: no such file"):
        gather(Wide, file=tmp_path / "none.toml", environment={})


@given(
    text=st.dictionaries(
        st.sampled_from([settings.variable(name) for name in Wide.__dataclass_fields__]),
        st.text(max_size=5),
    )
)
def test_any_environment_gives_settings_or_one_of_our_errors(text):
    """Nothing else is ever raised, and what is unset keeps its default."""
    try:
        found = gather(Wide, environment=text)
    except ConfigError:
        return
    for name, source in found.sources.items():
        assert source in ("default", settings.variable(name))
        if source == "default":
            assert getattr(found.settings, name) == getattr(Wide(), name)
