"""The environment becomes settings, or one clear sentence."""

from __future__ import annotations

import pytest

from promptseg import settings
from promptseg.errors import ConfigError
from promptseg.settings import Settings


def test_an_empty_environment_gives_the_defaults():
    """Nothing set, or set to nothing, is the default."""
    assert settings.load({}) == Settings()
    assert settings.load({"PROMPTSEG_MODEL": "", "PROMPTSEG_MAX_PIXELS": ""}) == Settings()


def test_every_setting_is_read_from_its_variable():
    """Words stay words, numbers become numbers."""
    given = {
        "PROMPTSEG_MODEL": "a.safetensors",
        "PROMPTSEG_DEVICE": "cuda:1",
        "PROMPTSEG_DTYPE": "bfloat16",
        "PROMPTSEG_CACHE_BYTES": "0",
        "PROMPTSEG_MAX_PIXELS": "13",
    }
    assert settings.load(given) == Settings(
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
    """The message says which, and what it was."""
    with pytest.raises(ConfigError) as caught:
        settings.load({name: value})
    assert words in str(caught.value)
