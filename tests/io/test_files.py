"""Writing a file whole or not at all."""

from __future__ import annotations

import os

import pytest

from promptseg.errors import OutputError
from promptseg.io.files import write_atomically, write_text


def test_a_file_is_written_where_asked_and_nothing_else(tmp_path):
    """The path comes back as it was given, missing folders are made, no temporary file stays."""
    path = tmp_path / "new" / "deep" / "a.txt"
    assert write_text(path, "hällo") == path
    assert path.read_text(encoding="utf-8") == "hällo"
    assert [each.name for each in path.parent.iterdir()] == ["a.txt"]


def test_a_failure_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    """What was there before stays whole when writing stops half way."""
    path = tmp_path / "a.txt"
    path.write_text("old")

    def half(file):
        file.write(b"ne")
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError):
        write_atomically(path, half)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_to_itself_is_not_overwritten(tmp_path):
    """It leads nowhere, and stays."""
    path = tmp_path / "loop"
    path.symlink_to("loop")
    with pytest.raises(OutputError, match="a link that leads to itself"):
        write_text(path, "x")
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_not_overwritten(tmp_path):
    """A path that is a folder is refused in one sentence."""
    with pytest.raises(OutputError, match="it is a folder"):
        write_text(tmp_path, "x")


def test_a_path_below_a_file_is_refused(tmp_path):
    """A file cannot be a folder; the error says so and has a hint."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot write") as caught:
        write_text(tmp_path / "file" / "a.txt", "x")
    assert caught.value.hint


def test_a_device_is_written_to_and_not_replaced():
    """/dev/null stays a device."""
    if not os.path.exists("/dev/null"):  # noqa: PTH110
        pytest.skip("there is no /dev/null here")
    write_text("/dev/null", "x")
    assert not os.path.isfile("/dev/null")  # noqa: PTH113


def test_a_link_is_followed(tmp_path):
    """Writing to a link changes the file it names, and the link stays."""
    real, link = tmp_path / "real.txt", tmp_path / "link.txt"
    real.write_text("old")
    link.symlink_to(real)
    write_text(link, "new")
    assert link.is_symlink()
    assert real.read_text() == "new"


def test_the_file_has_the_usual_permissions(tmp_path):
    """A file is as readable as one made by `open`, not only by its owner."""
    (tmp_path / "plain").write_text("x")
    write_text(tmp_path / "ours", "x")
    modes = {(tmp_path / name).stat().st_mode for name in ("plain", "ours")}
    assert len(modes) == 1
