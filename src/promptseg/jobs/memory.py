"""A limit on the memory of this process, so that one image cannot take that of a whole machine."""

from __future__ import annotations

import logging

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)


def limit(most: int) -> None:
    """Let this process and those that it starts have at most so many bytes of data.

    What a GPU's driver reserves of addresses alone does not count. What does not fit fails with a
    `MemoryError`, or ends the process. A system that knows no such limit is warned of.
    """
    if not hasattr(resource, "RLIMIT_DATA"):
        logger.warning("this system has no limit on a process's memory")
        return
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    within = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (within, hard))
