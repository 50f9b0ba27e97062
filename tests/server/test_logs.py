"""What the log says: one event a line, with its request, and nothing that a caller made up."""

from __future__ import annotations

import json
import logging
import warnings
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptseg.server.logs import REQUEST_ID, logging_to

log = logging.getLogger("promptseg.server.access")


def said(layout, speak):
    stream = StringIO()
    with logging_to(stream, layout):
        speak()
    return stream.getvalue()


def test_an_event_is_a_line_of_json():
    """Time, level, logger, message and request are fields; those of a request come with it."""

    def speak():
        token = REQUEST_ID.set("abc")
        log.info("asked %d", 3, extra={"route": "/v1/find", "status": 200, "ms": 1.5})
        REQUEST_ID.reset(token)

    event = json.loads(said("json", speak))
    assert event.pop("time").endswith("Z")
    assert event == {
        "level": "info",
        "logger": "promptseg.server.access",
        "message": "asked 3",
        "request_id": "abc",
        "route": "/v1/find",
        "status": 200,
        "ms": 1.5,
    }


def test_an_exception_is_whole_in_one_field():
    """A traceback of many lines is still one line of JSON."""

    def speak():
        try:
            raise ValueError("broken")
        except ValueError:
            log.exception("it failed")

    line = said("json", speak)
    assert line.count("\n") == 1
    event = json.loads(line)
    assert event["exception"].startswith("Traceback")
    assert event["exception"].endswith("ValueError: broken")


def test_an_event_is_a_line_of_text():
    """Level, logger, message and request follow the time."""

    def speak():
        token = REQUEST_ID.set("abc")
        log.info("asked")
        REQUEST_ID.reset(token)

    time, rest = said("text", speak).split(" ", 1)
    assert time.endswith("Z")
    assert rest == "info    promptseg.server.access asked [abc]\n"


@pytest.mark.parametrize("layout", ["text", "json"])
@given(text=st.text(max_size=30))
def test_no_text_makes_a_second_line(layout, text):
    """Whatever is in a message, it stays on its line, and cannot colour it."""
    line = said(layout, lambda: log.info("%s", text))
    assert len(line.splitlines()) == 1
    assert "\x1b" not in line


def test_others_are_heard_when_they_warn():
    """Warnings of other packages are in the log; what else they tell, and our details, are not."""

    def speak():
        other = logging.getLogger("elsewhere")
        other.info("chatter")
        log.debug("detail")
        other.warning("careful")
        warnings.warn("old", DeprecationWarning, stacklevel=1)

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        text = said("text", speak)
    assert "careful" in text
    assert "old" in text
    assert "chatter" not in text
    assert "detail" not in text


def test_afterwards_logging_is_as_before():
    """Handlers and levels of the process come back."""
    root = logging.getLogger()
    before = list(root.handlers), root.level, logging.getLogger("promptseg").level
    said("text", lambda: None)
    assert (list(root.handlers), root.level, logging.getLogger("promptseg").level) == before
