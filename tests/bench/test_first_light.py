"""The benchmark measures what it says; how fast it is on this machine is not tested."""

from __future__ import annotations

import json

import numpy as np
import pytest

from promptseg.bench.first_light import FirstLight, Machine, Quantiles, photo
from promptseg.bench.processes import run_python
from promptseg.errors import PromptsegError
from promptseg.geometry import Size


def test_quantiles_by_hand():
    """Of 1 to 100 the middle is 50.5, and 95 % are done by the 96th."""
    found = Quantiles.of([float(i) for i in range(100, 0, -1)])
    assert (found.median, found.p95, found.worst, found.count) == (50.5, 96.0, 100.0, 100)


def test_the_scene_is_the_same_each_time():
    """A benchmark of two days sees one image."""
    one, other = photo(Size(37, 53)), photo(Size(37, 53))
    assert one.shape == (37, 53, 3)
    assert one.dtype == np.uint8
    assert (one == other).all()
    assert one.std() > 10


def test_a_process_tells_what_it_took():
    """Output, time and memory are those of the new process."""
    small = run_python("import sys; print(sys.argv[1])", ["hello"])
    large = run_python("kept = b'x' * 200_000_000", [])
    assert small.output == "hello\n"
    assert small.seconds > 0
    assert large.peak_bytes - small.peak_bytes > 150_000_000


def test_a_process_that_fails_says_why():
    """What it wrote last is in the error."""
    with pytest.raises(PromptsegError, match="no such luck"):
        run_python("raise SystemExit('no such luck')", [])


def test_lines_and_json_say_the_same():
    """Both name the machine, and the lines give milliseconds."""
    times = Quantiles(median=0.0125, p95=0.02, worst=0.03, count=50)
    found = FirstLight(
        machine=Machine(
            system="Linux",
            processor="abacus",
            cores=2,
            threads=2,
            device="cpu",
            gflops=123.4,
            versions={"torch": "2"},
        ),
        model="builtin",
        import_seconds=0.1,
        import_loads_torch=False,
        command_seconds=2.5,
        command_peak_bytes=700_000_000,
        encode=times,
        click=times,
        session_click=times,
    )
    text = "\n".join(found.lines())
    for part in ("abacus", "123 GFLOP/s", "0.100 s, without torch", "0.70 GB", "median 12.5 ms"):
        assert part in text
    assert json.loads(json.dumps(found.as_json()))["click"]["p95"] == 0.02
