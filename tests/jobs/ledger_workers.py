"""Processes that work on a ledger's images, and are killed at any moment."""

from __future__ import annotations

import multiprocessing
import random
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

from promptseg.jobs.job import Job, State
from promptseg.jobs.ledger import Item, Outcome
from promptseg.jobs.redis_ledger import RedisLedger
from promptseg.jobs.sqlite_ledger import SqliteLedger

# A new process has all of its imports before it.
PROCESSES = multiprocessing.get_context("spawn")
LEASE = 0.6


def opened(address):
    """Open a ledger by the name of its file, or its address."""
    if address.startswith("redis:"):
        return RedisLedger(address, patience=20.0)
    return SqliteLedger(address)


def work(address, log):
    """Answer images until there are none; note each that was, and by which token."""
    with closing(opened(address)) as ledger, Path(log).open("a", buffering=1) as notes:
        while (due := ledger.next_due()) is not None:
            listing = ledger.claim_listing(seconds=LEASE)
            if listing is not None:
                list_some(ledger, listing)
            claim = ledger.claim(most=7, seconds=LEASE)
            for claimed in () if claim is None else claim.items:
                time.sleep(0.01)
                ends = ledger.finish(
                    claim, claimed.number, Outcome(State.DONE, result=claimed.item.image)
                )
                notes.write(f"{claimed.number} {claim.token} {int(ends)}\n")
            if claim is None:
                time.sleep(min(due, 0.05))
            if (reporting := ledger.claim_reporting(seconds=LEASE)) is not None:
                ledger.reported(reporting)


def list_some(ledger, listing):
    """Count out what is not known yet, a few at a time."""
    count = int(listing.asked.inputs[0])
    known = listing.known
    while known < count:
        items = [Item(f"{number}.png") for number in range(known, min(known + 20, count))]
        if not ledger.add(listing, items, seconds=LEASE):
            return
        known += len(items)
    ledger.listed(listing)


def work_and_die(address, folder, *, count, seed, meanwhile=lambda killed: None):
    """Have a job of so many images done by processes that are killed one after the other.

    Return the job's status, its entries, and the notes: pairs of a number and a token.
    """
    chance = random.Random(seed)
    ledger = opened(address)
    name = ledger.submit(Job(inputs=(str(count),), attempts=20))
    logs = [str(folder / f"{each}.log") for each in range(3)]
    workers = [start(address, log) for log in logs]
    killed = 0
    try:
        until = time.monotonic() + 120
        while not ledger.status(name).is_reported and time.monotonic() < until:
            time.sleep(chance.uniform(0.3, 0.9))
            victim = chance.randrange(len(workers))
            workers[victim].kill()
            workers[victim].join()
            workers[victim] = start(address, logs[victim])
            killed += 1
            meanwhile(killed)
    finally:
        for worker in workers:
            worker.kill()
            worker.join()
    with closing(ledger):
        notes = [line.split() for log in logs if Path(log).exists() for line in open_lines(log)]
        return ledger.status(name), list(ledger.entries(name)), notes


def start(address, log):
    worker = PROCESSES.Process(target=work, args=(address, log))
    worker.start()
    return worker


def open_lines(log):
    # The last line of one that was killed may be half a line.
    return [line for line in Path(log).read_text().splitlines() if len(line.split()) == 3]


def require_once(status, entries, notes, count):
    """See that every image ended once, by its latest claim, and that what is counted is there."""
    assert status.state == State.DONE, status
    assert (status.done, status.total, status.is_listed) == (count, count, True)
    assert [entry.number for entry in entries] == list(range(count))
    assert all(entry.outcome.result == f"{entry.number}.png" for entry in entries)
    ended = Counter(number for number, _, ends in notes if ends == "1")
    assert set(ended.values()) <= {1}
    # Only what was in hand as its worker was killed is not noted.
    tries = Counter(number for number, _, _ in notes)
    assert sum(tries.values()) - len(tries) <= count / 20
