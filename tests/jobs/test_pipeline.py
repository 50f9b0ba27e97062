"""The pipeline: order, groups, bounds, errors and endings, with stages worked out by hand."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from itertools import count

import pytest
import torch
from PIL import Image

from fake_finder import FakeBoth
from fake_model import model_of
from promptseg.jobs.pipeline import Pace, decoded_bytes, run

SOON = 5.0


@dataclass
class Counted:
    """Stages that double numbers; odd ones are asked about, and all that happens is noted."""

    weight: int = 1
    groups: list = field(default_factory=list)
    under_way: int = 0
    most_under_way: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def weigh(self, item):
        return self.weight

    def read(self, item):
        with self.lock:
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
        return [item]

    def is_open(self, seen):
        return seen[0] % 2 == 1

    def ask(self, group):
        self.groups.append([seen[0] for seen in group])
        yield from group

    def write(self, seen):
        with self.lock:
            self.under_way -= 1
        return 2 * seen[0]


def threads_of_ours():
    """The pipeline's threads that are alive."""
    return [each for each in threading.enumerate() if each.name.startswith("promptseg-")]


@pytest.mark.parametrize("pace", [Pace(), Pace(group=3, askers=2, readers=4, writers=3)])
def test_what_came_of_each_is_handed_out_in_order(pace):
    """None is lost and none comes twice, and no thread stays."""
    assert list(run(Counted(), range(101), pace)) == [2 * number for number in range(101)]
    assert threads_of_ours() == []


def test_nothing_is_no_work():
    """Not even a wait."""
    assert list(run(Counted(), [], Pace(group=3, askers=2))) == []


def test_groups_are_the_same_in_every_run():
    """Whole but for the last, in the order of the items, however long each takes to read."""

    class Uneven(Counted):
        def read(self, item):
            time.sleep(0.003 * (item % 5 == 0))
            return super().read(item)

    stages = Uneven()
    list(run(stages, range(1, 28, 2), Pace(group=3, askers=2, readers=4)))
    assert sorted(stages.groups) == [
        [1, 3, 5], [7, 9, 11], [13, 15, 17], [19, 21, 23], [25, 27],
    ]  # fmt: skip


def test_images_under_way_are_bounded_by_number():
    """Though the items have no end, and writing is slow."""

    class Slow(Counted):
        def write(self, seen):
            time.sleep(0.001)
            return super().write(seen)

    stages, pace = Slow(), Pace(group=2, askers=2)
    done = run(stages, count(), pace)
    assert [next(done) for _ in range(100)] == [2 * number for number in range(100)]
    done.close()
    assert stages.most_under_way <= pace.most_images
    assert threads_of_ours() == []


def test_images_under_way_are_bounded_by_bytes():
    """Three of them fit, so that groups of four are never whole; and one that never fits goes."""
    stages = Counted(weight=10)
    numbers = range(1, 60, 2)
    assert len(list(run(stages, numbers, Pace(group=4, askers=2, most_bytes=30)))) == 30
    assert stages.most_under_way <= 3
    stages = Counted(weight=100)
    assert len(list(run(stages, numbers, Pace(group=4, askers=2, most_bytes=30)))) == 30
    assert stages.most_under_way == 1


@pytest.mark.parametrize("stage", ["weigh", "read", "is_open", "ask", "write"])
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_what_a_stage_raises_ends_all(stage, error):
    """The caller has it, and no thread stays."""

    def broken(self, given):
        raise error("on purpose")

    stages = type("Broken", (Counted,), {stage: broken})()
    with pytest.raises(error, match="on purpose"):
        list(run(stages, range(1, 100), Pace(group=2, askers=2)))
    assert threads_of_ours() == []


def test_items_that_break_end_all():
    """As a listing does whose folder is gone."""

    def items():
        yield 1
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        list(run(Counted(), items(), Pace()))


def test_a_caller_who_leaves_waits_for_what_has_begun_only():
    """Of a thousand slow images a few are read."""

    class Slow(Counted):
        def write(self, seen):
            time.sleep(0.01)
            return super().write(seen)

    stages = Slow()
    done = run(stages, range(1, 2001, 2), Pace())
    next(done)
    began = time.monotonic()
    done.close()
    assert time.monotonic() - began < SOON
    assert sum(map(len, stages.groups)) < 20
    assert threads_of_ours() == []


def test_one_may_be_handed_out_by_another():
    """Of a pair the first waits for the second, which is in a group of its own."""

    class Pairs(Counted):
        def ask(self, group):
            [seen] = group
            if seen[0] % 4 == 1:
                self.first = seen
                return
            yield self.first
            yield seen

    assert list(run(Pairs(), range(1, 20, 2), Pace())) == [2 * number for number in range(1, 20, 2)]


def test_a_pace_suits_a_device(monkeypatch):
    """On cores two whole groups, elsewhere two halves; where one is too much already, one."""
    model = model_of(FakeBoth())
    for images, device, group, askers in (
        (1, "cpu", 1, 1), (2, "cpu", 2, 2), (8, "cuda", 4, 2), (5, "cuda", 3, 2), (0, "cuda", 1, 1),
    ):  # fmt: skip
        usage = type("Usage", (), {"images": images})
        runtime = type("Runtime", (), {"device": type("Device", (), {"type": device})})
        monkeypatch.setattr(model, "usage", lambda usage=usage: usage)
        monkeypatch.setattr(model, "runtime", runtime)
        assert (Pace.of(model).group, Pace.of(model).askers) == (group, askers)


def test_an_image_is_weighed_by_its_header(tmp_path):
    """Else by its file, and nothing weighs nothing."""
    Image.new("L", (7, 5)).save(tmp_path / "a.png")
    assert decoded_bytes(tmp_path / "a.png") == 3 * 7 * 5
    (tmp_path / "b.png").write_bytes(b"12345678901")
    assert decoded_bytes(tmp_path / "b.png") == 11
    assert decoded_bytes(tmp_path / "none.png") == 0


def test_no_asker_takes_over_the_threads_of_one_core():
    """Which the first sets up for a moment, while the second asks torch how many there are."""
    before = torch.get_num_threads()
    seen = []

    class Setting(Counted):
        def ask(self, group):
            seen.append(torch.get_num_threads())
            torch.set_num_threads(before + 1)
            time.sleep(0.05)
            yield from group

    try:
        list(run(Setting(), [1, 3], Pace(group=1, askers=2)))
    finally:
        torch.set_num_threads(before)
    assert seen == [before, before]
