"""What can go wrong, as one short tree; every error says what happened and, apart, how to fix it.

PromptsegError
├── ConfigError (ValueError)          an option, a setting or a model's name
├── PromptError (ValueError)          a point, a box, a hint, a phrase or their mix
├── ImageError (OSError, ValueError)  an image that is missing, unreadable or refused
│   ├── ImageFormatError              one of no format that is read
│   └── ImageSizeError                one of too many bytes or pixels
├── VideoError (OSError, ValueError)  a video that is missing, unreadable or refused
│   └── CutShortError                 one that ended before its end, after frames that are good
├── MaskError (ValueError)            run lengths that are damaged, masks that do not fit each other
├── SessionError (RuntimeError)       a session that was closed, or is not there
├── QueryError (KeyError)             an id that no query of a run has
├── JobError (ValueError)             a job that makes no sense, or is not there
├── WeightsError (ValueError)         weights that are damaged, of another kind, or not to be had
├── OutputError (OSError)             an output that cannot be written
├── OutOfMemoryError (MemoryError)    not enough memory even for one at a time
├── AccessError (PermissionError)     a key that is missing, unknown or expired
├── OverloadedError (RuntimeError)    more asked at a time than can be answered; ask again later
├── DeadlineError (TimeoutError)      an answer that took longer than it may
├── ServiceError (ConnectionError)    a service that cannot be reached, or answers nonsense
└── MissingExtraError (ImportError)   a feature whose optional packages are not installed
"""

from __future__ import annotations

from collections.abc import Mapping


class PromptsegError(Exception):
    """The root of everything this package raises on purpose; `hint` says how to fix it."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class ConfigError(PromptsegError, ValueError):
    """An option, a setting or a model's name that does not exist or makes no sense."""


class PromptError(PromptsegError, ValueError):
    """A prompt that is malformed, or that does not fit its image."""


class ImageError(PromptsegError, OSError, ValueError):
    """An image that is missing, unreadable or refused by a stated rule."""


class ImageFormatError(ImageError):
    """An image of no format that is read."""


class ImageSizeError(ImageError):
    """An image of too many bytes or pixels."""


class VideoError(PromptsegError, OSError, ValueError):
    """A video or a camera that is missing, unreadable or refused by a stated rule."""


class CutShortError(VideoError):
    """A video that ended before its end; the frames before that are good."""


class MaskError(PromptsegError, ValueError):
    """Run lengths that are damaged, or masks that do not fit each other."""


class SessionError(PromptsegError, RuntimeError):
    """A session that is asked after it was closed, or that is not there."""


class QueryError(PromptsegError, KeyError):
    """An id that no query of a run has."""

    def __str__(self) -> str:
        # A `KeyError` would put its message in quotes.
        return Exception.__str__(self)


class JobError(PromptsegError, ValueError):
    """A job that makes no sense or is not there, or a place of jobs that cannot be used."""


class WeightsError(PromptsegError, ValueError):
    """Weights that are damaged, not of the kind they should be, or not to be had."""


class OutputError(PromptsegError, OSError):
    """An output that cannot be written."""


class OutOfMemoryError(PromptsegError, MemoryError):
    """Not enough memory for one image or one object alone."""


class AccessError(PromptsegError, PermissionError):
    """A key that is missing, unknown or expired."""


class OverloadedError(PromptsegError, RuntimeError):
    """More is asked at a time than can be answered; `retry_after` are seconds until it may be."""

    def __init__(
        self, message: str, *, hint: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class DeadlineError(PromptsegError, TimeoutError):
    """An answer that took longer than it may."""


class ServiceError(PromptsegError, ConnectionError):
    """A service that cannot be reached, or answers what is no answer."""


class MissingExtraError(PromptsegError, ImportError):
    """A feature whose optional packages are not installed; the hint names the extra."""


def as_record(error: PromptsegError) -> dict[str, str | None]:
    """Describe an error for a file or a wire: its kind, its sentence and its hint."""
    return {"kind": type(error).__name__, "message": str(error), "hint": error.hint}


def from_record(record: Mapping[str, object]) -> PromptsegError:
    """Make the error again that `as_record` describes; a kind not known here is the root."""
    kind = globals().get(str(record.get("kind")))
    known = kind if isinstance(kind, type) and issubclass(kind, PromptsegError) else PromptsegError
    hint = record.get("hint")
    return known(str(record.get("message")), hint=hint if isinstance(hint, str) else None)


def reason(error: Exception) -> str:
    """Return what an operating system's error says, to be put after a colon."""
    return (getattr(error, "strerror", None) or str(error)).lower()
