from __future__ import annotations

import asyncio
import json
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import ClientDisconnect, Request

from promptseg.engine.everything import Progress
from promptseg.errors import PromptError
from promptseg.server import events
from promptseg.server.events import Event, EventResponse, Latest, told, unless_refused, wants_events
from promptseg.server.logs import REQUEST_ID

ID = "3f2a"


def asking(*accept):
    headers = [(b"accept", value.encode()) for value in accept]
    return Request({"type": "http", "headers": headers})


class Caller:
    """The other end of a response: keeps what is sent, and may fail to take it."""

    def __init__(self, takes=10_000):
        self.messages = []
        self.takes = takes

    async def receive(self):
        raise AssertionError("only those who watch for a caller's leaving receive")

    async def send(self, message):
        if len(self.messages) >= self.takes:
            raise OSError("the connection is gone")
        self.messages.append(message)

    @property
    def text(self):
        return b"".join(message.get("body", b"") for message in self.messages).decode()

    @property
    def events(self):
        return read(self.text)


def read(text):
    """Read a stream as a browser does: blocks of lines, those of comments left out."""
    found = []
    for block in text.split("\n\n"):
        lines = [line for line in block.split("\n") if line and not line.startswith(":")]
        said = dict(line.split(": ", 1) for line in lines)
        if "event" in said:
            found.append((said["event"], json.loads(said["data"])))
    return found


async def respond(source, work, caller):
    REQUEST_ID.set(ID)
    response = EventResponse(source, work)
    await response({"type": "http"}, caller.receive, caller.send)


async def forever():
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ([], False),
        (["*/*"], False),
        (["application/json"], False),
        (["text/event-stream"], True),
        (["Text/Event-Stream; charset=utf-8"], True),
        (["application/json, text/event-stream;q=0.5"], True),
        (["application/json", "text/event-stream"], True),
        (["text/event-stream;q=0"], False),
        (["text/event-stream; q=0.000"], False),
        (["text/event-stream; q=0.001"], True),
    ],
)
def test_a_stream_is_for_those_who_name_it(accept, wanted):
    """Only a caller that names streams of events gets one; `*/*` is happy with JSON."""
    assert wants_events(asking(*accept)) is wanted


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=9) | st.integers()))
def test_an_event_is_two_lines_whatever_is_in_it(said):
    """No text in an event can end it early or begin another."""
    written = Event.of("answer", said).encode()

    assert written.count(b"\n") == 3
    assert b"\r" not in written
    assert read(written.decode()) == [("answer", said)]


def test_only_the_newest_progress_is_told():
    """However much was told since, whoever looks sees what was told last, once."""

    async def run():
        latest = Latest()
        thread = threading.Thread(
            target=lambda: [latest(Progress(done, 1000, 0)) for done in range(1, 1001)]
        )
        thread.start()
        thread.join()
        await asyncio.wait_for(latest.changed(), 10)
        return latest.take(), latest.take()

    assert asyncio.run(run()) == (Progress(1000, 1000, 0), None)


def test_no_progress_is_lost_between_two_threads():
    """The last of what a thread tells is always heard, whenever the loop looks meanwhile."""

    async def run():
        latest, last = Latest(), 5000
        thread = threading.Thread(
            target=lambda: [latest(Progress(done, last, 0)) for done in range(1, last + 1)]
        )
        thread.start()
        newest = None
        while newest is None or newest.done < last:
            await asyncio.wait_for(latest.changed(), 10)
            newest = latest.take() or newest
        thread.join()

    asyncio.run(run())


def test_telling_a_loop_that_has_ended_is_no_error():
    """A search whose caller and loop are gone may still tell how far it is."""

    async def run():
        return Latest()

    asyncio.run(run())(Progress(1, 2, 0))


def test_work_is_told_of_until_its_result():
    """First how far it is, then what it came to, then the stream ends properly."""

    async def run():
        latest, caller = Latest(), Caller()

        async def search():
            latest(Progress(1, 2, 0))
            await asyncio.sleep(0.01)
            latest(Progress(2, 2, 5))
            return 7

        async def body(result):
            return b'{"result":%d}' % result

        work = asyncio.ensure_future(search())
        await respond(told(work, latest, body), work, caller)
        return caller

    caller = asyncio.run(run())

    assert caller.events == [
        ("progress", {"done": 1, "total": 2, "found": 0}),
        ("progress", {"done": 2, "total": 2, "found": 5}),
        ("result", {"result": 7}),
    ]
    head, *_, last = caller.messages
    assert head["status"] == 200
    assert dict(head["headers"])[b"content-type"].startswith(b"text/event-stream")
    assert b"content-length" not in dict(head["headers"])
    assert last["more_body"] is False


def test_progress_comes_no_more_often_than_anyone_can_see(monkeypatch):
    """Between two events of progress some time passes, however often it is told meanwhile."""
    monkeypatch.setattr(events, "APART_SECONDS", 30.0)

    async def run():
        latest, caller = Latest(), Caller()

        async def search():
            for done in range(1, 1001):
                latest(Progress(done, 1000, 0))
                await asyncio.sleep(0)

        async def body(_):
            return b"{}"

        work = asyncio.ensure_future(search())
        await respond(told(work, latest, body), work, caller)
        return caller

    (_, first), (_, last), (name, _) = asyncio.run(run()).events
    assert first["done"] < last["done"] == 1000
    assert name == "result"


def test_a_large_event_is_sent_in_pieces(monkeypatch):
    """What is sent at a time is bounded, so that a slow caller can be told from one that left."""
    monkeypatch.setattr(events, "PIECE", 10)

    async def run():
        caller = Caller()

        async def search():
            return b'"' + b"x" * 100 + b'"'

        async def body(result):
            return result

        work = asyncio.ensure_future(search())
        await respond(told(work, Latest(), body), work, caller)
        return caller

    caller = asyncio.run(run())
    assert caller.events == [("result", "x" * 100)]
    assert max(len(message.get("body", b"")) for message in caller.messages) == 10


def test_a_stream_of_errors_has_the_same_body_as_any_error():
    """What goes wrong on the way is the last event, and the stream ends properly."""

    async def run(error):
        latest, caller = Latest(), Caller()

        async def search():
            raise error

        work = asyncio.ensure_future(search())
        await respond(told(work, latest, None), work, caller)
        return caller

    caller = asyncio.run(run(PromptError("no such thing", hint="Ask for another")))
    assert [name for name, _ in caller.events] == ["error"]
    [(_, body)] = caller.events
    assert body["error"]["kind"] == "PromptError"
    assert body["error"]["message"] == "no such thing"
    assert body["error"]["request_id"] == ID
    assert caller.messages[-1]["more_body"] is False

    unexpected = asyncio.run(run(RuntimeError("/secret/path at 0x7f00")))
    assert [name for name, _ in unexpected.events] == ["error"]
    assert "secret" not in unexpected.text
    assert "0x" not in unexpected.text


def test_silence_is_filled_with_comments(monkeypatch):
    """While nothing is known, comments come, which no client takes for events."""
    monkeypatch.setattr(events, "AWAKE_SECONDS", 0.001)

    async def run():
        latest, caller = Latest(), Caller()
        may_end = asyncio.Event()

        async def search():
            await may_end.wait()

        async def body(_):
            return b"{}"

        work = asyncio.ensure_future(search())
        responding = asyncio.ensure_future(respond(told(work, latest, body), work, caller))
        while caller.text.count(": waiting") < 3:
            await asyncio.sleep(0)
        assert caller.events == []
        may_end.set()
        await responding
        return caller

    assert asyncio.run(run()).events == [("result", {})]


@pytest.mark.parametrize("takes", range(4))
def test_a_caller_who_leaves_ends_the_work(monkeypatch, takes):
    """Wherever a connection breaks, from the head of the answer on, the work is ended."""
    monkeypatch.setattr(events, "AWAKE_SECONDS", 0.001)

    async def run():
        latest = Latest()
        work = asyncio.ensure_future(forever())
        await respond(told(work, latest, None), work, Caller(takes=takes))
        await asyncio.wait({work}, timeout=10)
        return work

    assert asyncio.run(run()).cancelled()


def test_a_caller_who_takes_nothing_has_left(monkeypatch):
    """A connection that stands but takes nothing does not hold the work for ever."""
    monkeypatch.setattr(events, "TAKING_SECONDS", 0.01)

    class Stuck(Caller):
        async def send(self, message):
            await forever()

    async def run():
        work = asyncio.ensure_future(forever())
        await respond(told(work, Latest(), None), work, Stuck())
        await asyncio.wait({work}, timeout=10)
        return work

    assert asyncio.run(run()).cancelled()


def test_whoever_is_known_to_have_left_is_told_nothing():
    """Work that ended because its caller left ends the stream without an event."""

    async def run():
        async def search():
            raise ClientDisconnect

        caller = Caller()
        work = asyncio.ensure_future(search())
        await respond(told(work, Latest(), None), work, caller)
        return caller

    assert asyncio.run(run()).events == []


def test_a_response_that_is_cancelled_ends_the_work():
    """A server that shuts down leaves nothing running."""

    async def run():
        work = asyncio.ensure_future(forever())
        responding = asyncio.ensure_future(respond(told(work, Latest(), None), work, Caller()))
        await asyncio.sleep(0.01)
        responding.cancel()
        await asyncio.wait({work, responding}, timeout=10)
        return work, responding

    assert [task.cancelled() for task in asyncio.run(run())] == [True, True]


def test_what_is_refused_at_once_is_refused_before_the_stream():
    """An error that is there at once is raised; work that goes on is left alone."""

    async def refused():
        raise PromptError("no")

    async def run():
        with pytest.raises(PromptError, match="no"):
            await unless_refused(asyncio.ensure_future(refused()))
        work = asyncio.ensure_future(forever())
        await unless_refused(work)
        assert not work.done()
        waiting = asyncio.ensure_future(unless_refused(work))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({work}, timeout=10)
        assert work.cancelled()

    asyncio.run(run())
