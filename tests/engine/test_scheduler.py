"""Many callers, one thread that answers: fairness, bounds, time, crashes, and the end of it."""

from __future__ import annotations

import gc
import inspect
import logging
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import CancelledError, ThreadPoolExecutor, wait
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_finder import FakeBoth, FakeFinder, painted
from fake_model import model_of
from fake_network import FakeNetwork
from promptseg.engine.digest import Name
from promptseg.engine.scheduler import Answered, Load, QueueLimits, Scheduler
from promptseg.engine.tickets import Pace
from promptseg.engine.turns import Turns
from promptseg.errors import (
    ConfigError,
    DeadlineError,
    OverloadedError,
    PromptError,
    PromptsegError,
)
from promptseg.options import EverythingOptions, SegmentOptions, TidyOptions
from promptseg.prompts import Points
from promptseg.requests import EverythingRequest, FindRequest, SegmentRequest

LONG = 30  # seconds; only a test that fails waits so long
POINT = Points([(7, 7)])
COARSE = EverythingOptions(
    points_per_side=3, threshold=0.1, stability_threshold=0.1, edge_margin=0, min_contrast=0
)
POISON = painted(("green", 0, 0, 14, 14))

NEVER_ENDS = """
import threading
import numpy as np
from fake_model import model_of
from fake_network import FakeNetwork
from promptseg.engine import scheduler
from promptseg.prompts import Points
from promptseg.requests import SegmentRequest

class Endless(FakeNetwork):
    def encode(self, pixels):
        print("busy", flush=True)
        threading.Event().wait()

scheduler.AT_EXIT = 0.1
request = SegmentRequest.of(np.zeros((14, 14, 3), np.uint8), Points([(7, 7)]))
future = model_of(Endless()).scheduler().submit(request)
future.add_done_callback(lambda ended: print(type(ended.exception()).__name__, flush=True))
"""


class Gated(FakeBoth):
    """Looks at an image when it is let through; fails, or crashes, at an all green one."""

    def __init__(self, *, failure=None):
        super().__init__()
        self.failure = failure
        self.begun = threading.Semaphore(0)
        self.gate = threading.Event()

    def encode(self, pixels):
        self.begun.release()
        assert self.gate.wait(LONG)
        if self.failure is not None and pixels[:, 1].min() == 1:
            raise self.failure
        return super().encode(pixels)


class Rig:
    """A gated network behind a scheduler, and images that nobody has looked at."""

    def __init__(self, *, failure=None, on_batch=None, **limits):
        self.network = Gated(failure=failure)
        queue = QueueLimits(**limits)
        self.scheduler = model_of(self.network).scheduler(queue, on_batch=on_batch)
        self.shade = 100

    def image(self):
        self.shade += 1
        image = np.full((14, 14, 3), 100, dtype=np.uint8)
        image[0, 0] = self.shade // 65536, self.shade // 256 % 256, self.shade % 256
        return image

    def click(self, image=None, **how):
        request = SegmentRequest.of(self.image() if image is None else image, POINT)
        return self.scheduler.submit(request, **how)

    def search(self, **how):
        return self.scheduler.submit(EverythingRequest(self.image(), COARSE), **how)

    def busy(self, **how):
        """Begin a click that goes on until the gate is opened."""
        future = self.click(**how)
        assert self.network.begun.acquire(timeout=LONG)
        return future

    def open(self):
        self.network.gate.set()

    def end(self):
        self.open()
        self.scheduler.close()


@pytest.fixture
def rig():
    """Make a scheduler with limits of one's own; it is closed afterwards."""
    made = []

    def make(**how):
        made.append(Rig(**how))
        return made[-1]

    yield make
    for each in made:
        each.end()


def shown(masks):
    """All there is to see of an answer."""
    labels = None if masks.labels is None else masks.labels.tolist()
    return masks.runs, masks.scores.tolist(), masks.objects.tolist(), labels, masks.complete


def various(images):
    """Requests of all verbs: five about each image, and long ones about the first."""
    clicks = [[Points([(x, 5)]), POINT] for x in (1, 5, 9)]
    phrases = [["red"], ["blue", "red"]]
    grid = [Points([(x, y)]) for x in range(1, 14, 3) for y in range(1, 14, 3)]
    lawn = Points([(x % 14, x // 14) for x in range(0, 196, 2)])
    return [
        EverythingRequest(images[0], COARSE),
        SegmentRequest.of(images[0], grid, SegmentOptions(tidy=TidyOptions(max_iou=0.5))),
        SegmentRequest.of(images[1], [lawn] * 4),
        FindRequest.of(images[0], ["red", "blue", "a red", "red", "blue"]),
        *(SegmentRequest.of(image, prompts) for image in images for prompts in clicks),
        *(FindRequest.of(image, concepts) for image in images for concepts in phrases),
    ]


def test_hundreds_of_callers_get_what_they_would_get_alone():
    """300 requests of all verbs from 40 threads are answered as if each were the only one."""
    images = [painted(("red", 0, 0, 14, 8), ("blue", 0, 10, n, 14)) for n in (2, 4, 6, 8, 10)]
    requests = various(images)
    alone = [shown(masks) for masks in model_of(FakeBoth()).run(requests)]
    scheduler = model_of(FakeBoth()).scheduler(QueueLimits(waiting=300, waiting_each=300))

    def ask(number):
        request = requests[number % len(requests)]
        answer = scheduler.submit(request, client=str(number % 40)).result(LONG)
        return shown(answer.masks)

    with ThreadPoolExecutor(40) as callers:
        together = list(callers.map(ask, range(300)))
    scheduler.close()

    assert together == [alone[number % len(requests)] for number in range(300)]
    assert scheduler.load()[:3] == (0, 0, 0)


@pytest.mark.parametrize("named", [True, False])
def test_first_clicks_of_many_on_one_image_look_at_it_once(named):
    """16 threads that click on the same new image share one look at it."""
    network = FakeNetwork()
    scheduler = model_of(network).scheduler()
    ready = threading.Barrier(16)

    def click(_):
        image = painted(("red", 0, 0, 14, 8))
        ready.wait(LONG)
        name = Name("one image", "owner") if named else None
        return scheduler.submit(SegmentRequest.of(image, POINT), name=name).result(LONG)

    with ThreadPoolExecutor(16) as callers:
        answers = list(callers.map(click, range(16)))
    scheduler.close()

    assert network.encoded == [1]
    assert len({shown(answer.masks)[0] for answer in answers}) == 1


def test_what_waits_for_one_image_is_answered_together(rig):
    """While one is looked at, clicks on another gather, and are answered as one batch."""
    sizes = []
    rig = rig(on_batch=sizes.append, together=6)
    rig.busy()
    image = rig.image()
    clicks = [rig.click(image, client=str(number)) for number in range(8)]

    rig.open()
    wait(clicks, LONG)

    assert sizes == [1, 6, 2]


def test_a_caller_with_one_request_does_not_wait_for_one_with_a_hundred(rig):
    """Clients take turns, and the requests of each are answered in order."""
    rig = rig(waiting=200, waiting_each=200)
    order = []

    def click(client, number):
        future = rig.click(client=client)
        future.add_done_callback(lambda _: order.append((client, number)))
        return future

    rig.busy()
    asked = [click("many", number) for number in range(100)]
    asked.append(click("one", 0))
    rig.open()
    wait(asked, LONG)
    rig.scheduler.close()

    assert order.index(("one", 0)) == 1
    assert [number for client, number in order if client == "many"] == list(range(100))


def test_more_than_may_wait_are_refused_at_once(rig):
    """Beyond the bound a caller is told when to come again, though all is busy."""
    rig = rig(waiting=3)
    rig.busy()
    rig.click()
    rig.click()

    with pytest.raises(OverloadedError, match="3 requests wait or are worked on") as refused:
        rig.click()
    assert 1 <= refused.value.retry_after <= 60
    assert "Ask again in" in refused.value.hint
    rig.open()
    rig.scheduler.close()
    assert rig.scheduler.load() == Load(0, 0, 0, 0.0)


def test_one_caller_cannot_take_all_the_room(rig):
    """The bound of a client is its own: others are still taken on."""
    rig = rig(waiting_each=2)
    rig.busy(client="greedy")
    rig.click(client="greedy")

    with pytest.raises(OverloadedError, match="2 requests of this caller"):
        rig.click(client="greedy")
    with pytest.raises(OverloadedError, match="2 requests of this caller"):
        rig.scheduler.require_place("greedy")
    rig.scheduler.require_place("modest")
    assert not rig.click(client="modest").done()
    assert rig.scheduler.load()[:2] == (2, 1)


def test_the_images_that_wait_have_a_bound_together(rig):
    """One that several ask about counts once, and one by itself always has room."""
    rig = rig(image_bytes=14 * 14 * 3 * 2)
    image = rig.image()
    rig.busy(image=image)
    rig.click(image=image)
    second = rig.click()

    with pytest.raises(OverloadedError, match="all the memory that they may") as refused:
        rig.click()
    assert refused.value.retry_after
    second.cancel()
    assert not rig.click().done()


@pytest.mark.parametrize("image_bytes", [0, 1])
def test_an_image_by_itself_always_has_room(rig, image_bytes):
    """However little memory there is for images."""
    rig = rig(image_bytes=image_bytes)
    rig.open()

    assert rig.click().result(LONG).masks


def test_who_has_an_answer_may_ask_again(rig):
    """One after the other is never refused, with room for one alone."""
    rig = rig(waiting=1)
    rig.open()

    for _ in range(50):
        rig.click().result(LONG)


def test_a_deadline_is_told_while_all_is_busy(rig):
    """A request whose time is over ends then, though the one before it still goes on."""
    rig = rig()
    busy = rig.busy()
    patient, late = rig.click(seconds=float(LONG)), rig.click(seconds=0.02)

    with pytest.raises(DeadlineError, match=r"no answer after 0\.02 s"):
        late.result(LONG)
    assert not busy.done()
    rig.open()
    assert isinstance(patient.result(LONG), Answered)
    # The two that were answered, and nothing for the one that was late.
    assert rig.network.encoded == [1, 1]


def test_what_is_worked_on_ends_at_its_deadline_too(rig):
    """A request that takes too long ends in time, and its answer is dropped."""
    rig = rig()
    slow = rig.busy(seconds=0.02)

    with pytest.raises(DeadlineError):
        slow.result(LONG)
    assert rig.scheduler.load()[:2] == (0, 0)


def test_a_sooner_deadline_is_not_hidden_by_a_later_one(rig):
    """Who watches for a late deadline is woken for a sooner one; no time at all is late at once."""
    rig = rig()
    rig.busy(seconds=1e300)
    rig.click(seconds=20.0)

    for seconds in (0.02, 0.0, -1.0):
        with pytest.raises(DeadlineError):
            rig.click(seconds=seconds).result(LONG)


def test_what_is_cancelled_before_its_turn_is_never_begun(rig):
    """It leaves the queue at once, and what waits for it hears of it."""
    rig = rig(waiting=2)
    rig.busy()
    waiting = rig.click()

    assert waiting.cancel()
    assert wait([waiting], LONG).done == {waiting}
    rig.click().cancel()
    rig.end()
    assert rig.network.encoded == [1]


def test_what_is_cancelled_while_it_is_worked_on_harms_no_neighbour(rig):
    """Cancelling works until there is an answer; others about the same image get theirs."""
    rig = rig()
    rig.busy()
    image = rig.image()
    leaving, staying = rig.click(image), rig.click(image)
    rig.network.gate.set()
    assert rig.network.begun.acquire(timeout=LONG)
    was_cancelled = leaving.cancel()

    assert isinstance(staying.result(LONG), Answered)
    if was_cancelled:
        with pytest.raises(CancelledError):
            leaving.result(LONG)


def test_a_search_that_is_cancelled_goes_no_further(rig):
    """Between two steps a search that nobody waits for is dropped, and its image with it."""
    rig = rig()
    steps, gone = [], threading.Event()

    def leave(progress):
        steps.append(progress.done)
        if progress.done == 3:
            search.cancel()

    rig.busy()
    image = rig.image()
    seen = weakref.ref(image, lambda _: gone.set())
    gc.disable()
    try:
        search = rig.scheduler.submit(EverythingRequest(image, COARSE), progress=leave)
        del image
        rig.open()
        wait([search], LONG)
        assert gone.wait(LONG), seen()
    finally:
        gc.enable()
    assert steps == [1, 2, 3]


def test_a_late_search_goes_no_further(rig):
    """A search whose time is over ends, though it would have gone on."""
    rig = rig()
    rig.open()
    held = threading.Event()

    search = rig.search(seconds=0.05, progress=lambda _: held.wait(LONG))
    with pytest.raises(DeadlineError):
        search.result(LONG)
    held.set()
    assert isinstance(rig.click().result(LONG), Answered)


def test_a_click_does_not_wait_for_a_search_to_end(rig):
    """What is clicked while a search goes on is answered between two steps of it."""
    rig = rig()
    rig.open()
    clicks, answered = [], []

    def click(progress):
        answered.append([future.done() for future in clicks])
        if progress.done <= 2:
            clicks.append(rig.click())

    answer = rig.search(progress=click).result(LONG)

    assert answered[:4] == [[], [True], [True, True], [True, True]]
    assert len(answered) == 9
    assert answer.masks.complete


def test_a_search_goes_on_under_a_stream_of_clicks(rig):
    """However many clicks wait, a search has a step after every round of them."""
    rig = rig(waiting=300, waiting_each=300, together=2)
    events = []
    rig.busy()
    search = rig.search(progress=lambda _: events.append("step"))
    for _ in range(60):
        rig.click().add_done_callback(lambda _: events.append("click"))
    rig.open()
    search.result(LONG)
    rig.scheduler.close()

    steps = [place for place, event in enumerate(events) if event == "step"]
    assert len(steps) == 9
    assert max(np.diff(steps)) <= 3


@pytest.mark.parametrize(
    "ask",
    [
        lambda image: SegmentRequest.of(image, [POINT] * 20),
        lambda image: SegmentRequest.of(image, [Points([(7, 7)] * 100)] * 12),
        lambda image: FindRequest.of(image, ["red", "blue"] * 3),
    ],
)
def test_nobody_waits_for_the_whole_of_a_long_request(rig, ask):
    """A click that comes while its objects, or concepts, are answered has its turn in between."""
    rig = rig()
    network, ended = rig.network, []
    for name in ("decode", "find"):
        answer = getattr(network, name)

        def slow(*asked, answer=answer):
            time.sleep(0.02)
            return answer(*asked)

        setattr(network, name, slow)
    rig.open()
    long = rig.scheduler.submit(ask(rig.image()))
    long.add_done_callback(lambda _: ended.append("long"))
    assert network.begun.acquire(timeout=LONG)
    for _ in range(3):
        rig.click().result(LONG)
        ended.append("click")
    assert isinstance(long.result(LONG), Answered)

    assert ended[:2] == ["click", "click"]


def test_a_long_request_ends_between_two_of_its_objects(rig):
    """Where nobody waits for it any more the rest of them is left."""
    rig = rig()
    count = 200
    seen, decode = [], rig.network.decode

    def slow(*asked):
        seen.append(1)
        time.sleep(0.01)
        return decode(*asked)

    rig.network.decode = slow
    rig.open()
    long = rig.scheduler.submit(SegmentRequest.of(rig.image(), [POINT] * count), seconds=0.3)
    with pytest.raises(DeadlineError):
        long.result(LONG)
    rig.click().result(LONG)
    assert len(seen) < count


def test_few_searches_go_on_at_a_time_in_turn(rig):
    """Four searches take steps one after the other; a fifth begins when one has ended."""
    rig = rig()
    rig.busy()
    events = []
    searches = [
        rig.search(client=client, progress=lambda _, client=client: events.append(client))
        for client in "abcde"
    ]
    rig.open()
    wait(searches, LONG)

    assert events[:8] == list("abcdabcd")
    assert sorted(events[:36]) == sorted("abcd" * 9)
    assert events[36:] == list("e" * 9)


def test_the_answer_of_a_search_is_that_of_the_model(rig):
    """Step by step, between others, the same masks are found."""
    rig = rig()
    rig.open()
    image = rig.image()
    alone = model_of(FakeBoth()).everything(image, options=COARSE)

    answer = rig.scheduler.submit(EverythingRequest(image, COARSE)).result(LONG)

    assert shown(answer.masks) == shown(alone)
    assert min(answer.waited, answer.encode) >= 0
    assert answer.answer > 0


@pytest.mark.parametrize("everything", [True, False])
def test_a_request_that_fails_harms_no_neighbour(rig, caplog, everything):
    """An image at which the network fails is an error for those who asked about it alone."""
    rig = rig(failure=ValueError("nobody expected 0x7f"))
    rig.busy()
    request = EverythingRequest(POISON, COARSE) if everything else FindRequest.of(POISON, "red")
    bad, worse = rig.scheduler.submit(request), rig.click(POISON)
    good = rig.click()
    rig.open()

    for future in (bad, worse):
        failure = future.exception(LONG)
        assert type(failure) is PromptsegError
        assert str(failure) == "the query failed unexpectedly: ValueError"
    assert isinstance(good.result(LONG), Answered)
    assert "nobody expected" in caplog.text
    assert rig.scheduler.load().crashes == 0


def test_callers_do_not_share_an_error(rig):
    """Two that fail for one reason have an error each: who raises one changes no other."""
    rig = rig(failure=PromptError("too green", hint="Take another"))
    rig.open()
    first, second = (rig.click(POISON).exception(LONG) for _ in range(2))

    rig.network.gate.clear()
    rig.busy()
    together = [rig.click(POISON) for _ in range(2)]
    rig.open()
    third, fourth = (future.exception(LONG) for future in together)

    assert len({id(each) for each in (first, second, third, fourth)}) == 4
    assert {(type(each), str(each), each.hint) for each in (first, second, third, fourth)} == {
        (PromptError, "too green", "Take another")
    }


@pytest.mark.parametrize("everything", [True, False])
def test_a_crash_is_told_and_recovered_from(rig, caplog, everything):
    """What ends a thread ends what it had in hand; what waits, and what comes, is answered."""
    rig = rig(failure=SystemExit("enough"), together=1)
    rig.busy()
    request = EverythingRequest(POISON, COARSE) if everything else FindRequest.of(POISON, "red")
    lost, kept, long = rig.scheduler.submit(request), rig.click(), rig.search()
    rig.open()

    with pytest.raises(PromptsegError, match="failed unexpectedly"):
        lost.result(LONG)
    assert isinstance(kept.result(LONG), Answered)
    assert isinstance(long.result(LONG), Answered)
    assert isinstance(rig.click().result(LONG), Answered)
    assert rig.scheduler.load().crashes == 1
    assert [each.levelno for each in caplog.records] == [logging.CRITICAL]


def test_listeners_that_fail_harm_no_answer(rig, caplog):
    """Neither who is told of batches, nor of progress, nor of the answer, can end the thread."""

    def fail(_):
        raise OSError("gone")

    def leave(_):
        raise SystemExit

    rig = rig(on_batch=fail)
    rig.busy().add_done_callback(leave)
    search = rig.search(progress=fail)
    rig.open()

    assert isinstance(search.result(LONG), Answered)
    assert rig.scheduler.load().crashes == 0
    assert "who is told of the work failed" in caplog.text
    assert "who was told of an answer failed" in caplog.text


def taken_on(rig):
    """A click, or why there is none."""
    try:
        return rig.click()
    except OverloadedError as error:
        return error


def test_closing_answers_what_was_taken_on(rig):
    """Nothing is taken on any more, and everything that was is answered before closing returns."""
    rig = rig(waiting=10**6, waiting_each=10**6)
    asked = [rig.busy(), *(rig.click() for _ in range(5)), rig.search()]
    closing = threading.Thread(target=rig.scheduler.close)
    closing.start()
    while not isinstance(taken := taken_on(rig), OverloadedError):
        asked.append(taken)
    assert str(taken) == "no more requests are answered, this is closing"
    assert taken.retry_after == 1
    rig.open()
    closing.join(LONG)

    assert all(isinstance(future.result(0), Answered) for future in asked)
    assert not any(thread.is_alive() for thread in rig.scheduler._threads)


def test_closing_in_a_hurry_ends_what_has_no_answer(rig):
    """After its seconds closing ends all futures, though the network is still busy."""
    rig = rig()
    asked = [rig.busy(), rig.click(), rig.search(), rig.search()]

    rig.scheduler.close(seconds=0.0)

    for future in asked:
        with pytest.raises(OverloadedError, match="closing"):
            future.result(0)
    rig.open()
    rig.scheduler.close()


@pytest.mark.parametrize("seconds", [float("inf"), 1e300, None])
def test_closing_may_take_its_time(rig, seconds):
    """Longer than any system waits is as long as it takes."""
    rig = rig()
    rig.open()
    asked = rig.click()

    rig.scheduler.close(seconds=seconds)

    assert asked.result(0)


def test_closing_ends_searches_that_have_begun(rig):
    """A search is dropped where it is, and its caller told."""
    rig = rig()
    rig.open()
    held, begun = threading.Event(), threading.Event()

    def hold(_):
        begun.set()
        held.wait(LONG)

    search = rig.search(progress=hold)
    assert begun.wait(LONG)
    rig.scheduler.close(seconds=0.0)
    held.set()
    with pytest.raises(OverloadedError):
        search.result(LONG)
    rig.scheduler.close()
    assert not rig.scheduler._begun


def test_closing_under_load_ends_every_future(rig):
    """While 8 threads go on asking it is closed; all futures end, and nobody hangs."""
    rig = rig(waiting=50)
    rig.open()
    asked = []

    def go_on(client):
        while True:
            try:
                asked.append(rig.click(client=str(client)))
            except OverloadedError as error:
                if "closing" in str(error):
                    return

    with ThreadPoolExecutor(8) as callers:
        going = [callers.submit(go_on, number) for number in range(8)]
        while not asked:
            pass
        asked[0].result(LONG)
        rig.scheduler.close()
    assert [each.result(0) for each in going] == [None] * 8

    assert all(future.done() for future in asked)


def test_closing_from_a_callback_does_not_wait_for_itself(rig):
    """Who closes as soon as there is an answer gets away."""
    rig = rig()
    closed = threading.Event()
    busy, waiting = rig.busy(), rig.click()
    busy.add_done_callback(lambda _: (rig.scheduler.close(), closed.set()))
    rig.open()

    assert closed.wait(LONG)
    with pytest.raises(OverloadedError):
        waiting.result(LONG)


def test_a_program_ends_though_its_network_never_does(root):
    """Threads of a scheduler that nobody closed do not keep the interpreter."""
    ended = subprocess.run(
        [sys.executable, "-c", NEVER_ENDS],
        cwd=root / "tests",
        capture_output=True,
        text=True,
        timeout=LONG * 2,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "busy\nOverloadedError\n", "")


@pytest.mark.parametrize("ending", ["answer", "late", "cancel", "fail", "close"])
@pytest.mark.parametrize("everything", [True, False])
def test_nothing_holds_an_image_after_its_future_ended(rig, ending, everything):
    """Who keeps a future keeps its masks alone, also where there are none."""
    rig = rig(failure=PromptError("no") if ending == "fail" else None)
    image = POISON.copy() if ending == "fail" else rig.image()
    gone = threading.Event()
    seen = weakref.ref(image, lambda _: gone.set())
    rig.busy()
    request = EverythingRequest(image, COARSE) if everything else SegmentRequest.of(image, POINT)
    future = rig.scheduler.submit(request, seconds=0.02 if ending == "late" else None)
    del image, request

    if ending == "cancel":
        future.cancel()
    elif ending == "close":
        rig.scheduler.close(seconds=0.0)
    elif ending != "late":
        rig.open()
    wait([future], LONG)

    assert gone.wait(LONG), seen()
    assert future.done()


def test_what_is_no_request_is_refused(rig):
    """Wrong types are told at the door."""
    rig = rig()
    # Types that annotations state are checked in tests, before the door's own check.
    submit = partial(inspect.unwrap(Scheduler.submit), rig.scheduler)
    with pytest.raises(PromptError, match="takes a request, got str"):
        submit("red")
    for seconds in ("soon", float("nan")):
        with pytest.raises(ConfigError, match="`seconds` must be a number"):
            submit(SegmentRequest.of(rig.image(), POINT), seconds=seconds)
    with pytest.raises(ConfigError, match="`together` is at least 1, got 0"):
        QueueLimits(together=0)
    with pytest.raises(ConfigError, match="`limits` must be `QueueLimits`, got int"):
        inspect.unwrap(Scheduler.__init__)(rig.scheduler, rig.scheduler, 3)


def test_what_the_model_cannot_do_is_refused_at_once():
    """A click for a model that only finds, and the other way round, take no room."""
    image = painted(("red", 0, 0, 14, 8))
    finds, clicks = model_of(FakeFinder()).scheduler(), model_of(FakeNetwork()).scheduler()

    for request in (SegmentRequest.of(image, POINT), EverythingRequest(image, COARSE)):
        with pytest.raises(PromptError, match="only finds"):
            finds.submit(request)
    with pytest.raises(PromptError, match="knows no words"):
        clicks.submit(FindRequest.of(image, "red"))
    for scheduler in (finds, clicks):
        assert scheduler.load() == Load(0, 0, 0, 0.0)
        scheduler.close()


def test_a_request_for_nothing_is_answered_with_nothing(rig):
    """No prompts, no masks, no look at the image."""
    rig = rig()
    request = SegmentRequest.of(rig.image(), [])

    assert len(rig.scheduler.submit(request).result(LONG).masks) == 0
    assert rig.network.encoded == []


def test_the_pace_is_that_of_late():
    """Work that ends nothing yet counts when its request ends; older work counts less."""
    pace = Pace()
    assert pace.of(7) == 0

    pace.add(1.0, 0)
    pace.add(1.0, 4)
    assert pace.of(3) == pytest.approx(1.5)
    pace.add(0.1, 1)
    assert pace.of(1) == pytest.approx((0.9 * 2 + 0.1) / (0.9 * 4 + 1))


CLIENTS = st.sampled_from("abc")


@given(st.lists(CLIENTS | st.none() | st.integers(0, 9)))
def test_turns_are_those_of_a_round(moves):
    """A client is served when it is the one that was served, or came, longest ago."""
    turns, waiting, order = Turns(), [], []
    for number, move in enumerate(moves):
        if isinstance(move, str):
            turns.put(move, number)
            if move not in order:
                order.append(move)
            waiting.append((move, number))
        elif isinstance(move, int) and waiting:
            client, item = waiting.pop(move % len(waiting))
            turns.remove(client, item)
            turns.remove(client, item)
        elif move is None and waiting:
            client = order.pop(0)
            first = next(each for each in waiting if each[0] == client)
            waiting.remove(first)
            assert turns.first() == first[1]
            assert turns.take() == first[1]
            if any(each[0] == client for each in waiting):
                order.append(client)
        order = [client for client in order if any(each[0] == client for each in waiting)]
        assert len(turns) == len(waiting)
        assert sorted(turns) == sorted(item for _, item in waiting)
        assert bool(turns) == (turns.first() is not None)


MOVES = st.lists(
    st.tuples(st.sampled_from(["click", "search", "poison", "late"]), CLIENTS)
    | st.tuples(st.just("cancel"), st.integers(0, 30))
    | st.tuples(st.sampled_from(["open", "shut", "settle"]), st.none()),
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(MOVES, st.sampled_from([None, 0.0]), st.booleans())
def test_every_future_ends_once_whatever_happens(moves, seconds, crash):
    """Asked, cancelled, failed, late, crashed or closed: one end each, and never too many."""
    rig = Rig(
        failure=SystemExit() if crash else ValueError("no"), waiting=5, waiting_each=3, together=2
    )
    asked, ends, names = [], [], iter(range(1000))

    def take(request, **how):
        number = len(asked)
        load = rig.scheduler.load()
        assert load.waiting + load.working <= 5
        try:
            future = rig.scheduler.submit(request, name=Name(str(next(names))), **how)
        except OverloadedError:
            return
        asked.append(future)
        future.add_done_callback(lambda _: ends.append(number))

    for move, which in moves:
        if move in ("click", "late"):
            late = {"seconds": 0.001} if move == "late" else {}
            take(SegmentRequest.of(rig.image(), POINT), client=which, **late)
        elif move == "search":
            take(EverythingRequest(rig.image(), COARSE), client=which)
        elif move == "poison":
            take(FindRequest.of(POISON, "red"), client=which)
        elif move == "cancel" and asked:
            asked[which % len(asked)].cancel()
        elif move == "shut":
            rig.network.gate.clear()
        elif move == "open":
            rig.open()
        elif move == "settle" and rig.network.gate.is_set():
            wait(asked, LONG)
    if seconds is None:
        rig.open()
    rig.scheduler.close(seconds=seconds)
    assert all(future.done() for future in asked)
    rig.end()

    assert sorted(ends) == list(range(len(asked)))
    for future in asked:
        if not future.cancelled():
            error = future.exception(0)
            assert error is None or isinstance(error, PromptsegError)
    assert rig.scheduler.load()[:2] == (0, 0)
