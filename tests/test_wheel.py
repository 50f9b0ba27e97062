"""What is installed is what is needed, and no more."""

from __future__ import annotations

import subprocess
import sys
import zipfile

import pytest

from places import ROOT

MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from the working tree."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    subprocess.run([*build, str(ROOT)], check=True, capture_output=True, timeout=100)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        yield archive


def test_the_wheel_has_the_package_and_its_weights(wheel):
    """Code, the types marker, the licence and the built-in weights are in it."""
    names = wheel.namelist()
    assert "promptseg/api.py" in names
    assert "promptseg/py.typed" in names
    assert any(name.endswith("/LICENSE") for name in names)
    assert [name for name in names if name.endswith(".safetensors")]


def test_the_wheel_has_nothing_else(wheel):
    """No tests, photos or documents travel with it; the annotator's page does."""
    tops = {name.split("/")[0].split("-")[0] for name in wheel.namelist()}
    assert tops == {"promptseg"}
    kinds = {name.rsplit(".", 1)[-1] for name in wheel.namelist() if ".dist-info/" not in name}
    assert kinds <= {"py", "typed", "safetensors", "css", "html", "js", "svg"}


def test_the_wheel_is_small(wheel):
    """The weights take at most 10 MB, everything else one."""
    sizes = {info.filename: info.compress_size for info in wheel.infolist()}
    weights = sum(size for name, size in sizes.items() if name.endswith(".safetensors"))
    assert weights <= 10 * MEGABYTE
    assert sum(sizes.values()) - weights <= MEGABYTE
