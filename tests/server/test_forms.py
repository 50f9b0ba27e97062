"""A form is read as it was written, however it is cut on the way."""

from __future__ import annotations

import asyncio
import contextlib

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptseg.server.forms import read_form
from promptseg.server.refusals import FieldError

NAMES = st.text("abc", min_size=1, max_size=2)
PARTS = st.dictionaries(NAMES, st.one_of(st.binary(max_size=40), st.text(max_size=20)), max_size=4)


def read(content, content_type, *, most=9, step=1000):
    async def chunks():
        for start in range(0, len(content), step):
            yield content[start : start + step]

    return asyncio.run(read_form(chunks(), content_type, most=most))


def written(parts):
    """Write a form as httpx does, in which bytes are files and text is not."""
    files = {
        name: ("a.bin", value) if isinstance(value, bytes) else (None, value)
        for name, value in parts.items()
    }
    request = httpx.Request("POST", "http://a", files=files)
    return request.read(), request.headers["content-type"]


@given(PARTS.filter(bool), st.integers(1, 60))
def test_parts_are_read_as_they_were_written(parts, step):
    """Names, bytes and text come back, in order, wherever the chunks begin."""
    found = read(*written(parts), step=step)

    assert list(found.items()) == list(parts.items())


@given(PARTS.filter(bool), st.data())
def test_a_form_that_is_damaged_is_read_or_refused(parts, data):
    """Bytes that are lost or changed are never more than a refusal."""
    content, content_type = written(parts)
    place = data.draw(st.integers(0, len(content) - 1))
    changed = data.draw(
        st.sampled_from(
            [content[:place], content[place:], content[:place] + b"\r" + content[place + 1 :]]
        )
    )
    with contextlib.suppress(FieldError):
        read(changed, content_type)


def test_a_form_has_no_more_parts_than_it_may():
    """What would take memory part by part is refused at the first that is too many."""
    with pytest.raises(FieldError, match="at most 2 parts"):
        read(*written({"a": b"1", "b": b"2", "c": b"3"}), most=2)
