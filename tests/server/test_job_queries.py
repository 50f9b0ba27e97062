"""Queries of jobs wait for room, leave room for callers, and are taken back when they must be."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from fake_finder import FakeBoth, painted
from fake_model import model_of
from promptseg.batch import Batch
from promptseg.engine.scheduler import QueueLimits
from promptseg.errors import JobError, OverloadedError, PromptError
from promptseg.prompts import Points
from promptseg.requests import FindRequest, SegmentRequest
from promptseg.server.job_queries import CLIENT, JobQueries
from promptseg.server.keys import OWNER

RED = np.asarray(painted(("red", 0, 0, 4, 4)))


class Slow(FakeBoth):
    """Answers when it may."""

    def __init__(self):
        super().__init__()
        self.may = threading.Event()

    def encode(self, pixels):
        assert self.may.wait(30)
        return super().encode(pixels)


@pytest.fixture
def slow():
    """A network that waits, and goes on in the end."""
    network = Slow()
    yield network
    network.may.set()


@pytest.fixture
def scheduler_of():
    """Make schedulers round networks; they are closed with the test."""
    made = []

    def make(network=None, **limits):
        made.append(model_of(network or FakeBoth()).scheduler(QueueLimits(**limits)))
        return made[-1]

    yield make
    for scheduler in made:
        scheduler.close(seconds=5.0)


def batch_of(queries, *, images=1):
    batch = Batch()
    for _ in range(images):
        image = batch.image(RED.copy())
        for _ in range(queries):
            image.find("red")
    return batch


def until(is_so):
    for _ in range(1000):
        if is_so():
            return
        time.sleep(0.01)
    raise AssertionError("it did not come to that")


def asking(queries, batch):
    """Ask in a thread; what comes of it is in the list, an error as itself."""
    outcome = []

    def ask():
        try:
            outcome.extend(queries.ask(batch))
        except JobError as error:
            outcome.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    return thread, outcome


def test_every_query_is_answered_as_the_model_would(scheduler_of):
    """Also more of them than may wait, and beside one that makes no sense for its image."""
    scheduler = scheduler_of(waiting=3)
    batch = batch_of(11, images=3)
    batch.images[1].segment(Points([(99, 99)]), id="outside")
    answers = dict(JobQueries(scheduler, most=2).ask(batch))
    assert set(answers) == {query.id for query in batch.queries}
    assert isinstance(answers.pop("outside"), PromptError)
    expected = dict(model_of(FakeBoth()).stream(batch))
    for name, masks in answers.items():
        assert masks.runs == expected[name].runs


def test_callers_find_room(slow, scheduler_of):
    """However many queries an image has, only so many wait; callers take turns with them."""
    scheduler = scheduler_of(slow, waiting=6, together=1)
    queries = JobQueries(scheduler, most=3)
    thread, outcome = asking(queries, batch_of(50))
    until(lambda: scheduler.load().waiting + scheduler.load().working == 3)
    order = []
    future = scheduler.submit(FindRequest.of(RED, "red"), client="anna")
    future.add_done_callback(lambda _: order.append(len(outcome)))
    time.sleep(0.1)
    assert scheduler.load().waiting + scheduler.load().working == 4
    slow.may.set()
    future.result(30)
    thread.join(30)
    assert len(outcome) == 50
    assert order[0] < 10


def test_queries_wait_for_room(slow, scheduler_of):
    """Where callers have taken all of it, they are asked again until there is some."""
    scheduler = scheduler_of(slow, waiting=2)
    futures = [
        scheduler.submit(SegmentRequest.of(RED, Points([(1, 1)])), client="anna") for _ in range(2)
    ]
    with pytest.raises(OverloadedError):
        scheduler.require_place(CLIENT)
    thread, outcome = asking(JobQueries(scheduler), batch_of(3))
    time.sleep(0.2)
    assert outcome == []
    slow.may.set()
    thread.join(30)
    assert len(outcome) == 3
    assert all(future.result(30) for future in futures)


def test_what_is_asked_can_be_taken_back(slow, scheduler_of):
    """Nobody waits for it any more, and what is asked later is answered."""
    queries = JobQueries(scheduler_of(slow))
    thread, outcome = asking(queries, batch_of(3))
    until(lambda: queries._waiting)
    time.sleep(0.05)
    queries.take_back()
    thread.join(10)
    assert not thread.is_alive()
    assert isinstance(outcome[-1], JobError)
    slow.may.set()
    assert len(list(queries.ask(batch_of(3)))) == 3


@pytest.mark.parametrize("is_full", [False, True])
def test_nothing_is_asked_after_the_end(slow, scheduler_of, is_full):
    """Whether it waits for an answer or for room."""
    scheduler = scheduler_of(slow, waiting=1)
    if is_full:
        scheduler.submit(FindRequest.of(RED, "red"), client="anna")
    queries = JobQueries(scheduler)
    thread, outcome = asking(queries, batch_of(3))
    time.sleep(0.1)
    queries.end()
    thread.join(10)
    assert not thread.is_alive()
    assert isinstance(outcome[-1], JobError)
    with pytest.raises(JobError):
        list(queries.ask(batch_of(1)))


def test_who_leaves_takes_back_what_is_asked(slow, scheduler_of):
    """Nothing is left in the scheduler."""
    scheduler = scheduler_of(slow)
    answers = JobQueries(scheduler).ask(batch_of(5))
    slow.may.set()
    next(answers)
    answers.close()
    until(lambda: scheduler.load().waiting + scheduler.load().working == 0)


def test_no_owner_has_the_name_of_the_jobs():
    """So that nobody's turns are theirs."""
    assert not OWNER.fullmatch(CLIENT)
