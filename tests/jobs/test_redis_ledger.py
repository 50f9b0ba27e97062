"""The ledger in Redis, with a server of its own."""

from __future__ import annotations

import importlib
import itertools
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace

import pytest
import redis
import redis_server
from hypothesis.stateful import run_state_machine_as_test
from ledger_rules import MANY_STEPS, STEPS, LedgerRules
from ledger_workers import require_once, work_and_die

from promptseg.errors import JobError, MissingExtraError
from promptseg.jobs.job import Job, State
from promptseg.jobs.ledger import Item, Outcome
from promptseg.jobs.redis_ledger import RedisLedger

JOB = Job(inputs=("photos",))
pytestmark = [
    pytest.mark.enable_socket,
    pytest.mark.skipif(redis_server.PROGRAM is None, reason=redis_server.MISSING),
]


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A server that no test kills."""
    server = redis_server.RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@contextmanager
def ended(server):
    try:
        yield
    finally:
        server.kill()


def test_it_does_what_a_plain_one_does(shared):
    """In whatever order things happen, the ledger gives what lists of plain objects give."""
    run_state_machine_as_test(rules_of(shared), settings=STEPS)


def rules_of(server):
    prefixes = itertools.count()

    class Rules(LedgerRules):
        def open(self, clock):
            return RedisLedger(server.address, prefix=f"rules-{next(prefixes)}", clock=clock)

    return Rules


def test_every_image_ends_once_though_processes_and_redis_are_killed(tmp_path):
    """Processes and the server are killed, and start again: nothing lost, or done twice."""
    server = redis_server.RedisServer(tmp_path)

    def meanwhile(killed):
        if killed == 3:
            server.kill()
            server.start()

    try:
        done = work_and_die(server.address, tmp_path, count=400, seed=8, meanwhile=meanwhile)
    finally:
        server.kill()
    require_once(*done, count=400)


def test_a_step_waits_for_a_server_that_starts_again(tmp_path):
    """A ledger finds its server again by itself, with what it was given."""
    server = redis_server.RedisServer(tmp_path)
    with ended(server), closing(RedisLedger(server.address)) as ledger:
        name = ledger.submit(JOB)
        server.kill()
        with ThreadPoolExecutor(1) as pool:
            status = pool.submit(ledger.status, name)
            time.sleep(0.3)
            server.start()
            assert status.result(20).id == name


def test_a_server_that_is_gone_is_one_sentence(tmp_path):
    """What needs a server that does not come back says so, and goes on once it is there."""
    server = redis_server.RedisServer(tmp_path)
    with ended(server), closing(RedisLedger(server.address, patience=0.2)) as ledger:
        name = ledger.submit(JOB)
        server.kill()
        with pytest.raises(JobError, match=f"at `{server.address}` does not answer"):
            ledger.status(name)
        with pytest.raises(JobError, match="does not answer"):
            RedisLedger(server.address, patience=0.2)
        server.start()
        assert ledger.status(name).id == name


class Prepared:
    """A ledger with a job in each state, and a claim of each kind."""

    def __init__(self, address, prefix):
        self.ledger = ledger = RedisLedger(address, prefix=prefix)
        self.reporting = self.listing = None
        for _ in range(2):
            ledger.submit(JOB)
            ledger.listed(ledger.claim_listing(seconds=50))
        self.reporting = ledger.claim_reporting(seconds=50)
        self.cancelled = self.begun().job
        ledger.cancel(self.cancelled)
        self.listing = self.begun()
        self.claimed = ledger.claim(most=1, seconds=50)
        ledger.submit(JOB)

    def begun(self):
        self.ledger.submit(JOB)
        listing = self.ledger.claim_listing(seconds=50)
        self.ledger.add(listing, [Item("a.png"), Item("b.png"), Item("c.png")], seconds=50)
        return listing

    def lose_an_answer(self, step):
        """Let the next step be done, and its answer be lost."""
        script = self.ledger._scripts[step]

        def lost(**arguments):
            self.ledger._scripts[step] = script
            script(**arguments)
            raise redis.ConnectionError("the line was cut")

        self.ledger._scripts[step] = lost

    def stands(self):
        """Say how all jobs stand, whatever their names."""
        jobs = [replace(job, id="", submitted=0, started=0, ended=0) for job in self.ledger.jobs()]
        return jobs, self.ledger._redis.zcard(f"{self.ledger._prefix}:claims")


STEPS_OF_ONE = {
    "submit": lambda it: it.ledger.submit(JOB) and None,
    "claim_listing": lambda it: it.ledger.claim_listing(seconds=50).known,
    "add": lambda it: it.ledger.add(it.listing, [Item("d.png")], seconds=50),
    "listed": lambda it: it.ledger.listed(it.listing),
    "claim": lambda it: it.ledger.claim(most=2, seconds=50).items,
    "finish": lambda it: it.ledger.finish(it.claimed, 0, Outcome(State.DONE)),
    "extend": lambda it: it.ledger.extend(it.claimed, 50),
    "release": lambda it: it.ledger.release(it.claimed, reason="it hung"),
    "claim_reporting": lambda it: it.ledger.claim_reporting(seconds=50) and None,
    "reported": lambda it: it.ledger.reported(it.reporting),
    "cancel": lambda it: it.ledger.cancel(it.listing.job) and None,
    "retry": lambda it: it.ledger.retry(it.cancelled) and None,
    "forget": lambda it: it.ledger.forget(it.reporting.job),
}


@pytest.mark.parametrize("step", STEPS_OF_ONE)
def test_a_step_whose_answer_is_lost_is_done_once(shared, step):
    """Sent again, a step gives what it gave, and nothing has happened twice."""
    once, twice = (Prepared(shared.address, f"{step}-{which}") for which in ("once", "twice"))
    with closing(once.ledger), closing(twice.ledger):
        twice.lose_an_answer(step)
        assert STEPS_OF_ONE[step](twice) == STEPS_OF_ONE[step](once)
        assert twice.stands() == once.stands()


def test_a_server_that_drops_keys_is_refused(tmp_path):
    """Jobs are not given to a server that forgets some when its memory is full."""
    server = redis_server.RedisServer(tmp_path, "--maxmemory-policy", "allkeys-lru")
    with ended(server), pytest.raises(JobError, match="its `maxmemory-policy` is `allkeys-lru`"):
        RedisLedger(server.address)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--rename-command", "CONFIG", ""), "is not known"),
        (("--appendonly", "no"), "may forget jobs when it stops"),
    ],
)
def test_a_server_that_may_forget_is_warned_of(tmp_path, caplog, flags, said):
    """Whether a server keeps all is asked, and what is doubtful is logged."""
    server = redis_server.RedisServer(tmp_path, *flags)
    with ended(server):
        RedisLedger(server.address).close()
    assert said in caplog.text


def test_a_full_server_is_one_sentence(tmp_path):
    """What does not fit is not there at all, and what was answered is taken all the same."""
    server = redis_server.RedisServer(tmp_path)
    with ended(server), closing(RedisLedger(server.address)) as ledger:
        ledger.submit(JOB)
        listing = ledger.claim_listing(seconds=50)
        ledger.add(listing, [Item("a.png"), Item("b.png")], seconds=50)
        claim = ledger.claim(most=1, seconds=50)
        before = ledger.jobs()
        ledger._redis.config_set("maxmemory", 1)
        for step in (
            lambda: ledger.submit(JOB),
            lambda: ledger.add(listing, [Item("c.png")], seconds=50),
            lambda: ledger.claim(most=1, seconds=50),
        ):
            with pytest.raises(JobError, match="fail: command not allowed when used memory"):
                step()
        assert ledger.jobs() == before
        assert ledger.finish(claim, 0, Outcome(State.DONE))


def test_no_address_is_one_sentence():
    """What is no address is refused, and no password is shown."""
    with pytest.raises(JobError, match="`localhost` is no address of Redis"):
        RedisLedger("localhost")
    with pytest.raises(JobError) as caught:
        RedisLedger("redis://ann:secret@127.0.0.1:1/0", patience=0.1)
    assert "127.0.0.1:1" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_tokens_grow_over_a_loss(shared):
    """A token does not come again where the server has lost the last ones it gave."""
    with closing(RedisLedger(shared.address, prefix="loss")) as ledger:
        ledger.submit(JOB)
        first = ledger.claim_listing(seconds=0.001)
        ledger._redis.delete("loss:token")
        time.sleep(0.01)
        assert ledger.claim_listing(seconds=1).token > first.token


@pytest.mark.full
def test_it_does_what_a_plain_one_does_for_long(shared):
    """As above, with many more orders."""
    run_state_machine_as_test(rules_of(shared), settings=MANY_STEPS)


def test_without_redis_py_the_extra_is_named(monkeypatch):
    """Where redis-py is not installed, the error says how to install it."""
    monkeypatch.delitem(sys.modules, "promptseg.jobs.redis_ledger")
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(MissingExtraError) as caught:
        importlib.import_module("promptseg.jobs.redis_ledger")
    assert caught.value.hint == "pip install 'promptseg[jobs]'"
