"""`promptseg serve` before it serves: settings from everywhere, and mistakes as one sentence."""

from __future__ import annotations

import subprocess
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from promptseg.cli import main as program
from promptseg.server import addresses, run
from promptseg.server.settings import ServerSettings


@pytest.fixture
def served(monkeypatch):
    """What would be served, in place of serving it."""
    seen = []
    monkeypatch.setattr(addresses, "bind", lambda host, port: nullcontext(SimpleNamespace()))
    monkeypatch.setattr(addresses, "url", lambda taken, tls: f"tls={tls}")
    monkeypatch.setattr(run, "build", lambda chosen: chosen)

    def serve(chosen, taken, *, on_listening):
        on_listening()
        seen.append(chosen)

    monkeypatch.setattr(run, "serve", serve)
    return seen


def test_settings_come_from_flags_environment_and_file(served, tmp_path, monkeypatch, capsys):
    """The nearest wins, and is told with its source on stderr; stdout has the address alone."""
    file = tmp_path / "promptseg.toml"
    file.write_text('port = 1\nwaiting = 5\nhosts = ["a.org"]\nkeys = "keys.toml"\n')
    monkeypatch.setenv("PROMPTSEG_PORT", "2")
    monkeypatch.setenv("PROMPTSEG_RATE", "2.5")
    flags = ["--port", "3", "--proxies", "10.0.0.1", "--proxies", "10.0.2.0/24", "--insecure"]
    assert program.main(["serve", "--config", str(file), *flags, "--log-format", "json"]) == 0
    assert served == [
        ServerSettings(
            port=3,
            waiting=5,
            rate=2.5,
            hosts=("a.org",),
            keys=tmp_path / "keys.toml",
            proxies=("10.0.0.1", "10.0.2.0/24"),
            insecure=True,
            log_format="json",
        )
    ]
    said = capsys.readouterr()
    assert said.out == "tls=False\n"
    told = {line.split()[0]: line.split(maxsplit=1)[1] for line in said.err.splitlines()}
    assert told["port"].split() == ["3", "(flag)"]
    assert told["rate"].split() == ["2.5", "(PROMPTSEG_RATE)"]
    assert told["keys"].split() == [str(tmp_path / "keys.toml"), f"({file})"]
    assert told["device"].split() == ["auto", "(default)"]
    assert told["proxies"].split() == ["10.0.0.1,", "10.0.2.0/24", "(flag)"]


def test_a_switch_can_be_put_off_again(served, monkeypatch):
    """A flag says so against the environment."""
    monkeypatch.setenv("PROMPTSEG_INSECURE", "1")
    assert program.main(["serve"]) == 0
    assert program.main(["serve", "--no-insecure"]) == 0
    assert [chosen.insecure for chosen in served] == [True, False]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--port", "99999"], "`port` is 0 to 65535, got 99999 (flag)"),
        (["--max-seconds", "1e308"], "`max_seconds` is in 0.001..86400, got 1e+308 (flag)"),
        (["--drain-seconds", "86401"], "`drain_seconds` is in 0..86400, got 86401 (flag)"),
        (["--log-format", "xml"], "`log_format` must be one of text, json, got 'xml' (flag)"),
        (["--host", "0.0.0.0"], "at `0.0.0.0` other machines reach the service"),
        (["--certificate", "a.pem"], "`certificate` and `certificate_key` go together (flag)"),
        (["--proxies", "caddy"], "`proxies` are addresses or networks, got `caddy`"),
        (["--proxies", "10.0.0.1/8"], "`proxies` are addresses or networks, got `10.0.0.1/8`"),
        (["--config", "none.toml"], "cannot read `none.toml`"),
        (["--port", "x"], "invalid value for"),
    ],
)
def test_a_mistake_is_one_sentence(served, capsys, tmp_path, monkeypatch, arguments, words):
    """Nothing is served, and the status is 2."""
    monkeypatch.chdir(tmp_path)
    assert program.main(["serve", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert words in said.err
    assert served == []


def test_without_the_extra_it_is_named():
    """A package that is not there is said with the command that brings it."""
    code = (
        "import sys; sys.modules['uvicorn'] = None; from promptseg.cli.main import main; "
        "sys.exit(main(['serve']))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 2
    assert "error: the service needs the package `uvicorn`" in ended.stderr
    assert 'pip install "promptseg[server]"' in ended.stderr
