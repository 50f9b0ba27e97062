"""What may happen to a ledger, in any order; a plain one says what has to come of it."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    multiple,
    precondition,
    rule,
)
from plain_ledger import PlainLedger

from promptseg.errors import JobError
from promptseg.jobs.job import Job, State
from promptseg.jobs.ledger import Item, Outcome

# Jobs at a time, so that steps meet.
FEW = 4
QUERIES = ({"verb": "find", "text": "cat"},)
SECONDS = st.sampled_from([2.0, 11.0])
STEPS = settings(max_examples=100, stateful_step_count=60, deadline=None)
MANY_STEPS = settings(STEPS, max_examples=1000, stateful_step_count=80)
MODELS = st.sampled_from([None, "one", "two"])
OUTCOMES = st.sampled_from(
    [
        Outcome(State.DONE, result="7f.json", files={"a.png": "7f.png"}),
        Outcome(State.FAILED, problems=("it is no image", "ä \udc80")),
        Outcome(State.CANCELLED),
    ]
)
JOBS = st.builds(
    Job,
    inputs=st.just(("photos",)),
    queries=st.just(QUERIES),
    model=MODELS,
    priority=st.integers(0, 1),
    attempts=st.integers(1, 3),
    seconds=st.sampled_from([None, None, 20.0]),
    keep_seconds=st.sampled_from([None, 15.0]),
    key=st.sampled_from([None, None, "a", "b"]),
)


class Clock:
    """Seconds that go by when a test says so."""

    def __init__(self):
        self.now = 1_800_000_000.0

    def __call__(self):
        return self.now


class LedgerRules(RuleBasedStateMachine):
    """Every step is taken with both ledgers, and has to give the same; tokens only grow."""

    names = Bundle("names")
    listings = Bundle("listings")
    claims = Bundle("claims")
    reportings = Bundle("reportings")

    def __init__(self):
        super().__init__()
        self.clock = Clock()
        self.plain = PlainLedger(self.clock)
        self.real = self.open(self.clock)
        self.token = 0
        # Who has an image by the latest claim on it, and until when.
        self.holders = {}

    def open(self, clock):
        raise NotImplementedError

    def teardown(self):
        self.look()
        self.real.close()

    def both(self, step):
        """Take a step with both, and return what both give."""
        real, plain = outcome_of(step, self.real), outcome_of(step, self.plain)
        if isinstance(real, JobError):
            assert isinstance(plain, JobError), real
            assert str(real) == str(plain)
        else:
            assert real == plain
        return real

    def held(self, step):
        """Take something on with both; a pair of what each gives, or nothing."""
        real, plain = step(self.real), step(self.plain)
        if real is None:
            assert plain is None
            return multiple()
        assert real._replace(token=0) == plain._replace(token=0)
        assert real.token > self.token
        self.token = real.token
        return real, plain

    @precondition(lambda self: len(self.plain.all) < FEW)
    @rule(target=names, job=JOBS, owner=st.sampled_from(["", "ann"]))
    def submit(self, job, owner):
        real = outcome_of(lambda ledger: ledger.submit(job, owner=owner), self.real)
        name = real if isinstance(real, str) else None
        plain = outcome_of(lambda ledger: ledger.submit(job, owner=owner, name=name), self.plain)
        assert str(real) == str(plain)
        return multiple() if name is None else name

    @rule(seconds=st.sampled_from([1.0, 2.0, 3.0, 20.0, 70.0]))
    def wait(self, seconds):
        self.clock.now += seconds

    @rule(target=listings, seconds=SECONDS)
    def claim_listing(self, seconds):
        return self.held(lambda ledger: ledger.claim_listing(seconds=seconds))

    @rule(pair=listings, count=st.integers(0, 5), seconds=SECONDS)
    def add(self, pair, count, seconds):
        items = [Item(f"{each}\udc80.png", QUERIES if each % 2 else None) for each in range(count)]
        real = self.real.add(pair[0], items, seconds=seconds)
        assert real == self.plain.add(pair[1], items, seconds=seconds)

    @rule(pair=listings, problems=st.sampled_from([(), ("there is no `a`",)]))
    def listed(self, pair, problems):
        assert self.real.listed(pair[0], problems) == self.plain.listed(pair[1], problems)

    @initialize(target=names, jobs=st.lists(JOBS, min_size=1, max_size=2))
    def begin(self, jobs):
        """Have something to claim."""
        return multiple(*[self.begin_one(replace(job, key=None)) for job in jobs])

    @precondition(lambda self: len(self.plain.all) < FEW)
    @rule(target=names, job=JOBS)
    def begin_one(self, job):
        name = self.submit(replace(job, key=None), "")
        pair = self.claim_listing(11.0)
        if isinstance(pair, tuple):
            self.add(pair, 5, 11.0)
            self.listed(pair, ())
        return name

    @rule(target=claims, most=st.integers(1, 4), seconds=SECONDS, model=MODELS)
    def claim(self, most, seconds, model):
        pair = self.held(lambda ledger: ledger.claim(most=most, seconds=seconds, model=model))
        self.note(pair)
        return pair

    @rule(target=claims, name=names, most=st.integers(1, 4), model=MODELS)
    def claim_of(self, name, most, model):
        pair = self.held(lambda ledger: ledger.claim(most=most, seconds=5.0, model=model, job=name))
        self.note(pair)
        return pair

    @rule(target=claims, most=st.integers(1, 3), seconds=st.sampled_from([6.0, 7.0, 40.0]))
    def claim_and_die(self, most, seconds):
        """Take images on, and say no more."""
        pair = self.claim(most, 2.0, "one")
        self.wait(seconds)
        self.look()
        return pair

    @rule(target=claims, most=st.integers(1, 3), outcome=OUTCOMES)
    def claim_twice(self, most, outcome):
        """Come back from the dead when another has what one had."""
        first = self.claim(most, 2.0, "one")
        self.wait(70.0)
        second = self.claim(most, 2.0, "one")
        if isinstance(first, tuple):
            self.finish_all(first, outcome)
        return multiple(*[pair for pair in (first, second) if isinstance(pair, tuple)])

    @rule(target=claims, outcome=OUTCOMES)
    def claim_and_finish(self, outcome):
        pair = self.claim(3, 2.0, "one")
        if isinstance(pair, tuple):
            self.finish_all(pair, outcome)
        return pair

    def note(self, pair):
        """No claim has what another one holds."""
        if isinstance(pair, tuple):
            for item in pair[0].items:
                place = (pair[0].job, item.number)
                assert self.holders.get(place, 0) <= self.clock.now
                self.holders[place] = pair[0].until

    @rule(pair=claims, seconds=SECONDS)
    def extend(self, pair, seconds):
        is_held = self.real.extend(pair[0], seconds)
        assert is_held == self.plain.extend(pair[1], seconds)
        for item in self.plain.running(pair[1].token):
            self.holders[pair[0].job, item.number] = self.clock.now + seconds

    @rule(pair=claims, which=st.integers(0, 3), outcome=OUTCOMES)
    def finish(self, pair, which, outcome):
        number = pair[0].items[which % len(pair[0].items)].number
        ends = self.real.finish(pair[0], number, outcome)
        assert ends == self.plain.finish(pair[1], number, outcome)
        if ends:
            self.holders.pop((pair[0].job, number))

    @rule(pair=consumes(claims), outcome=OUTCOMES)
    def finish_all(self, pair, outcome):
        for which in range(len(pair[0].items)):
            self.finish(pair, which, outcome)

    @rule(pair=st.one_of(claims, listings), reason=st.sampled_from([None, "it hung"]))
    def release(self, pair, reason):
        for item in self.plain.running(pair[1].token):
            self.holders.pop((pair[0].job, item.number), None)
        self.real.release(pair[0], reason=reason)
        self.plain.release(pair[1], reason=reason)

    @rule(target=reportings, seconds=SECONDS)
    def claim_reporting(self, seconds):
        return self.held(lambda ledger: ledger.claim_reporting(seconds=seconds))

    @rule(pair=reportings, seconds=SECONDS)
    def extend_reporting(self, pair, seconds):
        assert self.real.extend(pair[0], seconds) == self.plain.extend(pair[1], seconds)

    @rule(pair=reportings)
    def reported(self, pair):
        assert self.real.reported(pair[0]) == self.plain.reported(pair[1])

    @rule(pair=consumes(reportings))
    def release_reporting(self, pair):
        self.real.release(pair[0])
        self.plain.release(pair[1])

    @rule(name=names)
    def cancel(self, name):
        self.both(lambda ledger: ledger.cancel(name))
        self.holders = {place: until for place, until in self.holders.items() if place[0] != name}

    @rule(name=names)
    def cancel_and_retry(self, name):
        self.cancel(name)
        self.look()
        self.retry(name)
        self.look()

    @rule(name=names)
    def retry(self, name):
        self.both(lambda ledger: ledger.retry(name))
        self.forget_holders()

    @rule(name=names)
    def forget(self, name):
        self.both(lambda ledger: ledger.forget(name))

    @rule(model=MODELS)
    def next_due(self, model):
        self.both(lambda ledger: ledger.next_due(model=model))

    @rule(name=names, model=MODELS)
    def next_due_of(self, name, model):
        self.both(lambda ledger: ledger.next_due(model=model, job=name))

    @rule()
    def overdue(self):
        self.both(lambda ledger: sorted(ledger.overdue()))

    @rule(name=names, owner=st.sampled_from([None, "", "ann"]))
    def status(self, name, owner):
        status = self.both(lambda ledger: ledger.status(name, owner=owner))
        if not isinstance(status, JobError):
            # What was out of time has been given back by now.
            self.forget_holders()

    @rule()
    def look(self):
        """All jobs stand alike, and every image that has ended is there once."""
        for status in self.both(lambda ledger: ledger.jobs()):
            entries = self.both(lambda ledger, name=status.id: list(ledger.entries(name)))
            assert [entry.number for entry in entries] == sorted({each.number for each in entries})
            assert len(entries) == status.done + status.failed + status.cancelled
            self.both(lambda ledger, name=status.id: list(ledger.entries(name, start=2)))
        self.both(lambda ledger: ledger.jobs(owner="ann"))
        self.forget_holders()

    def forget_holders(self):
        running = {
            (job.id, item.number) for job in self.plain.all for item in job.items if item.token
        }
        self.holders = {place: each for place, each in self.holders.items() if place in running}


def outcome_of(step, ledger):
    try:
        return step(ledger)
    except JobError as error:
        return error
