"""Which memories a frame reads, worked out by hand, and which are let go of."""

from __future__ import annotations

import pytest
import torch

from promptseg.errors import ConfigError
from promptseg.nn.protocol import Reach
from promptseg.options import TrackOptions
from promptseg.tracking.bank import Bank, Seen, nearest

REACH = Reach(slots=3, pointers=5)
OPTIONS = TrackOptions()


def seen(frame, *, prompted=False):
    """What a frame left behind: its number, in every tensor."""
    number = torch.tensor([float(frame)])
    return Seen(
        frame=frame,
        prompted=prompted,
        backward=False,
        score=0.5,
        presence=1.0,
        pointer=number,
        grid=number[:, None, None],
        logits=number[:, None],
    )


def bank_of(prompted, tracked):
    bank = Bank()
    for frame in [*prompted, *tracked]:
        bank = bank.remember(seen(frame, prompted=frame in prompted))
    return bank


def read(bank, now, *, backward=False, length=None, options=OPTIONS):
    """What is read: frames of grids by age, and of pointers by their distance."""
    past = bank.past(now, backward=backward, reach=REACH, length=length, options=options)
    ages = [(int(age), int(grid)) for age, grid in zip(past.ages, past.grids, strict=True)]
    places = [
        (round(float(share), 3), int(pointer))
        for share, pointer in zip(past.distances, past.pointers, strict=True)
    ]
    return sorted(ages), sorted(places)


def test_a_frame_reads_prompted_frames_and_those_before_it():
    """Age 0 for the prompted ones; all distances are shares of four frames."""
    ages, pointers = read(bank_of([0, 9], range(1, 8)), 8)
    assert ages == [(0, 0), (0, 9), (1, 7), (2, 6)]
    assert pointers == [(0.25, 7), (0.5, 6), (0.75, 5), (1.0, 4), (2.0, 0)]


def test_backward_a_frame_reads_those_after_it():
    """Prompted frames ahead, which then are the earlier ones, have no pointer."""
    ages, pointers = read(bank_of([0, 9], range(1, 8)), 3, backward=True)
    assert ages == [(0, 0), (0, 9), (1, 4), (2, 5)]
    assert pointers == [(0.25, 4), (0.5, 5), (0.75, 6), (1.0, 7), (1.5, 9)]


def test_frames_that_were_not_seen_are_left_out():
    """There is nothing in their place."""
    assert read(bank_of([0], [3]), 5) == ([(0, 0), (2, 3)], [(0.5, 3), (1.25, 0)])


def test_before_all_prompted_frames_there_is_no_pointer():
    """A frame ahead is known by its memory alone."""
    assert read(bank_of([9], []), 5) == ([(0, 9)], [])


@pytest.mark.parametrize(("length", "share"), [(None, 0.25), (20, 0.25), (3, 0.5), (1, 1.0)])
def test_distances_are_shares_of_short_videos(length, share):
    """Of three frames one is half of the way; of one frame there is no way, and nothing fails."""
    assert read(bank_of([0], []), 1, length=length)[1] == [(share, 0)]


def test_short_videos_have_fewer_pointers():
    """Of three frames, the two before."""
    assert [frame for _, frame in read(bank_of([0], [1, 2, 3]), 4, length=3)[1]] == [3, 2, 0]


def test_only_the_nearest_prompted_frames_are_read():
    """Those that are not read as prompted are read as tracked, where they are near enough."""
    bank = bank_of([0, 10, 11, 12, 30], [])
    ages, pointers = read(bank, 13, options=TrackOptions(most_prompted=2))
    assert ages == [(0, 12), (0, 30), (2, 11)]
    assert pointers == [(0.25, 12), (0.5, 11), (0.75, 10)]


@pytest.mark.parametrize(
    ("now", "most", "chosen"),
    [
        (5, None, (0, 4, 6, 20)),
        (5, 2, (4, 6)),
        (5, 3, (0, 4, 6)),
        (19, 2, (6, 20)),
        (30, 2, (6, 20)),
        (4, 2, (0, 4)),
    ],
)
def test_nearest_has_one_of_either_side(now, most, chosen):
    """The last before, the first from there on, then by distance."""
    assert nearest((0, 4, 6, 20), now, most) == chosen


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("most", [None, 2, 3])
def test_nothing_is_missed_that_was_let_go_of(backward, most):
    """Going one way through a video, what is read is what a bank that forgets nothing gives."""
    options = TrackOptions(most_prompted=most)
    whole, light = Bank(), Bank()
    frames = range(60, -1, -1) if backward else range(61)
    for now in frames:
        prompted = now in (0, 7, 8, 20, 21, 22, 44, 60)
        if whole.prompted and not prompted:
            told = (
                each.past(now, backward=backward, reach=REACH, length=None, options=options)
                for each in (whole, light)
            )
            for one, other in zip(*told, strict=True):
                assert torch.equal(one, other)
        whole = whole.remember(seen(now, prompted=prompted))
        light = light.remember(seen(now, prompted=prompted))
        light = light.forget(now, backward=backward, reach=REACH, options=options)
    assert len(light) < len(whole)


def test_the_other_way_begins_at_any_prompted_frame():
    """After a pass to the end, a pass back from a prompted frame reads what it would have read."""
    whole = light = bank_of([10], [])
    for now in range(11, 40):
        whole = whole.remember(seen(now))
        light = light.remember(seen(now))
        light = light.forget(now, backward=False, reach=REACH, options=OPTIONS)
    assert read(light, 9, backward=True) == read(whole, 9, backward=True)
    assert len(light) < 12


def test_a_bank_does_not_grow():
    """However long a video, and however often it is corrected, where prompted frames are capped."""
    options = TrackOptions(most_prompted=2)
    bank, sizes = Bank(), []
    for now in range(300):
        bank = bank.remember(seen(now, prompted=now % 10 == 0))
        bank = bank.forget(now, backward=False, reach=REACH, options=options)
        sizes.append(len(bank))
    assert max(sizes[30:]) == max(sizes[:30])


def test_far_memories_lose_what_is_no_longer_read():
    """Beyond the slots a grid goes, beyond the pointers all does; prompted frames stay whole."""
    bank = bank_of([0], range(1, 30))
    bank = bank.forget(29, backward=False, reach=REACH, options=OPTIONS)
    assert sorted(bank.seen) == [0, 1, 2, 3, 4, 25, 26, 27, 28, 29]
    assert [frame for frame, each in bank.seen.items() if each.grid is not None] == [
        0, 1, 2, 27, 28, 29,
    ]  # fmt: skip
    assert [frame for frame, each in bank.seen.items() if each.logits is not None] == [
        0, 25, 26, 27, 28, 29,
    ]  # fmt: skip


def test_a_bank_is_a_value():
    """Remembering and forgetting leave the old one as it was."""
    before = bank_of([0], [1])
    before.remember(seen(2))
    before.forget(50, backward=False, reach=REACH, options=OPTIONS)
    assert sorted(before.seen) == [0, 1]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"most_prompted": 1}, "`most_prompted` is a whole number, at least 2, got 1"),
        ({"most_prompted": 2.5}, "at least 2, got 2.5"),
        ({"forget": "no"}, "`forget`"),
    ],
)
def test_options_that_make_no_sense_are_refused(wrong, message):
    """Each is named, with what was given."""
    with pytest.raises(ConfigError, match=message):
        TrackOptions(**wrong)
