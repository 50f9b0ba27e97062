"""The doctor tells what is there, and advises only where something is to be gained."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from promptseg import settings
from promptseg.bench import doctor
from promptseg.bench.doctor import DeviceFacts, Diagnosis, advise
from promptseg.cli.main import main
from promptseg.errors import OutOfMemoryError

CPU = DeviceFacts(name="cpu", model="x", free_bytes=None, gflops={"float32": 100.0})
CARD = DeviceFacts(
    name="cuda:0", model="y", free_bytes=3 * 10**9, gflops={"float32": 10.0, "bfloat16": 90.0}
)
HEALTHY = Diagnosis(
    system="Linux",
    versions={"promptseg": "0"},
    devices=(CPU,),
    runtime="cpu float32",
    cores=8,
    usable_cores=4.0,
    threads=4,
    memory_bytes=10**10,
    cache_bytes=512 * 2**20,
    hub_cache="/hub",
    hub_free_bytes=10**11,
    model="builtin",
    models_at_hand=("builtin", "sam2.1-tiny"),
    extras={"train": True, "evaluate": False},
    advice=(),
)


@pytest.fixture(autouse=True)
def bare(monkeypatch):
    """A machine without a driver, that may download."""
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr(doctor.constants, "HF_HUB_OFFLINE", False)


def test_a_healthy_machine_is_left_alone():
    """Nothing to say, and it is said."""
    assert advise(HEALTHY) == []
    assert HEALTHY.lines()[-1] == "nothing to change"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"threads": 5}, "set OMP_NUM_THREADS=4"),
        ({"usable_cores": 0.5}, "set OMP_NUM_THREADS=1"),
        (
            {"devices": (replace(CPU, gflops={"float32": 100.0, "bfloat16": 131.0}),)},
            "1.3 times as fast in bfloat16",
        ),
        ({"models_at_hand": ("builtin",)}, "promptseg models pull sam2.1-base-plus"),
        ({"hub_free_bytes": 10**9}, "set HF_HOME"),
        ({"cache_bytes": 2**20}, "PROMPTSEG_CACHE_BYTES"),
        ({"runtime": "nothing: no card"}, "cannot be had: nothing: no card"),
        ({"model": "nope"}, "there is no model and no weights file `nope`"),
    ],
)
def test_each_fault_has_its_advice(change, words):
    """One sentence for each thing to change."""
    [advice] = advise(replace(HEALTHY, **change))
    assert words in advice


def test_a_card_without_cuda_is_told_of(monkeypatch):
    """A driver and a torch that cannot use it; with a device in use nothing is said."""
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    assert "no CUDA" in advise(HEALTHY)[0]
    assert advise(replace(HEALTHY, devices=(CPU, CARD))) == []


def test_being_offline_is_told_of(monkeypatch):
    """The switch is named."""
    monkeypatch.setattr(doctor.constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in advise(HEALTHY)[0]


def test_slow_bfloat16_is_no_advice():
    """Where a CPU emulates it, and where a card is there to be used instead."""
    slow = replace(CPU, gflops={"float32": 100.0, "bfloat16": 20.0})
    quick = replace(CPU, gflops={"float32": 100.0, "bfloat16": 400.0})
    assert advise(replace(HEALTHY, devices=(slow,))) == []
    assert advise(replace(HEALTHY, devices=(quick, CARD))) == []


def test_shares_of_a_container_count(monkeypatch, tmp_path):
    """Half a core, and what its memory limit leaves."""
    monkeypatch.setattr(doctor, "CGROUP", tmp_path)
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    (tmp_path / "memory.max").write_text("3000000\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    assert doctor.usable_cores() == 0.5
    assert doctor.free_memory() == 2_000_000


def test_without_a_container_the_machine_counts(monkeypatch, tmp_path):
    """No limits, or `max`."""
    monkeypatch.setattr(doctor, "CGROUP", tmp_path)
    unlimited = doctor.usable_cores()
    assert 1 <= unlimited <= (os.cpu_count() or 1)
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert doctor.usable_cores() == unlimited
    if Path("/proc/meminfo").exists():
        assert doctor.free_memory() > 2**20


def test_this_machine(capsys, monkeypatch):
    """The real thing: every field, for people and for programs; a device that is not there."""
    monkeypatch.setenv(settings.variable("device"), "cuda:99")
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["devices"][0]["name"] == "cpu"
    assert found["devices"][0]["gflops"]["float32"] > 0.1
    assert "builtin" in found["models_at_hand"]
    assert found["runtime"].startswith("nothing: device `cuda:99` is not there")
    monkeypatch.delenv(settings.variable("device"))
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("device:") and "GFLOP/s float32" in line for line in lines)


def test_a_full_device_is_no_reason_to_fail(monkeypatch):
    """Just then the doctor is needed: no rate, no runtime, and it is said."""

    def full(*_):
        raise OutOfMemoryError("device `cuda:0` has no memory left")

    monkeypatch.setattr(doctor.Runtime, "choose", full)
    assert doctor._rate("cpu", "float32") is None
    assert doctor._runtime(settings.Settings()) == "nothing: device `cuda:0` has no memory left"
