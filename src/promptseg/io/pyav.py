"""PyAV, or a sentence that says how to install it: the only module that looks for it."""

from __future__ import annotations

from promptseg.errors import MissingExtraError

try:
    import av
except ImportError as error:
    raise MissingExtraError(
        "video files need PyAV, which is not installed",
        hint="Run `pip install promptseg[video]`, or use a folder of images",
    ) from error

__all__ = ["av"]
