"""What the service says of itself while it runs: one line for each event, as text or as JSON."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TextIO

from promptseg.server.settings import LogFormat

# The request that is being answered; it travels with its task and the threads that work for it.
REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")

# What is said of a request beside its message, as attributes of the record.
FIELDS = ("method", "route", "status", "ms", "owner", "bytes")

# Whose lines are wanted beside warnings.
TALKATIVE = ("promptseg",)
# Who damages a form on purpose could fill a disk with its warnings.
QUIET = ("python_multipart",)


@contextmanager
def logging_to(stream: TextIO, layout: LogFormat) -> Iterator[None]:
    """Send the log of everything in the process to `stream`; afterwards all is as it was."""
    root = logging.getLogger()
    levels = {name: logging.getLogger(name).level for name in (*TALKATIVE, *QUIET)}
    before = root.handlers, root.level, levels
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines() if layout == "json" else TextLines())
    handler.addFilter(_with_request)
    root.handlers, root.level = [handler], logging.WARNING
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.INFO)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.captureWarnings(capture=True)
    try:
        yield
    finally:
        logging.captureWarnings(capture=False)
        root.handlers = before[0]
        root.setLevel(before[1])
        for name, level in before[2].items():
            logging.getLogger(name).setLevel(level)


class JsonLines(logging.Formatter):
    """One JSON object for each event; an exception is whole in one of its fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Write an event down."""
        said: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id := getattr(record, "request_id", ""):
            said["request_id"] = request_id
        said |= {
            name: value for name in FIELDS if (value := getattr(record, name, None)) is not None
        }
        if record.exc_info:
            said["exception"] = self.formatException(record.exc_info)
        return json.dumps(said, default=str)


class TextLines(logging.Formatter):
    """One line for each event, and an exception below it."""

    def format(self, record: logging.LogRecord) -> str:
        """Write an event down."""
        request_id = getattr(record, "request_id", "")
        line = " ".join(
            [
                _time(record),
                f"{record.levelname.lower():<7}",
                record.name,
                _on_one_line(record.getMessage()),
                *([f"[{request_id}]"] if request_id else []),
            ]
        )
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _time(record: logging.LogRecord) -> str:
    """Return when it was, in UTC, to a thousandth of a second."""
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{seconds}.{int(record.msecs):03d}Z"


def _on_one_line(message: str) -> str:
    """Write out what would break or colour a line, so that no caller can forge one."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in message
    )


def _with_request(record: logging.LogRecord) -> bool:
    """Note the request of the moment in a record, before it may be handed to another thread."""
    record.request_id = REQUEST_ID.get()
    return True
