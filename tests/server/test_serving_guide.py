"""What docs/serving.md and deploy/ say is true of the service."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import shutil
import subprocess
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from places import ROOT
from promptseg import settings
from promptseg.cli.main import build
from promptseg.server.metrics import Metrics
from promptseg.server.settings import ServerSettings
from running_service import running

GUIDE = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
DEPLOY = ROOT / "deploy"
ADDRESS = "http://127.0.0.1:8000"


def shown(value):
    if isinstance(value, tuple):
        return ", ".join(value)
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def flags_of(*command):
    """Return the flags that a command of the program has."""
    found = get_command(build(command[0]))
    for name in command:
        found = found.commands[name]
    return {option for each in found.params for option in (*each.opts, *each.secondary_opts)}


def test_every_setting_is_in_the_guide():
    """Each with its default and its meaning, and no other."""
    rows = [
        f"| `{each.name}` | {f'`{default}`' if (default := shown(each.default)) else '-'} | "
        f"{each.metadata['help']} |"
        for each in fields(ServerSettings)
    ]
    table = GUIDE.split("| setting | default | meaning |\n|---|---|---|\n")[1].split("\n\n")[0]
    assert table.splitlines() == rows


def test_every_count_is_in_the_guide():
    """Each metric of ours is explained, under the name that it has."""
    named = set(re.findall(r"`(promptseg_[a-z_]+)`", GUIDE.split("| count |")[1].split("\n\n")[0]))
    counted = {family.name for family in Metrics().registry.collect()}
    ours = {name for name in counted if name.startswith("promptseg_")}
    assert {name.removesuffix("_total") for name in named} >= ours


@pytest.mark.skipif(not shutil.which("curl") or os.name != "posix", reason="for a POSIX shell")
def test_the_guide_can_be_typed(tmp_path):
    """Each block that asks the service ends well, and every answer is one."""
    blocks = re.findall(r"^```sh\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
    asking = [block for block in blocks if ADDRESS in block]
    assert len(asking) >= 3
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    places = ["--jobs", str(tmp_path / "jobs"), "--job-inputs", str(tmp_path / "examples")]
    with running(tmp_path, *places) as service:
        for block in asking:
            script = block.replace(ADDRESS, service.address).replace("curl -s", "curl -sS --fail")
            ended = subprocess.run(
                ["sh", "-e", "-c", script],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            assert ended.returncode == 0, (block, ended.stderr)
            assert ended.stdout


def test_every_command_of_the_guide_has_its_flags():
    """What is shown of `promptseg serve` and `promptseg keys` can be said."""
    lines = re.findall(r"^promptseg (serve|keys new)(.*)$", GUIDE, re.MULTILINE)
    assert lines
    for command, rest in lines:
        said = {word for word in shlex.split(rest) if word.startswith("--")}
        assert said <= flags_of(*command.split()), rest


def test_the_compose_file_says_what_can_be_said():
    """Its flags are flags, what it mounts and builds is there, and it has time to drain."""
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    ours, proxy = services["promptseg"], services["proxy"]
    said = {word.partition("=")[0] for word in ours["command"]}
    assert said <= flags_of("serve")
    assert (DEPLOY / ours["build"]["context"] / ours["build"]["dockerfile"]).exists()
    assert ours["read_only"] is True
    assert ours["mem_limit"]
    grace = int(ours["stop_grace_period"].removesuffix("s"))
    drain = next(float(word.partition("=")[2]) for word in ours["command"] if "drain" in word)
    assert grace > drain + ServerSettings.max_seconds
    [proxies] = [word.partition("=")[2] for word in ours["command"] if "proxies" in word]
    assert proxies == proxy["networks"]["inside"]["ipv4_address"]
    assert (DEPLOY / proxy["volumes"][0].split(":")[0]).exists()


def test_the_image_is_made_of_what_is_there():
    """It copies what exists, runs as nobody, is healthy by a route, and sets real variables."""
    lines = (DEPLOY / "Dockerfile").read_text()
    assert re.search(r"^USER (?!root)\w+$", lines, re.MULTILINE)
    assert "/health/ready" in lines
    named = set(re.findall(r"PROMPTSEG_[A-Z_]+", lines))
    assert named <= {settings.variable(each.name) for each in fields(ServerSettings)}
    assert 'ENTRYPOINT ["promptseg", "serve"]' in lines
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text()
    for path in re.findall(r"^!(.+)$", ignored, re.MULTILINE):
        assert (ROOT / path).exists()


def test_the_unit_says_what_can_be_said():
    """Its command exists, it has time to drain, and it may not do what it need not."""
    unit = configparser.RawConfigParser(strict=True)
    unit.optionxform = str
    unit.read(DEPLOY / "promptseg.service")
    service = unit["Service"]
    program, command, *rest = shlex.split(service["ExecStart"])
    assert Path(program).name == "promptseg"
    assert {word for word in rest if word.startswith("--")} <= flags_of(command)
    assert int(service["TimeoutStopSec"]) > 5 + ServerSettings.max_seconds
    assert service["NoNewPrivileges"] == service["ProtectHome"] == "yes"
    assert service["User"] != "root"


def test_the_file_of_settings_is_one():
    """Every name and value is taken, and it is open to nobody without keys."""
    found = settings.gather(ServerSettings, file=DEPLOY / "promptseg.toml", environment={})
    assert found.settings.keys
    assert found.settings.hosts


@pytest.mark.parametrize("name", ["nginx.conf", "Caddyfile"])
def test_the_proxies_let_pass_what_the_service_takes(name):
    """Bodies as large, answers as late, and events as they come."""
    text = (DEPLOY / name).read_text()
    assert text.count("{") == text.count("}")
    sizes = {"m": 2**20, "MB": 10**6}
    number, unit = re.search(r"(?:client_max_body_size|max_size) (\d+)(m|MB)", text).groups()
    assert int(number) * sizes[unit] >= ServerSettings.max_bytes
    late = re.search(r"(?:proxy_read_timeout|response_header_timeout) (\d+)s", text).group(1)
    assert int(late) > ServerSettings.max_seconds
    assert "proxy_buffering off" in text or "flush_interval -1" in text
    assert re.search(r"location = /metrics \{\s+return 404;|respond /metrics 404\n", text)
