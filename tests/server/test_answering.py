"""A question is asked for as long as its caller waits, and no longer than it may."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import Future
from types import SimpleNamespace

import numpy as np
import pytest
from starlette.requests import ClientDisconnect, Request

from fake_finder import FakeBoth
from promptseg.engine.digest import Name
from promptseg.errors import DeadlineError, OverloadedError, PromptError
from promptseg.prompts import Points
from promptseg.requests import SegmentRequest
from promptseg.server.answering import answer, attended, remaining, timed, timings
from promptseg.server.keys import Caller

LONG = 30  # seconds; only a test that fails waits so long
IMAGE = np.zeros((14, 14, 3), np.uint8)
ASKED = SegmentRequest.of(IMAGE, Points([(2, 2)]))
NAME = Name("a")


class Caught(FakeBoth):
    """Says when it begins to look at an image, and goes on when it is told to."""

    def __init__(self):
        super().__init__()
        self.begun, self.go_on = threading.Event(), threading.Event()

    def encode(self, pixels):
        self.begun.set()
        self.go_on.wait(10)
        return super().encode(pixels)


def request_of(leaving, *, seconds=LONG):
    """Make a request whose caller leaves when the event is set, and which may take `seconds`."""

    async def receive():
        await leaving.wait()
        return {"type": "http.disconnect"}

    state = {"due": time.monotonic() + seconds}
    return Request({"type": "http", "headers": [], "state": state}, receive)


def test_an_answer_comes_with_the_time_of_each_stage(service):
    """Stages are noted for the caller and counted for the operator."""

    async def ask():
        http = request_of(asyncio.Event())
        with timed(http, "read"):
            pass
        answered = await answer(service, http, Caller(), ASKED, NAME)
        return answered, timings(http)

    answered, spent = asyncio.run(ask())

    assert answered.masks.runs == service.model.run([ASKED])[0].runs
    assert list(spent) == ["read", "queue", "encode", "answer"]
    assert spent["encode"] == answered.encode
    assert b'promptseg_stage_seconds_count{stage="encode"} 1.0' in service.metrics.render(service)


def test_a_question_is_taken_back_when_its_caller_leaves(make_service):
    """The queue is free again though nobody took the answer."""
    network = Caught()
    service = make_service(network)

    async def ask():
        leaving = asyncio.Event()
        task = asyncio.ensure_future(answer(service, request_of(leaving), Caller(), ASKED, NAME))
        await asyncio.to_thread(network.begun.wait, 10)
        waiting = asyncio.ensure_future(
            answer(service, request_of(leaving), Caller("anna"), ASKED, NAME)
        )
        await asyncio.sleep(0)
        leaving.set()
        for each in (task, waiting):
            with pytest.raises(ClientDisconnect):
                await each
        load = service.scheduler.load()
        network.go_on.set()
        return load

    load = asyncio.run(ask())

    assert load.waiting <= 1
    assert service.scheduler.submit(ASKED).result(10).masks


def test_a_cancelled_task_takes_its_question_back():
    """Whoever shuts the service down leaves nothing behind."""
    future = Future()

    async def ask():
        task = asyncio.ensure_future(attended(request_of(asyncio.Event()), future, seconds=10))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(ask())

    assert future.cancelled()


def test_what_takes_too_long_is_given_up(make_service):
    """The caller is told, while the network is still at it."""
    network = Caught()
    service = make_service(network, max_seconds=7)

    async def ask(seconds):
        http = request_of(asyncio.Event(), seconds=seconds)
        await answer(service, http, Caller(), ASKED, NAME)

    # Whether time was left for the model, or what came before it has taken all of it.
    for seconds in (0.05, -1):
        with pytest.raises(DeadlineError, match=r"^the request took longer than 7 s$"):
            asyncio.run(ask(seconds))
    network.go_on.set()


def test_a_request_without_guards_has_its_time_from_when_it_is_asked(service):
    """The time that is left only becomes less."""
    http = Request({"type": "http", "headers": [], "app": SimpleNamespace(state=None)})
    http.app.state = SimpleNamespace(service=service)

    first = remaining(http)

    assert 0 <= remaining(http) <= first <= service.settings.max_seconds


def test_a_future_that_nobody_ends_is_given_up_too():
    """However the scheduler fails, a caller is answered."""

    async def ask():
        await attended(request_of(asyncio.Event()), Future(), seconds=0.01)

    with pytest.raises(DeadlineError, match="longer than"):
        asyncio.run(ask())


def test_errors_are_those_of_the_future_and_of_the_queue(make_service):
    """A full queue refuses at once, and what fails says how."""
    network = Caught()
    service = make_service(network, waiting=1)
    failed = Future()
    failed.set_exception(PromptError("no"))

    async def ask():
        with pytest.raises(PromptError, match="no"):
            await attended(request_of(asyncio.Event()), failed, seconds=1)
        first = asyncio.ensure_future(
            answer(service, request_of(asyncio.Event()), Caller(), ASKED, NAME)
        )
        await asyncio.to_thread(network.begun.wait, 10)
        with pytest.raises(OverloadedError):
            await answer(service, request_of(asyncio.Event()), Caller("anna"), ASKED, NAME)
        network.go_on.set()
        return await first

    assert asyncio.run(ask()).masks
