"""A ledger of plain lists, with no care for speed: what the others are compared with."""

from __future__ import annotations

from types import SimpleNamespace

from promptseg.errors import JobError
from promptseg.jobs.job import State
from promptseg.jobs.ledger import (
    DIED,
    OUT_OF_TIME,
    Claim,
    Claimed,
    Entry,
    Listing,
    Outcome,
    Reporting,
    Status,
)


class PlainLedger:
    """As `Ledger`, but for `submit`, which is told the id."""

    def __init__(self, clock):
        self.clock = clock
        self.all = []
        self.token = 0

    def submit(self, job, *, owner, name):
        for other in self.all:
            if job.key is not None and (other.owner, other.asked.key) == (owner, job.key):
                if other.asked != job:
                    raise JobError(f"the key `{job.key}` was used for another job, `{other.id}`")
                return other.id
        self.all.append(
            SimpleNamespace(
                id=name,
                owner=owner,
                asked=job,
                items=[],
                is_listed=False,
                is_cancelled=False,
                is_reported=False,
                holder=None,
                held_until=0,
                submitted=self.clock(),
                started=None,
                deadline=None,
                ended=None,
                problems=(),
            )
        )
        return name

    def claim_listing(self, *, seconds):
        self.settle()
        for job in self.in_turn():
            if not job.is_listed and job.ended is None and job.held_until <= self.clock():
                self.hold(job, seconds)
                return Listing(job.id, job.asked, self.token, len(job.items), job.held_until)
        return None

    def add(self, listing, items, *, seconds):
        job = self.held_by(listing)
        if job is None:
            return False
        job.held_until = self.clock() + seconds
        for item in items:
            entry = SimpleNamespace(number=len(job.items), item=item, outcome=None, token=None)
            job.items.append(entry)
            anew(entry)
        return True

    def listed(self, listing, problems=()):
        job = self.held_by(listing)
        if job is None:
            return False
        job.is_listed = True
        job.problems = tuple(problems)
        self.end_if_over(job)
        return True

    def claim(self, *, most, seconds, model=None, job=None):
        self.settle()
        for each in self.in_turn():
            if each.ended is not None or not fits(each, model, job):
                continue
            waiting = [item for item in each.items if is_queued(item) and item.due <= self.clock()]
            fresh = [item for item in waiting if item.due == 0][:most]
            taken = fresh or sorted(waiting, key=lambda item: (item.due, item.number))[:1]
            if taken:
                return self.take(each, taken, seconds)
        return None

    def take(self, job, taken, seconds):
        self.token += 1
        until = self.clock() + seconds
        for item in taken:
            item.token, item.until, item.is_alone = self.token, until, len(taken) == 1
        if job.started is None:
            job.started = self.clock()
        if job.deadline is None and job.asked.seconds is not None:
            job.deadline = self.clock() + job.asked.seconds
        items = tuple(Claimed(item.number, item.item, item.attempts) for item in taken)
        return Claim(job.id, job.asked, self.token, items, until)

    def claim_reporting(self, *, seconds):
        self.settle()
        for job in self.all:
            if job.ended is not None and not job.is_reported and job.held_until <= self.clock():
                self.hold(job, seconds)
                return Reporting(job.id, job.asked, self.token, job.held_until)
        return None

    def reported(self, reporting):
        job = self.held_by(reporting)
        if job is None:
            return False
        job.is_reported = True
        return True

    def extend(self, claim, seconds):
        until = self.clock() + seconds
        if isinstance(claim, Claim):
            held = self.running(claim.token)
            for item in held:
                item.until = until
            return bool(held)
        job = self.held_by(claim)
        if job is None:
            return False
        job.held_until = until
        return True

    def finish(self, claim, number, outcome):
        for item in self.running(claim.token):
            if item.number == number:
                item.outcome, item.token = outcome, None
                self.end_if_over(self.find(claim.job))
                return True
        return False

    def release(self, claim, *, reason=None):
        if isinstance(claim, Claim):
            self.give_back(claim.token, reason)
            return
        job = self.held_by(claim)
        if job is not None:
            job.holder, job.held_until = None, 0

    def status(self, job, *, owner=None):
        found = self.find(job)
        if owner not in (None, found.owner):
            raise JobError(f"there is no job `{job}`")
        self.settle()
        return status_of(found)

    def jobs(self, *, owner=None):
        self.settle()
        return [status_of(job) for job in reversed(self.all) if owner in (None, job.owner)]

    def entries(self, job, *, start=0):
        for item in self.find(job).items[start:]:
            if item.outcome is not None:
                yield Entry(item.number, item.item, item.outcome)

    def cancel(self, job):
        found = self.find(job)
        if found.ended is None:
            found.is_cancelled = True
            self.end_rest(found, Outcome(State.CANCELLED))
        return status_of(found)

    def retry(self, job):
        found = self.find(job)
        lost = [item for item in found.items if state_of(item) in (State.FAILED, State.CANCELLED)]
        if found.ended is not None and (lost or not found.is_listed):
            found.ended = found.deadline = found.holder = None
            found.is_cancelled = False
            found.held_until = 0
        for item in lost:
            anew(item)
        return status_of(found)

    def forget(self, job):
        found = self.find(job)
        if found.ended is None:
            raise JobError(f"the job `{job}` has not ended")
        self.all.remove(found)

    def overdue(self):
        return [
            job.id
            for job in self.all
            if job.ended is not None
            and job.asked.keep_seconds is not None
            and job.ended + job.asked.keep_seconds <= self.clock()
        ]

    def next_due(self, *, model=None, job=None):
        due = []
        for each in self.all:
            if job not in (None, each.id):
                continue
            if each.ended is None and fits(each, model, job):
                due += [item.due if is_queued(item) else item.until for item in open_of(each)]
            if each.ended is None and each.deadline is not None:
                due.append(each.deadline)
            if (each.ended is None and not each.is_listed) or (
                each.ended is not None and not each.is_reported
            ):
                due.append(each.held_until)
        return max(min(due) - self.clock(), 0) if due else None

    def find(self, name):
        for job in self.all:
            if job.id == name:
                return job
        raise JobError(f"there is no job `{name}`")

    def in_turn(self):
        return sorted(self.all, key=lambda job: -job.asked.priority)

    def hold(self, job, seconds):
        self.token += 1
        job.holder, job.held_until = self.token, self.clock() + seconds

    def held_by(self, held):
        for job in self.all:
            if job.holder == held.token:
                if isinstance(held, Listing):
                    still = not job.is_listed and job.ended is None
                else:
                    still = not job.is_reported and job.ended is not None
                return job if still else None
        return None

    def running(self, token):
        return [
            item
            for job in self.all
            for item in open_of(job)
            if item.token is not None and item.token == token
        ]

    def settle(self):
        late = {
            item.token
            for job in self.all
            for item in open_of(job)
            if item.token is not None and item.until <= self.clock()
        }
        for token in late:
            self.give_back(token, DIED)
        for job in self.all:
            if job.ended is None and job.deadline is not None and job.deadline <= self.clock():
                self.end_rest(job, Outcome(State.FAILED, problems=(OUT_OF_TIME,)))

    def give_back(self, token, why):
        for item in self.running(token):
            item.token = None
            if why is None:
                continue
            item.attempts += item.is_alone
            [job] = [job for job in self.all if any(each is item for each in job.items)]
            if item.attempts >= job.asked.attempts:
                item.outcome = Outcome(State.FAILED, problems=(why,))
            else:
                pause = 2 ** (item.attempts - 1) if item.attempts else 0
                item.due = self.clock() + min(pause, 60)
        for job in self.all:
            self.end_if_over(job)

    def end_rest(self, job, outcome):
        for item in open_of(job):
            anew(item)
            item.outcome = outcome
        self.end(job)

    def end_if_over(self, job):
        if job.is_listed and not open_of(job):
            self.end(job)

    def end(self, job):
        if job.ended is None:
            job.ended = self.clock()
            job.holder, job.held_until, job.is_reported = None, 0, False


def anew(item):
    item.token = item.outcome = None
    item.due = item.attempts = 0


def is_queued(item):
    return item.outcome is None and item.token is None


def open_of(job):
    return [item for item in job.items if item.outcome is None]


def fits(job, model, name):
    return job.asked.model in (None, model) and name in (None, job.id)


def state_of(item):
    if item.outcome is not None:
        return item.outcome.state
    return State.QUEUED if item.token is None else State.RUNNING


def status_of(job):
    states = [state_of(item) for item in job.items]
    counts = {state.value: states.count(state) for state in State}
    if job.ended is None:
        state = State.QUEUED if job.started is None else State.RUNNING
    elif job.is_cancelled:
        state = State.CANCELLED
    else:
        state = State.DONE if counts["done"] else State.FAILED
    return Status(
        id=job.id,
        owner=job.owner,
        job=job.asked,
        state=state,
        is_listed=job.is_listed,
        is_reported=job.is_reported and job.ended is not None,
        submitted=job.submitted,
        started=job.started,
        ended=job.ended,
        problems=job.problems,
        **counts,
    )
