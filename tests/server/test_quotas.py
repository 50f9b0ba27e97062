"""An owner asks so often and so much at a time as its key allows, and others never notice."""

from __future__ import annotations

import threading
from contextlib import ExitStack, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptseg.errors import AccessError, OverloadedError
from promptseg.server.keys import Caller
from promptseg.server.quotas import ADDRESSES, TRIES, QuotaError, Quotas

ANNA = Caller("anna", rate=2.0)
BEN = Caller("ben", at_once=2)


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def quotas(clock):
    return Quotas(clock=clock)


def asked(quotas, caller):
    """Ask and be answered at once; tell whether it was admitted."""
    try:
        with quotas.admit(caller):
            return True
    except QuotaError:
        return False


def test_after_a_pause_as_many_come_at_once_as_in_a_second(quotas, clock):
    """At 2 in a second: two, then one more after every half."""
    assert [asked(quotas, ANNA) for _ in range(3)] == [True, True, False]
    clock.now += 0.5
    assert [asked(quotas, ANNA) for _ in range(2)] == [True, False]
    clock.now += 60
    assert [asked(quotas, ANNA) for _ in range(3)] == [True, True, False]


def test_it_says_when_to_come_again(quotas, clock):
    """After these seconds, and not before, one more is admitted."""
    for _ in range(2):
        assert asked(quotas, ANNA)
    clock.now += 0.1
    with (
        pytest.raises(QuotaError, match="more than 2 requests in a second") as caught,
        quotas.admit(ANNA),
    ):
        pass
    assert caught.value.retry_after == pytest.approx(0.4)
    assert isinstance(caught.value, OverloadedError)
    clock.now += caught.value.retry_after - 0.01
    assert not asked(quotas, ANNA)
    clock.now += 0.01
    assert asked(quotas, ANNA)


def test_less_than_one_in_a_second_admits_the_first(quotas, clock):
    """At one in ten seconds: one, and one more ten seconds later."""
    slow = Caller("slow", rate=0.1)
    assert [asked(quotas, slow) for _ in range(2)] == [True, False]
    clock.now += 9.9
    assert not asked(quotas, slow)
    clock.now += 0.1
    assert asked(quotas, slow)


def test_so_many_at_a_time(quotas):
    """A third waits until one of two is answered, also where it ended in an error."""
    with ExitStack() as work:
        work.enter_context(quotas.admit(BEN))
        with suppress(ZeroDivisionError), quotas.admit(BEN):
            assert not asked(quotas, BEN)
            raise ZeroDivisionError
        assert asked(quotas, BEN)


def test_a_refusal_for_company_costs_no_turn(quotas):
    """What was refused because of others at work does not count as asked."""
    both = Caller("carl", rate=2.0, at_once=1)
    with quotas.admit(both):
        assert not any(asked(quotas, both) for _ in range(5))
    assert asked(quotas, both)


def test_keys_of_one_owner_share(quotas):
    """A second key gives no second bucket."""
    assert [asked(quotas, Caller("anna", rate=2.0)) for _ in range(3)] == [True, True, False]
    assert not asked(quotas, Caller("anna", rate=2.0, at_once=9))


def test_others_do_not_notice(quotas):
    """Ben is admitted whatever Anna has used up."""
    while asked(quotas, ANNA):
        pass
    assert asked(quotas, BEN)


def test_the_services_rate_is_for_keys_that_do_not_say(clock):
    """One in a second for Ben, Anna's two for Anna, none at all without a rate."""
    quotas = Quotas(rate=1.0, clock=clock)
    assert [asked(quotas, BEN) for _ in range(2)] == [True, False]
    assert [asked(quotas, ANNA) for _ in range(3)] == [True, True, False]
    assert all(asked(Quotas(clock=clock), Caller()) for _ in range(100))


@given(
    rate=st.sampled_from([0.25, 1.0, 2.5, 7.0]),
    pauses=st.lists(st.floats(0, 3), min_size=1, max_size=60),
)
def test_it_admits_what_a_bucket_filled_drop_by_drop_would(rate, pauses):
    """The slow twin counts what is left and fills it up by the seconds passed."""
    clock = Clock()
    quotas, caller = Quotas(clock=clock), Caller("anna", rate=rate)
    most = left = max(1.0, rate)
    for pause in pauses:
        clock.now += pause
        left = min(most, left + pause * rate)
        if abs(left - 1) < 1e-4:
            continue  # either is right
        admitted = asked(quotas, caller)
        assert admitted == (left >= 1)
        left -= admitted


def test_nothing_is_kept_of_who_is_away(quotas, clock):
    """Once the bucket is full and nothing is worked on, the owner is forgotten."""
    with quotas.admit(ANNA):
        clock.now += 100
        assert len(quotas) == 1
    asked(quotas, ANNA)
    assert len(quotas) == 1
    clock.now += 0.6
    assert len(quotas) == 0


def test_keys_that_are_not_good_are_slowed_down_by_address(quotas, clock):
    """So many tries get the plain answer, then one a second; another address is let be."""
    error = AccessError("no")
    answers = [quotas.refusal("10.0.0.1", error) for _ in range(TRIES + 1)]
    assert answers[:-1] == [error] * TRIES
    assert isinstance(answers[-1], QuotaError)
    assert answers[-1].retry_after == pytest.approx(1.0)
    assert quotas.refusal("10.0.0.2", error) is error
    clock.now += 1
    assert quotas.refusal("10.0.0.1", error) is error


def test_memory_of_addresses_is_bounded(quotas):
    """Those that tried longest ago are forgotten."""
    for number in range(ADDRESSES + 10):
        quotas.refusal(str(number), AccessError("no"))
    assert len(quotas._addresses) == ADDRESSES


def test_threads_are_counted_right():
    """Of many at once just as many are at work as may be."""
    quotas, caller = Quotas(), Caller("anna", at_once=3)
    inside, most, lock = [], [], threading.Lock()

    def work():
        for _ in range(200):
            try:
                with quotas.admit(caller):
                    with lock:
                        inside.append(1)
                        most.append(len(inside))
                    with lock:
                        inside.pop()
            except QuotaError:
                pass

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) <= 3
    assert len(quotas) == 0
