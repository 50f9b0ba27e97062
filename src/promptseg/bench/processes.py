"""Running Python anew, to see what starting costs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from promptseg.errors import PromptsegError

# glibc keeps what was freed up to these sizes, instead of giving it back and asking anew.
KEEPING = {
    "MALLOC_MMAP_THRESHOLD_": "1073741824",
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
    "MALLOC_TOP_PAD_": "268435456",
}
# Put before the code, because a process knows its own peak memory best. On Linux `ru_maxrss` starts
# from what the parent had, so the kernel's count for this program alone is read instead.
PEAK_CODE = """
import atexit, sys
def report():
    try:
        status = open("/proc/self/status").read()
        peak = int(status.split("VmHWM:")[1].split()[0]) * 1024
    except (OSError, IndexError):
        import resource
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        peak *= 1 if sys.platform == "darwin" else 1024
    sys.stderr.write(f"\\npeak {peak}\\n")
atexit.register(report)
"""


@dataclass(frozen=True)
class Finished:
    """What a process printed, how long it ran and how much memory it took at most."""

    output: str
    seconds: float
    peak_bytes: int


def run_python(
    code: str, arguments: Sequence[str], *, settings: Mapping[str, str] | None = None
) -> Finished:
    """Run a piece of code in a new Python, with `arguments` as its `sys.argv[1:]`.

    `settings` are added to its environment. It keeps the byte code that it compiles, as Python does
    unless it is told otherwise.

    Raises:
        PromptsegError: it ended with an error.
    """
    command = [sys.executable, "-c", PEAK_CODE + code, *arguments]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environment |= settings or {}
    began = time.perf_counter()
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    seconds = time.perf_counter() - began
    said, _, peak = ended.stderr.rpartition("peak ")
    if ended.returncode or not peak.strip().isdigit():
        raise PromptsegError(
            f"a measured process ended with status {ended.returncode}: {said.strip()[-500:]}"
        )
    return Finished(ended.stdout, seconds, int(peak))
