"""What every test shares: few threads, no settings from outside, and the example photo."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

from places import ROOT

# Before torch loads: where tests go on side by side, pools of threads would wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1" if "PYTEST_XDIST_WORKER" in os.environ else "2")
# No test is about how quick a machine is, and one may be busy.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch):
    for name in [name for name in os.environ if name.startswith("PROMPTSEG_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def root() -> Path:
    """The project's folder."""
    return ROOT


@pytest.fixture
def photo() -> Path:
    """A photo of a cup of coffee, 600 x 400."""
    return ROOT / "examples" / "coffee.jpg"
