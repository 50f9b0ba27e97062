"""The benchmark of SAM 3 measures what it says; which side wins on this machine is not tested."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("transformers")
pytest.importorskip("pycocotools")

from promptseg.bench import sam3, sam3_sides
from promptseg.bench.memory import forget_peak, peak_bytes, resident_bytes
from promptseg.bench.processes import Finished
from promptseg.bench.random_sam3 import PHRASES, random_finder
from promptseg.cli.main import main
from promptseg.geometry import Size
from promptseg.masks import RunLength, overlaps
from small_sam3 import FINDER_ONLY

SIZES = ["3", "71", "113"]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """A small network stands in for the published one."""
    monkeypatch.setattr(sam3, "CONFIG", FINDER_ONLY)
    monkeypatch.setattr(sam3_sides, "CONFIG", FINDER_ONLY)


@pytest.fixture
def told(capsys):
    """Do a piece of work as a process of its own does, and read what it prints."""

    def tell(work, *arguments):
        getattr(sam3_sides, work)(*arguments)
        return json.loads(capsys.readouterr().out)

    return tell


def overlap(one, other):
    """Mean IoU of masks by phrase and slot; 0 where only one side has a slot."""
    pairs = [
        (mine.get(slot), theirs.get(slot))
        for mine, theirs in zip(one["masks"], other["masks"], strict=True)
        for slot in mine.keys() | theirs.keys()
    ]
    shared = [map(RunLength.from_coco, pair) for pair in pairs if None not in pair]
    return sum(float(overlaps([a], [b])[0, 0]) for a, b in shared) / len(pairs)


def test_all_ways_find_the_same_masks(told):
    """Without it, speeds would be of different things: ours is Meta's release's answer.

    transformers' own, without the token of the image, is another, one by one and in a batch alike.
    """
    ours = told("find", "float32", *SIZES)
    faithful = told("compare", "float32", *SIZES)
    plain = [told("find_peer", "float32", most, *SIZES) for most in ("1", "2")]

    assert [len(each) for each in ours["masks"]] == [sam3_sides.KEPT] * sam3_sides.COMPARED
    assert overlap(ours, faithful) > 0.99
    assert overlap(*plain) > 0.99
    assert overlap(ours, plain[0]) < 0.9


def test_both_sides_tell_the_same_tasks(told):
    """Each line of the table has both numbers, and parts are no more than the whole."""
    ours = told("find", "bfloat16", *SIZES)
    peer = told("find_peer", "bfloat16", "3", *SIZES)
    assert ours["seconds"].keys() == peer["seconds"].keys() == sam3._tasks(3).keys()
    for spent in (ours["seconds"], peer["seconds"]):
        assert spent["look"] + spent["read"] < spent["first"]
        assert spent["answer"] + spent["draw"] == pytest.approx(spent["again"])
    assert {"first", "again"} <= ours["bytes"].keys() & peer["bytes"].keys()


def test_memory_of_many_phrases_is_that_beside_the_answers(told):
    """Answers are told apart."""
    held = told("hold", "float32", "5", "71", "113")
    assert held["bytes"]["again"] >= 0
    assert held["bytes"]["answers"] > 1000


def test_phrases_are_many_and_unlike():
    """No token is unknown, so each phrase reads otherwise."""
    network = random_finder(FINDER_ONLY)
    tokens = network.tokenizer(PHRASES)
    assert len(PHRASES) == len({tuple(row) for row in tokens.ids.tolist()}) == 100
    assert tokens.attended.all()


def test_a_peak_can_be_forgotten():
    """What was taken and given back counts once, and then no more."""
    before = resident_bytes()
    del (taken := bytearray(b"x") * 50_000_000)[:]
    del taken
    peak = peak_bytes()
    assert peak - before > 40_000_000
    if not forget_peak():
        pytest.skip("this system lets no process forget its peak")
    assert peak_bytes() < peak


def test_a_line_for_each_task(monkeypatch, capsys):
    """All processes, run here instead, and the same as JSON."""
    ran = []

    def run_python(code, arguments, *, settings=None):
        work = code.split()[-1].partition("(")[0]
        ran.append((work, arguments[:2], bool(settings)))
        getattr(sam3_sides, work)(*arguments)
        return Finished(capsys.readouterr().out, 1.0, 10**9)

    monkeypatch.setattr(sam3_sides, "run_python", run_python)
    found = sam3.measure(dtypes=["float32"], count=3, photo_size=Size(71, 113), many=[5])

    work = [name for name, _, _ in ran]
    assert work == ["compare", *["find", "find_peer", "find_peer", "find"] * 2, "hold"]
    assert [kept for _, _, kept in ran] == [False] * 5 + [True] * 4 + [False]
    assert [ways[1] for name, ways, _ in ran if name == "find_peer"] == ["1", "16"] * 2
    lines = "\n".join(found.lines())
    for part in (
        "float32, memory given back",
        "float32, memory kept",
        "transformers is quicker",
        "photo and 3 phrases, to masks",
        "16 of 16 slots, IoU 1.0000; peer",
        "the same again, nothing is there",
        "memory, first",
        "memory, again, 5 phrases",
    ):
        assert part in lines
    assert len(json.loads(json.dumps(found.as_json()))["contests"]) == 2 * 11 + 1


def test_a_flag_of_another_suite_is_refused(capsys):
    """There is one size of SAM 3."""
    assert main(["bench", "--suite", "sam3", "--size", "tiny"]) == 2
    assert "`--size` means nothing to the suite `sam3`" in capsys.readouterr().err
