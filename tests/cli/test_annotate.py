"""`promptseg annotate` is `serve` with a folder, and opens the browser."""

from __future__ import annotations

import sys
import threading
import webbrowser
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from promptseg.cli import annotate
from promptseg.cli import main as program
from promptseg.server import addresses, run
from promptseg.server.settings import ServerSettings


@pytest.fixture
def served(monkeypatch):
    """What would be served, in place of serving it, and the addresses that were opened."""
    seen = SimpleNamespace(settings=[], opened=[])
    monkeypatch.setattr(addresses, "bind", lambda host, port: nullcontext(host))
    monkeypatch.setattr(
        addresses, "url", lambda host, tls: f"http://{'[::]' if host == '::' else host}:8000"
    )
    monkeypatch.setattr(run, "build", lambda chosen: chosen)

    def serve(chosen, taken, *, on_listening):
        on_listening()
        for thread in threading.enumerate():
            if thread is not threading.current_thread() and thread.daemon:
                thread.join(0.2)
        seen.settings.append(chosen)

    monkeypatch.setattr(run, "serve", serve)
    monkeypatch.setattr(webbrowser, "open", seen.opened.append)
    monkeypatch.setenv("DISPLAY", ":0")
    return seen


def test_it_serves_a_folder_and_opens_the_page(served, tmp_path, capsys):
    """The address is on stdout too; labels may be one list or several."""
    flags = ["--labels", "cup, cat", "--labels", "dog", "--port", "3"]
    assert program.main(["annotate", str(tmp_path), *flags]) == 0
    assert served.settings == [
        ServerSettings(folder=tmp_path, labels=("cup", "cat", "dog"), port=3)
    ]
    assert served.opened == ["http://127.0.0.1:8000"]
    assert capsys.readouterr().out == "http://127.0.0.1:8000\n"


def test_without_a_folder_the_page_opens_images_itself(served):
    """As `serve` does, which has the page too."""
    assert program.main(["annotate", "--no-browser"]) == 0
    assert program.main(["serve"]) == 0
    assert served.settings == [ServerSettings(), ServerSettings()]
    assert served.opened == []


def test_no_browser_is_opened_where_there_is_no_screen(served, monkeypatch):
    """One that takes the terminal would take it from the service."""
    monkeypatch.setattr(sys, "platform", "linux")
    for name in annotate.SCREENS:
        monkeypatch.delenv(name, raising=False)
    assert program.main(["annotate"]) == 0
    assert served.opened == []


@pytest.mark.parametrize(
    ("host", "opened"), [("0.0.0.0", "http://127.0.0.1:8000"), ("::", "http://[::1]:8000")]
)
def test_the_browser_goes_to_this_machine(served, host, opened):
    """However many addresses are listened at."""
    assert program.main(["annotate", "--host", host, "--insecure"]) == 0
    assert served.opened == [opened]


def test_a_folder_that_is_not_there_is_one_sentence(served, tmp_path, capsys):
    """Before the model is loaded."""
    for command in (["annotate", "none"], ["serve", "--folder", "none"]):
        assert program.main(command) == 2
        assert "error: there is no folder `none`" in capsys.readouterr().err
    assert served.settings == []


def test_the_folder_and_labels_come_from_the_file_of_settings(served, tmp_path):
    """A relative folder starts at the file's."""
    (tmp_path / "photos").mkdir()
    file = tmp_path / "promptseg.toml"
    file.write_text('folder = "photos"\nlabels = ["a", "b"]\n')
    assert program.main(["annotate", "--no-browser", "--config", str(file)]) == 0
    [chosen] = served.settings
    assert (chosen.folder, chosen.labels) == (tmp_path / "photos", ("a", "b"))
