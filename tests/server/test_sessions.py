"""A session is a value; the store has it for its owner alone, and not for ever."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from fake_model import model_of
from fake_network import FakeNetwork
from promptseg.engine.digest import Name
from promptseg.engine.session import asking
from promptseg.errors import OverloadedError, PromptError, SessionError
from promptseg.options import SegmentOptions
from promptseg.prompts import Box, MaskHint, Points, Prompt
from promptseg.requests import SegmentRequest
from promptseg.server import drawing
from promptseg.server import sessions as store
from promptseg.server.drawing import State
from promptseg.server.pictures import Picture
from promptseg.server.quotas import QuotaError
from promptseg.server.sessions import Sessions

POINT = Prompt(points=Points([(7, 7)]))


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def state_of(*, owner="anna", side=14, **given):
    """Make a session's state on a white picture."""
    pixels = np.full((side, side, 3), 255, np.uint8)
    return State(picture=Picture(Name(f"white-{side}", owner), pixels), **given)


@pytest.fixture(scope="module")
def model():
    return model_of(FakeNetwork())


def add(model, state, new):
    """Do one step, as a route does it."""
    request = SegmentRequest(state.picture.pixels, (state.steps.asked(new),), asking(state.options))
    return state.answered(new, model.run([request])[0])


@pytest.mark.parametrize("options", [SegmentOptions(), SegmentOptions(all_candidates=True)])
def test_steps_answer_as_the_librarys_session(model, options):
    """The same prompts give the same masks, step by step and back."""
    state = state_of(options=options)
    twin = model.session(state.picture.pixels, options=options)
    hint = np.zeros((14, 14), bool)
    hint[2:9, 3:12] = True
    for new in (
        POINT,
        Prompt(points=Points([(1, 1)], labels=[0])),
        Prompt(box=Box(2, 2, 12, 12)),
        Prompt(points=Points([(12, 3)]), hint=MaskHint(hint)),
        Prompt(points=Points([(3, 12)])),
    ):
        state = add(model, state, new)
        masks = twin.add(new)
        assert state.masks.runs == masks.runs
        assert np.array_equal(state.masks.scores, masks.scores)
        assert state.masks.logits is None
        assert state.steps.prompt == twin.prompt
    for _ in range(6):
        state = state.undone()
        assert state.steps.prompt == twin.prompt if twin.undo() else not len(state.steps)


def test_an_accepted_object_makes_room_for_the_next(model):
    """The mask goes over with its label; the steps begin anew, from nothing."""
    state = add(model, state_of(), POINT)
    first = state.masks
    state = state.accept(label="cup", max_objects=2)
    assert len(state.masks) == len(state.steps) == 0
    state = add(model, state, Prompt(box=Box(0, 0, 4, 4))).accept(max_objects=2)
    assert state.accepted.labels.tolist() == ["cup", ""]
    assert state.accepted.objects.tolist() == [0, 1]
    assert state.accepted.runs[0] == first.runs[0]
    assert state.without(0).accepted.labels.tolist() == [""]
    for number in (-1, 2):
        with pytest.raises(SessionError, match="no such object"):
            state.without(number)


def test_what_is_not_there_is_not_accepted(model):
    """No mask at all, no such mask, or objects enough: refused, and nothing changes."""
    state = state_of(options=SegmentOptions(all_candidates=True))
    with pytest.raises(PromptError, match="there is no mask to accept"):
        state.accept(max_objects=1)
    state = add(model, state, POINT)
    with pytest.raises(PromptError, match="no mask 3 to accept, but 3 of them"):
        state.accept(mask=3, max_objects=1)
    second = state.masks.runs[1]
    state = state.accept(mask=1, max_objects=1)
    assert state.accepted.runs == (second,)
    with pytest.raises(PromptError, match="at most 1 objects"):
        add(model, state, POINT).accept(max_objects=1)


def test_objects_that_are_done_have_a_bound_in_bytes(model, monkeypatch):
    """Run lengths of more bytes are refused, and the steps stay."""
    state = add(model, state_of(), POINT)
    monkeypatch.setattr(drawing, "OBJECT_BYTES", 3 * state.masks.runs[0].counts.nbytes)
    state = add(model, state.accept(max_objects=9), POINT)
    with pytest.raises(PromptError, match="too intricate"):
        state.accept(max_objects=9)
    assert len(state.steps) == 1


def test_points_of_one_object_have_a_limit(model):
    """They are counted with those said before, and begin anew with the next object."""
    state = add(model, state_of(), Prompt(points=Points([(1, 1), (2, 2)])))
    state.require_room(POINT, max_points=3)
    with pytest.raises(PromptError, match="at most 2 points, and this makes 3"):
        state.require_room(POINT, max_points=2)
    state.accept(max_objects=1).require_room(POINT, max_points=1)


def test_old_steps_are_forgotten_where_they_are_too_many(model, monkeypatch):
    """The last steps stay, and what was said stays whole."""
    monkeypatch.setattr(drawing, "MOST_STEPS", 3)
    state = state_of()
    for x in range(5):
        state = add(model, state, Prompt(points=Points([(x, x)])))
    assert len(state.steps) == 3
    assert len(state.steps.prompt.points) == 5
    assert len(state.undone().undone().undone().steps) == 0


def test_steps_keep_only_so_many_bytes(model, monkeypatch):
    """A hint of 19600 bytes counts once for all steps that share it; the last step stays."""
    monkeypatch.setattr(drawing, "STEP_BYTES", 50_000)
    hint = np.ones((140, 140), bool)
    state = add(model, state_of(side=140), Prompt(hint=MaskHint(hint)))
    for _ in range(9):
        state = add(model, state, POINT)
    assert len(state.steps) == 10
    for _ in range(9):
        state = add(model, state, Prompt(hint=MaskHint(hint)))
    assert len(state.steps) == 2
    monkeypatch.setattr(drawing, "STEP_BYTES", 0)
    assert len(add(model, state, POINT).steps) == 1


def test_ids_cannot_be_guessed():
    """They are long, made of random bytes, and differ."""
    sessions = Sessions(1000, 60)
    names = {sessions.open("anna", state_of()) for _ in range(100)}
    assert len(names) == 100
    assert all(len(name) == 32 for name in names)


def test_an_owner_has_so_many_at_most():
    """One more is refused until one is closed; another owner has room."""
    sessions = Sessions(2, 60)
    first = sessions.open("anna", state_of())
    sessions.open("anna", state_of())
    with pytest.raises(QuotaError, match="2 sessions open, and 2 are allowed") as caught:
        sessions.open("anna", state_of())
    assert "Close one" in caught.value.hint
    sessions.open("ben", state_of(owner="ben"))
    sessions.close("anna", first)
    sessions.open("anna", state_of())
    assert len(sessions) == 3


@pytest.mark.parametrize("bound", [{"max_each": 2}, {"max_each": 9, "max_bytes": 2 * 588}])
def test_idle_sessions_give_way(bound):
    """A page that crashed locks nobody out: the idlest goes, and those that are in use stay."""
    clock = Clock()
    sessions = Sessions(seconds=1800, clock=clock, **bound)
    crashed, used = sessions.open("", state_of()), sessions.open("", state_of())
    clock.now = 30
    sessions.get("", used)
    clock.now = store.IDLE_SECONDS - 1
    with pytest.raises(QuotaError):
        sessions.open("", state_of())
    clock.now += 1
    latest = sessions.open("", state_of())
    assert [each.id for each in sessions.of_owner("")] == [used, latest]
    with pytest.raises(SessionError):
        sessions.get("", crashed)
    with pytest.raises(QuotaError):
        sessions.open("", state_of())


def test_idle_sessions_give_way_to_their_owner_alone():
    """Another owner is told that there is no room; and nothing goes where that would not do."""
    clock = Clock()
    sessions = Sessions(9, 1800, max_bytes=588, clock=clock)
    sessions.open("", state_of())
    clock.now = store.IDLE_SECONDS
    for owner, side in (("ben", 14), ("", 99)):
        with pytest.raises(OverloadedError, match="all the memory"):
            sessions.open(owner, state_of(owner=owner, side=side))
    assert len(sessions) == 1


def test_a_session_at_work_gives_way_to_none():
    """However long its answer takes."""
    clock = Clock()
    sessions = Sessions(1, 1800, clock=clock)
    name = sessions.open("anna", state_of())

    async def work():
        async with sessions.turn("anna", name):
            clock.now = 600
            with pytest.raises(QuotaError):
                sessions.open("anna", state_of())

    asyncio.run(work())
    assert sessions.open("anna", state_of()) != name


def test_images_take_so_many_bytes_at_most():
    """588 bytes each; who has none yet is told that the service is full, others to close one."""
    sessions = Sessions(10, 60, max_bytes=2 * 588)
    shared = state_of(owner="")
    for _ in range(3):
        sessions.open("", shared)
    assert sessions.bytes == 588
    sessions.open("", state_of(owner=""))
    with pytest.raises(QuotaError, match="all the memory"):
        sessions.open("", state_of(owner=""))
    with pytest.raises(OverloadedError, match="all the memory") as caught:
        sessions.open("ben", state_of(owner="ben"))
    assert not isinstance(caught.value, QuotaError)
    assert len(sessions) == 4


def test_one_of_several_owners_takes_half_of_the_memory():
    """With keys in use there is room for others, whatever one opens; one image always has room."""
    sessions = Sessions(10, 60, max_bytes=4 * 588)
    for _ in range(2):
        sessions.open("anna", state_of())
    with pytest.raises(QuotaError, match="your open sessions take all the memory"):
        sessions.open("anna", state_of())
    sessions.open("ben", state_of(owner="ben"))
    alone = Sessions(10, 60, max_bytes=588)
    alone.open("anna", state_of())
    assert alone.bytes == 588


def test_steps_and_objects_are_memory_too(model):
    """What a session keeps beside its image counts: logits, run lengths, points and hints."""
    sessions = Sessions(9, 60)
    name = sessions.open("anna", state_of())
    state = add(model, sessions.get("anna", name), POINT)
    sessions.put("anna", name, state)
    [step] = state.steps.taken
    point = step.prompt.points
    kept = step.logits.nbytes + point.coordinates.nbytes + point.labels.nbytes
    runs = 3 * sum(run.counts.nbytes for run in state.masks.runs)
    assert sessions.bytes == 588 + kept + runs
    hinted = add(model, state_of(), Prompt(hint=MaskHint(np.ones((14, 14), bool))))
    shape = 3 * hinted.masks.runs[0].counts.nbytes
    assert hinted.bytes == 14 * 14 + hinted.steps.taken[0].logits.nbytes + shape
    sessions.put("anna", name, state.accept(max_objects=1))
    assert sessions.bytes == 588 + runs
    sessions.put("anna", name, state_of())
    assert sessions.bytes == 588


def test_where_memory_is_short_early_steps_are_forgotten(model):
    """The answer stays true, and undo goes less far back; without room for it nothing changes."""
    first = add(model, state_of(), POINT)
    one = first.bytes
    sessions = Sessions(9, 60, max_bytes=588 + 3 * one)
    name, state = sessions.open("anna", state_of()), first
    for _ in range(4):
        sessions.put("anna", name, state)
        state = add(model, sessions.get("anna", name), POINT)
    assert 1 <= len(sessions.get("anna", name).steps) < 4
    assert sessions.bytes <= sessions.max_bytes
    assert sessions.get("anna", name).steps.prompt.points.coordinates.tolist() == [[7, 7]] * 4

    tight = Sessions(9, 60, max_bytes=588 + one - 1)
    name = tight.open("anna", state_of())
    with pytest.raises(OverloadedError, match="all the memory"):
        tight.put("anna", name, first)
    assert len(tight.get("anna", name).steps) == 0
    tight.close("anna", name)
    tight.max_bytes = None
    name = tight.open("anna", first)
    tight.max_bytes = 588
    tight.put("anna", name, first.undone())
    assert tight.bytes == 588


def test_a_step_keeps_no_more_than_it_counts(model):
    """The logits of the other candidates are not kept along with those of the best."""
    state = add(model, state_of(options=SegmentOptions(all_candidates=True)), POINT)
    assert state.steps.taken[0].logits.base is None


def test_an_idle_session_is_closed():
    """Being asked for keeps one open, being listed does not."""
    clock = Clock()
    sessions = Sessions(9, 10, clock=clock)
    kept, idle = sessions.open("anna", state_of()), sessions.open("anna", state_of())
    clock.now = 9
    sessions.get("anna", kept)
    assert [each.expires_in for each in sessions.of_owner("anna")] == [10, 1]
    clock.now = 10
    with pytest.raises(SessionError):
        sessions.get("anna", idle)
    assert [each.id for each in sessions.of_owner("anna")] == [kept]
    clock.now = 19
    sessions.expire()
    assert sessions.bytes == 0


def test_a_session_at_work_is_not_closed():
    """However long an answer takes, the session is there when it comes."""
    clock = Clock()
    sessions = Sessions(9, 10, clock=clock)
    name = sessions.open("anna", state_of())

    async def work():
        async with sessions.turn("anna", name):
            clock.now = 99
            sessions.expire()
            sessions.put("anna", name, state_of())

    asyncio.run(work())
    assert len(sessions) == 1


def test_unknown_and_others_are_refused_alike():
    """Nothing tells whether there is such a session."""
    sessions = Sessions(9, 60)
    name = sessions.open("anna", state_of())
    said = set()
    for owner, asked in (("ben", name), ("anna", "x"), ("", name), ("ben", "")):
        for do in (sessions.get, sessions.close, lambda *who: sessions.put(*who, state_of())):
            with pytest.raises(SessionError) as caught:
                do(owner, asked)
            said.add((str(caught.value), caught.value.hint))
    assert len(said) == 1
    assert sessions.get("anna", name).picture.name.owner == "anna"


def test_turns_are_taken_one_after_another():
    """Steps of one session never overlap; too many that wait are refused."""
    sessions = Sessions(9, 60)
    name = sessions.open("anna", state_of())
    inside, order = [], []

    async def step(number):
        async with sessions.turn("anna", name):
            inside.append(number)
            assert inside == [number]
            await asyncio.sleep(0)
            order.append(inside.pop())

    async def many():
        steps = [step(number) for number in range(store.MOST_WAITING + 3)]
        return await asyncio.gather(*steps, return_exceptions=True)

    refused = [error for error in asyncio.run(many()) if error is not None]
    assert len(refused) == 2
    assert all(isinstance(error, OverloadedError) for error in refused)
    assert order == list(range(store.MOST_WAITING + 1))


def test_who_waits_for_a_session_that_is_closed_is_told():
    """A step that comes after the end is refused, and lets the next one be refused too."""
    sessions = Sessions(9, 60)
    name = sessions.open("anna", state_of())

    async def step():
        async with sessions.turn("anna", name):
            pytest.fail("the session is closed")

    async def closing():
        async with sessions.turn("anna", name):
            waiting = [asyncio.create_task(step()) for _ in range(3)]
            await asyncio.sleep(0)
            sessions.close("anna", name)
            with pytest.raises(SessionError):
                sessions.put("anna", name, state_of())
        return await asyncio.gather(*waiting, return_exceptions=True)

    assert [type(error) for error in asyncio.run(closing())] == [SessionError] * 3


class Store(RuleBasedStateMachine):
    """The store beside a plain list of who opened what, and when it was last asked for."""

    owners = st.sampled_from(["anna", "ben", "carl"])
    places = st.integers(0, 20)

    def __init__(self):
        super().__init__()
        self.clock = Clock()
        self.sessions = Sessions(3, 10, clock=self.clock)
        self.opened = []  # name, owner, state
        self.used = {}  # of those that are open

    def open_ones(self, owner=None):
        now = self.clock.now
        return [
            (name, whose, state)
            for name, whose, state in self.opened
            if name in self.used and now - self.used[name] < 10 and owner in (None, whose)
        ]

    @rule(owner=owners)
    def open(self, owner):
        state = state_of(owner=owner, side=1)
        if len(self.open_ones(owner)) == 3:
            with pytest.raises(QuotaError):
                self.sessions.open(owner, state)
            return
        name = self.sessions.open(owner, state)
        self.opened.append((name, owner, state))
        self.used[name] = self.clock.now

    @rule(owner=owners, place=places)
    def get(self, owner, place):
        for name, _, state in self.opened[place : place + 1]:
            if any(name == each for each, _, _ in self.open_ones(owner)):
                assert self.sessions.get(owner, name) is state
                self.used[name] = self.clock.now
            else:
                with pytest.raises(SessionError):
                    self.sessions.get(owner, name)

    @rule(owner=owners, place=places)
    def close(self, owner, place):
        for name, _, _ in self.opened[place : place + 1]:
            if any(name == each for each, _, _ in self.open_ones(owner)):
                self.sessions.close(owner, name)
                del self.used[name]
            else:
                with pytest.raises(SessionError):
                    self.sessions.close(owner, name)

    @rule(seconds=st.integers(1, 7))
    def wait(self, seconds):
        self.clock.now += seconds

    @invariant()
    def each_sees_its_own(self):
        for owner in ("anna", "ben", "carl"):
            listed = [(each.id, owner, each.state) for each in self.sessions.of_owner(owner)]
            assert listed == self.open_ones(owner)


TestStore = Store.TestCase
TestStore.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
