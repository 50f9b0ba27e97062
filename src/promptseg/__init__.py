"""Click on an object in a photo, or draw a box round it, and get its mask.

Every public name loads on first use, so that `import promptseg` is quick and loads neither numpy
nor torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from promptseg.api import Model, load
    from promptseg.batch import Answers, Batch
    from promptseg.concepts import Concept
    from promptseg.engine.session import Session
    from promptseg.errors import (
        AccessError,
        ConfigError,
        CutShortError,
        DeadlineError,
        ImageError,
        ImageFormatError,
        ImageSizeError,
        JobError,
        MaskError,
        MissingExtraError,
        OutOfMemoryError,
        OutputError,
        OverloadedError,
        PromptError,
        PromptsegError,
        QueryError,
        ServiceError,
        SessionError,
        VideoError,
        WeightsError,
    )
    from promptseg.geometry import Box, Size
    from promptseg.io.images import read
    from promptseg.masks import RunLength
    from promptseg.options import EverythingOptions, FindOptions, SegmentOptions, TidyOptions
    from promptseg.prompts import MaskHint, Points, Prompt
    from promptseg.requests import EverythingRequest, FindRequest, SegmentRequest
    from promptseg.results import Masks
    from promptseg.tidying import detect_overlaps, tidy
    from promptseg.tiles import Tiling

__version__ = "0.1.0"

__all__ = [
    "AccessError",
    "Answers",
    "Batch",
    "Box",
    "Concept",
    "ConfigError",
    "CutShortError",
    "DeadlineError",
    "EverythingOptions",
    "EverythingRequest",
    "FindOptions",
    "FindRequest",
    "ImageError",
    "ImageFormatError",
    "ImageSizeError",
    "JobError",
    "MaskError",
    "MaskHint",
    "Masks",
    "MissingExtraError",
    "Model",
    "OutOfMemoryError",
    "OutputError",
    "OverloadedError",
    "Points",
    "Prompt",
    "PromptError",
    "PromptsegError",
    "QueryError",
    "RunLength",
    "SegmentOptions",
    "SegmentRequest",
    "ServiceError",
    "Session",
    "SessionError",
    "Size",
    "TidyOptions",
    "Tiling",
    "VideoError",
    "WeightsError",
    "__version__",
    "detect_overlaps",
    "load",
    "read",
    "tidy",
]

_HOMES = {
    "api": ("Model", "load"),
    "batch": ("Answers", "Batch"),
    "concepts": ("Concept",),
    "engine.session": ("Session",),
    "errors": (
        "AccessError",
        "ConfigError",
        "CutShortError",
        "DeadlineError",
        "ImageError",
        "ImageFormatError",
        "ImageSizeError",
        "JobError",
        "MaskError",
        "MissingExtraError",
        "OutOfMemoryError",
        "OutputError",
        "OverloadedError",
        "PromptError",
        "PromptsegError",
        "QueryError",
        "ServiceError",
        "SessionError",
        "VideoError",
        "WeightsError",
    ),
    "geometry": ("Box", "Size"),
    "io.images": ("read",),
    "masks": ("RunLength",),
    "options": ("EverythingOptions", "FindOptions", "SegmentOptions", "TidyOptions"),
    "prompts": ("MaskHint", "Points", "Prompt"),
    "requests": ("EverythingRequest", "FindRequest", "SegmentRequest"),
    "results": ("Masks",),
    "tiles": ("Tiling",),
    "tidying": ("detect_overlaps", "tidy"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Load a public name from its module, once."""
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module `{__name__}` has no attribute `{name}`")
    value: object = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
