"""What docs/jobs.md and deploy/compose.jobs.yaml say of jobs is true."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import MISSING, fields

import pytest
import yaml
from typer.main import get_command

from places import ROOT
from promptseg.cli.main import build
from promptseg.jobs.accepting import FORMATS
from promptseg.jobs.job import Job, State
from promptseg.jobs.webhooks import signature
from promptseg.jobs.work import LEASE

GUIDE = (ROOT / "docs" / "jobs.md").read_text(encoding="utf-8")
COMPOSE = ROOT / "deploy" / "compose.jobs.yaml"


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)


def flags_of(*command):
    """Return the flags that a command of the program has."""
    found = get_command(build(command[0]))
    for name in command:
        found = found.commands[name]
    return {option for each in found.params for option in (*each.opts, *each.secondary_opts)}


@pytest.mark.skipif(os.name != "posix", reason="for a POSIX shell")
def test_the_first_block_can_be_typed(tmp_path):
    """From handing in to files in a folder."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    program = tmp_path / "bin" / "promptseg"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\nfrom promptseg.cli.main import run\n"
        "if __name__ == '__main__':\n    run()\n"
    )
    program.chmod(0o755)
    ended = subprocess.run(
        ["sh", "-e", "-c", blocks("sh")[0]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={
            **os.environ,
            "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
        },
    )
    assert ended.returncode == 0, ended.stderr
    made = {path.name for path in (tmp_path / "masks").iterdir()}
    assert {"results.jsonl", "report.txt", "coco.json", "coffee.overlay.png"} <= made


def test_every_command_of_the_guide_has_its_flags():
    """What is shown can be said."""
    said = [line for block in blocks("sh") for line in block.splitlines()]
    found = 0
    for line in said:
        command = re.search(r"promptseg (jobs [a-z]+|worker|serve)([^)]*)", line)
        if command:
            found += 1
            given = {word for word in shlex.split(command[2]) if word.startswith("--")}
            assert given <= flags_of(*command[1].split()), line
    assert found > 10


def test_the_job_of_the_guide_is_one():
    """And every field, format and state is explained, with its default."""
    [said] = blocks("json")
    assert Job.from_json(json.loads(said)).priority == 5
    rows = dict(re.findall(r"^\| `([a-z_]+)` \|([^|]*) \|", GUIDE, re.MULTILINE))
    for field in fields(Job):
        shown = rows[field.name].strip()
        if isinstance(field.default, (int, float)):
            assert float(shown) == field.default
        else:
            assert shown == "" if field.default is MISSING else shown.isalpha()
    [formats] = re.findall(r"^\| `formats` .*$", GUIDE, re.MULTILINE)
    assert set(re.findall(r"`([a-z0-9-]+)`", formats)) == {"formats", *FORMATS}
    assert {state.value for state in State} <= rows.keys()
    assert f"for {LEASE:g} seconds" in GUIDE


def test_the_receiver_of_the_guide_tells_ours_from_others():
    """Its check takes what we sign, and nothing changed, old, or of another secret."""
    told = {}
    exec(blocks("python")[0], told)
    secret, body, now = "a secret of many letters", b'{"state": "done"}', int(time.time())
    header = signature(secret.encode(), body, at=now)
    assert told["is_genuine"](secret, header, body)
    assert not told["is_genuine"](secret, header, body + b" ")
    assert not told["is_genuine"]("another", header, body)
    assert not told["is_genuine"](secret, signature(secret.encode(), body, at=now - 600), body)
    assert not told["is_genuine"](secret, header.replace(f"t={now}", f"t={now + 1}"), body)


def test_the_compose_file_says_what_can_be_said():
    """One Redis that loses nothing, one store, and time to give back what is in hand."""
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    redis, service, worker = (services[name] for name in ("redis", "promptseg", "worker"))
    kept = dict(zip(redis["command"][1::2], redis["command"][2::2], strict=True))
    assert kept == {"--appendonly": "yes", "--maxmemory-policy": "noeviction"}
    said = {}
    for name, each in (("serve", service), ("worker", worker)):
        said[name] = dict(word.split("=", 1) for word in each["command"])
        assert said[name].keys() <= flags_of(name)
        build = each["build"]
        assert (COMPOSE.parent / build["context"] / build["dockerfile"]).exists()
        assert each["mem_limit"]
        assert each["depends_on"]["redis"]["condition"] == "service_healthy"
        assert "inside" in each["networks"]
        mounted = {place.split(":")[1] for place in each["volumes"]}
        assert {said[name]["--store"], said["serve"]["--job-inputs"]} <= mounted
    assert worker["entrypoint"] == ["promptseg", "worker"]
    for flag in ("--jobs", "--store"):
        assert said["serve"][flag] == said["worker"][flag]
    assert "redis:6379" in said["worker"]["--jobs"]
    assert int(worker["stop_grace_period"].removesuffix("s")) > 30
    # A volume takes its owner from the image.
    assert "--owner promptseg /results" in (COMPOSE.parent / "Dockerfile").read_text()
