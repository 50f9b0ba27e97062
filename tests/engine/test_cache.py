"""Features are encoded once, bounded in bytes, and shared by threads."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, wait

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from promptseg.engine.cache import FeatureCache, FeatureKey
from promptseg.nn.outputs import ImageFeatures, Phrases

ENTRY = 4 * 7


def key(name: object) -> FeatureKey:
    return FeatureKey(str(name), "network", "cpu float32")


def features(value: int) -> ImageFeatures:
    return ImageFeatures((torch.full((1, 1, 1, 7), float(value)),))


class Encoder:
    """Encodes number `i` of the names as a grid of that name, and remembers what it was asked."""

    def __init__(self, names):
        self.names = list(names)
        self.asked = []

    def __call__(self, places):
        self.asked += [self.names[place] for place in places]
        return [features(self.names[place]) for place in places]


def fetch(cache, names):
    """Fetch, check what came, and return which names were encoded."""
    encoder = Encoder(names)
    found = cache.fetch([key(name) for name in names], encoder)
    assert [each.grids[0][0, 0, 0, 0].item() for each in found] == list(names)
    return encoder.asked


def test_what_is_kept_is_not_encoded_again():
    """The second call encodes only what is new, and both come in order."""
    cache = FeatureCache(10 * ENTRY)
    assert fetch(cache, [2, 3]) == [2, 3]
    assert fetch(cache, [5, 3, 2, 5]) == [5]


def test_the_least_recently_used_goes_first():
    """With room for two, using the older one saves it from a third."""
    cache = FeatureCache(2 * ENTRY)
    fetch(cache, [2])
    fetch(cache, [3])
    fetch(cache, [2])
    fetch(cache, [5])
    assert fetch(cache, [2]) == []
    assert fetch(cache, [3]) == [3]


def test_no_bytes_keep_nothing():
    """A cache of 0 bytes answers, and keeps nothing."""
    cache = FeatureCache(0)
    assert fetch(cache, [2, 2]) == [2]
    assert fetch(cache, [2]) == [2]
    assert len(cache) == cache.bytes == 0


def test_what_is_too_large_displaces_nothing():
    """Features beyond the bound are handed out and not kept."""
    cache = FeatureCache(ENTRY)
    fetch(cache, [2])
    large = ImageFeatures((torch.zeros(1, 1, 1, 8),))
    assert cache.fetch([key("large")], lambda places: [large]) == [large]
    assert fetch(cache, [2]) == []


@given(calls=st.lists(st.lists(st.integers(0, 6), max_size=5), max_size=12), room=st.integers(0, 5))
def test_bytes_stay_bounded_and_counted(calls, room):
    """Whatever is asked, the bytes kept are those of the entries and at most the bound."""
    cache = FeatureCache(room * ENTRY)
    for names in calls:
        asked = fetch(cache, names)
        assert len(asked) == len(set(asked))
        assert cache.bytes == len(cache) * ENTRY <= room * ENTRY


def test_sixteen_first_requests_share_one_encoding():
    """Threads that come while an image is being encoded wait for it."""
    cache = FeatureCache(10 * ENTRY)
    together = threading.Barrier(16)
    calls = []

    def encode(places):
        calls.append(places)
        release.wait(5)
        return [features(3)]

    def ask(_):
        together.wait(5)
        return cache.fetch([key(3)], encode)[0].grids[0][0, 0, 0, 0].item()

    release = threading.Event()
    with ThreadPoolExecutor(16) as pool:
        answers = pool.map(ask, range(16))
        threading.Timer(0.05, release.set).start()
        assert list(answers) == [3] * 16
    assert len(calls) == 1


def test_an_error_reaches_only_who_made_it():
    """A thread that waited for an encoding that failed does its own."""
    cache = FeatureCache(10 * ENTRY)
    started, fail = threading.Event(), threading.Event()

    def broken(places):
        started.set()
        fail.wait(5)
        raise RuntimeError("broken")

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(cache.fetch, [key(3)], broken)
        assert started.wait(5)
        second = pool.submit(fetch, cache, [3])
        wait([second], timeout=0.1)  # until it waits for the first one
        fail.set()
        with pytest.raises(RuntimeError, match="broken"):
            first.result(5)
        assert second.result(5) == [3]
    assert fetch(cache, [3]) == []


def test_what_is_ones_own_is_encoded_before_waiting_for_others():
    """Else two threads could wait for each other: here the other one ends only after ours."""
    cache = FeatureCache(10 * ENTRY)
    started, ours = threading.Event(), threading.Event()

    def slow(places):
        started.set()
        assert ours.wait(5)
        return Encoder([7])(places)

    def quick(places):
        ours.set()
        return Encoder([2])(places)

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(cache.fetch, [key(7)], slow)
        assert started.wait(5)
        found = cache.fetch([key(2), key(7)], quick)
        other.result(5)
    assert [each.grids[0][0, 0, 0, 0].item() for each in found] == [2, 7]


class Far:
    """Another device in all but name: what is moved there is on `meta`, and its number is noted.

    `meta` itself could not give numbers back. `full` are kinds of devices without room.
    """

    device = torch.device("meta")

    def __init__(self, monkeypatch):
        self.numbers = {}
        self.moves = []
        self.full = set()
        monkeypatch.setattr(ImageFeatures, "to", lambda given, device: self.move(given, device))

    def features(self, value):
        there = ImageFeatures((torch.empty(1, 1, 1, 7, device=self.device),))
        self.numbers[id(there.grids[0])] = (value, there)
        return there

    def value(self, given):
        if given.device == self.device:
            return self.numbers[id(given.grids[0])][0]
        return int(given.grids[0].max())

    def move(self, given, device):
        value = self.value(given)
        self.moves.append((value, device.type))
        if device.type in self.full:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return self.features(value) if device == self.device else features(value)

    def fetch(self, cache, names):
        asked = []

        def encode(places):
            asked.extend(names[place] for place in places)
            return [self.features(names[place]) for place in places]

        found = cache.fetch([key(name) for name in names], encode)
        assert [each.device for each in found] == [self.device] * len(names)
        assert [self.value(each) for each in found] == names
        return asked


@pytest.fixture
def far(monkeypatch):
    """The other device."""
    return Far(monkeypatch)


def test_older_features_wait_in_the_hosts_memory(far):
    """With room for one on the device and three in all, they go and come back by their age."""
    cache = FeatureCache(3 * ENTRY, device=far.device, device_bytes=ENTRY)
    far.fetch(cache, [2])
    assert far.moves == []
    far.fetch(cache, [3])
    far.fetch(cache, [5])
    assert far.moves == [(2, "cpu"), (3, "cpu")]
    far.moves.clear()
    assert far.fetch(cache, [2]) == []
    assert far.moves == [(2, "meta"), (5, "cpu")]
    assert far.fetch(cache, [7]) == [7]
    assert far.fetch(cache, [3]) == [3]  # the oldest, so it was dropped
    assert cache.bytes == 3 * ENTRY


def test_what_finds_no_room_is_forgotten(far):
    """A full host loses the oldest, a full device encodes again; nobody waits for ever."""
    cache = FeatureCache(3 * ENTRY, device=far.device, device_bytes=ENTRY)
    far.full = {"cpu"}
    far.fetch(cache, [2])
    far.fetch(cache, [3])
    assert far.fetch(cache, [2]) == [2]
    far.full = set()
    far.fetch(cache, [3])
    far.full = {"meta"}
    assert far.fetch(cache, [2]) == [2]


def test_threads_get_features_on_the_device(far):
    """However they are moved to and fro, and let go of, nobody gets what waits on the host."""
    cache = FeatureCache(4 * ENTRY, device=far.device, device_bytes=ENTRY)

    def ask(number):
        for step in range(40):
            far.fetch(cache, [2 + (number + step) % 5])
            if step % 16 == number:
                cache.clear()

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(ask, number) for number in range(8)]:
            done.result(30)
    assert cache.bytes <= 4 * ENTRY


def test_moving_keeps_the_grids():
    """Every grid goes along."""
    grids = (torch.zeros(1, 2, 3, 5), torch.ones(1, 1, 1, 7))
    there = ImageFeatures(grids).to(torch.device("meta"))
    assert there.device.type == "meta"
    assert [grid.is_meta for grid in there.grids] == [True, True]
    assert [grid.shape for grid in there.grids] == [grid.shape for grid in grids]


def test_clearing_lets_go_of_everything():
    """What was kept is encoded again."""
    cache = FeatureCache(10 * ENTRY)
    fetch(cache, [2])
    cache.clear()
    assert cache.bytes == 0
    assert fetch(cache, [2]) == [2]


def test_phrases_are_kept_as_images_are():
    """Their features are counted, and go along with what is attended to."""
    cache = FeatureCache(3 * 5 * 4)
    phrase = Phrases(torch.ones(1, 3, 5), torch.tensor([[True, True, False]]))
    for _ in range(2):
        [found] = cache.fetch([key("red car")], lambda places: [phrase])
        assert found is phrase
    assert cache.bytes == phrase.bytes == 3 * 5 * 4
    there = phrase.to(torch.device("meta"))
    assert (there.device.type, there.attended.device.type) == ("meta", "meta")
