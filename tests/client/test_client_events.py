"""Server-sent events, wherever the pieces of a body are cut."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from promptseg.client.events import Event, events

KINDS = st.text("abcdefgh", min_size=1)
# No line ends: an event's text may have some, but JSON as it is written here has none.
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\r\n")).map(str.encode)
LINES = st.lists(TEXTS, min_size=1, max_size=3)


def pieces(body, cuts):
    """Cut a body at some places."""
    places = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    return [body[begin:end] for begin, end in pairwise(places)]


@given(
    st.lists(st.tuples(KINDS, LINES)), st.lists(st.integers(0)), st.sampled_from([b"\n", b"\r\n"])
)
@settings(deadline=None)
def test_events_come_out_whole_however_they_are_cut(said, cuts, end):
    """What was written is read, with comments between, in pieces of any lengths."""
    body = b""
    for kind, lines in said:
        body += b": waiting" + end + end
        body += b"event: " + kind.encode() + end
        body += b"".join(b"data: " + line + end for line in lines) + end
    expected = [Event(kind, b"\n".join(lines)) for kind, lines in said]
    assert list(events(pieces(body, cuts))) == expected


@given(st.lists(st.binary()))
@settings(deadline=None)
def test_any_bytes_are_events_or_none(chunks):
    """Nothing that a service may send breaks the reader."""
    assert list(events(chunks)) == list(events([b"".join(chunks)]))


def test_an_event_without_its_end_is_none():
    """A stream that is cut has only its whole events."""
    assert list(events([b"event: a\ndata: 1\n\nevent: b\ndata: 2\n"])) == [Event("a", b"1")]


def test_an_event_without_a_name_is_a_message_and_without_data_is_none():
    """The two rules of the standard for what is left out."""
    assert list(events([b"data:1\n\nevent: b\n\ndata\n\n"])) == [
        Event("message", b"1"),
        Event("message", b""),
    ]
