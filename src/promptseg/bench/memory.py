"""What memory this process has, and has had at most."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

STATUS, FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
# The kernel counts pages in portions, one for each core.
SLACK = 16 * 2**20


def resident_bytes() -> int:
    """Return what it has now; where the system does not tell, what it has had at most."""
    return _told("VmRSS:")


def peak_bytes() -> int:
    """Return what it has had at most, since the last `forget_peak` where Linux allows it."""
    return _told("VmHWM:")


def forget_peak() -> bool:
    """Let the peak begin anew, and tell whether the system allows it (proc(5), `clear_refs`)."""
    with suppress(OSError):
        FORGET.write_text("5", encoding="ascii")
    # Containers may refuse the word, or take it and do nothing.
    return peak_bytes() - resident_bytes() < SLACK


def _told(name: str) -> int:
    if STATUS.exists():
        _, _, after = STATUS.read_text(encoding="ascii").partition(name)
        return int(after.split()[0]) * 1024
    import resource  # Windows has none

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
