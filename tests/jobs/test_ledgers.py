"""What a ledger promises, by example; both kinds of it keep to it."""

from __future__ import annotations

from contextlib import closing

import pytest
import redis_server
from ledger_rules import Clock

from promptseg.errors import JobError
from promptseg.jobs.job import Job, State
from promptseg.jobs.ledger import DIED, OUT_OF_TIME, Item, Outcome
from promptseg.jobs.redis_ledger import RedisLedger
from promptseg.jobs.sqlite_ledger import SqliteLedger

DONE = Outcome(State.DONE)
needs_redis = pytest.mark.skipif(redis_server.PROGRAM is None, reason=redis_server.MISSING)


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=[needs_redis])])
def ledger(request, tmp_path, socket_enabled):
    clock = Clock()
    if request.param == "sqlite":
        ledger = SqliteLedger(tmp_path / "jobs.db", clock=clock)
        with closing(ledger):
            yield ledger
        return
    server = redis_server.RedisServer(tmp_path)
    try:
        with closing(RedisLedger(server.address, clock=clock)) as ledger:
            yield ledger
    finally:
        server.kill()


def wait(ledger, seconds):
    ledger._clock.now += seconds


def begun(ledger, count, **said):
    """Submit a job of so many images, and list them."""
    name = ledger.submit(Job(inputs=("photos",), **said))
    listing = ledger.claim_listing(seconds=10)
    ledger.add(listing, [Item(f"{number}.png") for number in range(count)], seconds=10)
    ledger.listed(listing)
    return name


def numbers(claim):
    return [item.number for item in claim.items]


def test_a_key_names_one_job_until_it_is_forgotten(ledger):
    """The same job under the same key is one, another is refused, and owners share none."""
    job = Job(inputs=("photos",), key="monday")
    name = ledger.submit(job, owner="ann")
    assert ledger.submit(job, owner="ann") == name
    assert ledger.submit(job, owner="bob") != name
    with pytest.raises(JobError, match=f"the key `monday` was used for another job, `{name}`"):
        ledger.submit(Job(inputs=("films",), key="monday"), owner="ann")
    ledger.cancel(name)
    ledger.forget(name)
    assert ledger.submit(job, owner="ann") != name


def test_a_worker_that_comes_back_cannot_overwrite(ledger):
    """What an older claim says of an image is refused once another has it."""
    begun(ledger, 1)
    old = ledger.claim(most=1, seconds=10)
    wait(ledger, 12)
    assert ledger.claim(most=1, seconds=10) is None
    wait(ledger, 1)
    new = ledger.claim(most=1, seconds=10)
    assert new.token > old.token
    assert not ledger.extend(old, 10)
    assert not ledger.finish(old, 0, Outcome(State.DONE, result="old"))
    assert ledger.finish(new, 0, Outcome(State.DONE, result="new"))
    [entry] = ledger.entries(new.job)
    assert entry.outcome.result == "new"


def test_who_is_late_may_still_end_what_nobody_else_has(ledger):
    """A claim that has run out is good until somebody looks."""
    begun(ledger, 1)
    claim = ledger.claim(most=1, seconds=10)
    wait(ledger, 12)
    assert ledger.finish(claim, 0, DONE)


def test_an_image_that_kills_is_found_and_fails_alone(ledger):
    """After one crash each of a claim's images is alone, and only the one to blame is tried out."""
    name = begun(ledger, 6, attempts=2)
    ledger.claim(most=4, seconds=10)
    wait(ledger, 10)
    crashes = 0
    taken = []
    while (due := ledger.next_due(job=name)) is not None and not ledger.status(name).ended:
        wait(ledger, due)
        claim = ledger.claim(most=4, seconds=10)
        taken.append(numbers(claim))
        if numbers(claim) == [2]:
            crashes += 1
            wait(ledger, 10)
        else:
            for number in numbers(claim):
                ledger.finish(claim, number, DONE)
        ledger.status(name)
    assert taken == [[4, 5], [0], [1], [2], [3], [2]]
    assert crashes == 2
    status = ledger.status(name)
    assert (status.done, status.failed) == (5, 1)
    assert list(ledger.entries(name))[2].outcome == Outcome(State.FAILED, problems=(DIED,))


def test_images_that_are_given_back_keep_their_turn(ledger):
    """A worker that stops in good order blames nobody."""
    begun(ledger, 4)
    claim = ledger.claim(most=3, seconds=10)
    ledger.finish(claim, 1, DONE)
    ledger.release(claim)
    assert numbers(ledger.claim(most=4, seconds=10)) == [0, 2, 3]


def test_a_job_whose_images_rest_holds_up_no_other(ledger):
    """While an image waits for its next attempt, images of a less urgent job are taken."""
    first, second = begun(ledger, 1, priority=5), begun(ledger, 1)
    ledger.release(ledger.claim(most=1, seconds=10, job=first), reason="it hung")
    assert ledger.claim(most=1, seconds=10).job == second
    assert ledger.next_due(job=first) == 1.0


def test_a_worker_of_one_model_leaves_the_others(ledger):
    """Who has a model takes the jobs that name it or none, and is told of no others."""
    name = begun(ledger, 1, model="large")
    assert ledger.claim(most=1, seconds=10, model="small") is None
    assert ledger.next_due(model="small") is None
    assert ledger.next_due(model="large") == 0
    assert ledger.claim(most=1, seconds=10, model="large").job == name


def test_a_job_that_is_cancelled_while_listed_goes_on_where_it_was(ledger):
    """The lister is told; what it had found is cancelled, and after `retry` the rest is found."""
    name = ledger.submit(Job(inputs=("photos",)))
    listing = ledger.claim_listing(seconds=10)
    ledger.add(listing, [Item("a.png"), Item("b.png")], seconds=10)
    claim = ledger.claim(most=1, seconds=10)
    assert ledger.cancel(name).cancelled == 2
    assert [entry.outcome.state for entry in ledger.entries(name)] == [State.CANCELLED] * 2
    assert not ledger.add(listing, [Item("c.png")], seconds=10)
    assert not ledger.finish(claim, 0, DONE)
    assert ledger.retry(name).queued == 2
    assert list(ledger.entries(name)) == []
    again = ledger.claim_listing(seconds=10)
    assert again.known == 2
    assert not ledger.listed(listing)
    assert ledger.listed(again)
    assert numbers(ledger.claim(most=9, seconds=10)) == [0, 1]


def test_an_image_that_is_tried_anew_has_all_its_attempts(ledger):
    """What it did to workers before it failed is forgotten by `retry`."""
    name = begun(ledger, 1)
    ledger.release(ledger.claim(most=1, seconds=10), reason="it hung")
    wait(ledger, 1)
    claim = ledger.claim(most=1, seconds=10)
    assert claim.items[0].attempts == 1
    ledger.finish(claim, 0, Outcome(State.FAILED, problems=("it is no image",)))
    ledger.retry(name)
    assert ledger.claim(most=1, seconds=10).items[0].attempts == 0


def test_a_job_whose_time_is_over_fails_for_what_is_left(ledger):
    """What was done stays done; `retry` gives the rest the whole time again."""
    name = begun(ledger, 3, seconds=5)
    wait(ledger, 60)
    claim = ledger.claim(most=2, seconds=10)
    ledger.finish(claim, 0, DONE)
    wait(ledger, 5)
    status = ledger.status(name)
    assert (status.state, status.done, status.failed) == (State.DONE, 1, 2)
    assert [entry.outcome.problems for entry in ledger.entries(name)] == [
        (),
        (OUT_OF_TIME,),
        (OUT_OF_TIME,),
    ]
    assert ledger.retry(name).queued == 2
    wait(ledger, 60)
    claim = ledger.claim(most=9, seconds=10)
    assert [ledger.finish(claim, number, DONE) for number in numbers(claim)] == [True, True]
    assert ledger.status(name).done == 3


def test_the_end_is_reported_once_unless_its_reporter_dies(ledger):
    """A report that is not written in time is another's, and the first one is refused."""
    name = begun(ledger, 0)
    first = ledger.claim_reporting(seconds=10)
    assert (first.job, ledger.claim_reporting(seconds=10)) == (name, None)
    assert ledger.next_due() == 10
    wait(ledger, 10)
    second = ledger.claim_reporting(seconds=10)
    assert not ledger.extend(first, 10)
    assert not ledger.reported(first)
    assert ledger.reported(second)
    assert ledger.status(name).is_reported
    assert ledger.next_due() is None


def test_a_file_name_that_is_no_unicode_is_kept(ledger):
    """Names come back as the operating system gave them."""
    begun(ledger, 0)
    ledger.submit(Job(inputs=("photos",)))
    ledger.add(ledger.claim_listing(seconds=10), [Item("caf\udce9\n\0.png")], seconds=10)
    assert ledger.claim(most=1, seconds=10).items[0].item == Item("caf\udce9\n\0.png")


def test_a_name_that_cannot_be_written_is_one_sentence(ledger):
    """Half a letter of JSON is no crash."""
    for ask in (ledger.status, ledger.cancel, ledger.retry, ledger.forget):
        with pytest.raises(JobError):
            ask("\ud800")
    with pytest.raises(JobError):
        ledger.submit(Job(inputs=("photos",), key="\ud800"))
    assert ledger.jobs() == []


def test_more_images_than_a_page_are_gone_through(ledger):
    """All that has ended comes, in order, from any number on."""
    name = begun(ledger, 2500)
    ledger.cancel(name)
    assert [entry.number for entry in ledger.entries(name)] == list(range(2500))
    assert [entry.number for entry in ledger.entries(name, start=1999)] == list(range(1999, 2500))
