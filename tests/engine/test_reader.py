"""Phrases are read once, many at a time, and kept without their padding."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fake_finder import FakeFinder
from promptseg.engine.cache import FeatureCache
from promptseg.engine.encoder import Encoder
from promptseg.engine.reader import Reader, padded
from promptseg.engine.runtime import Runtime
from promptseg.errors import PromptError

CPU = Runtime.choose("cpu", "float32")
WORDS = st.lists(st.sampled_from(["red", "blue", "a", "visual"]), min_size=1, max_size=6)
ENTRY = 4 * 4  # what one word takes


def reader_of(network, *, cache_bytes=2**20):
    """Make a reader."""
    return Reader(network, Encoder(network, CPU, FeatureCache(0)), cache_bytes=cache_bytes)


def test_each_distinct_phrase_is_read_once():
    """In one go with the new ones beside it; across calls too."""
    network = FakeFinder()
    reader = reader_of(network)
    reader(["red", "a blue", "red"])
    reader(["a blue", "green"])
    assert network.was_read == [["red", "a blue"], ["green"]]
    assert len(reader.cache) == 3


def test_what_is_kept_is_bounded_in_bytes():
    """Room for three words: the fourth drops the oldest, and nothing is ever wrong."""
    network = FakeFinder()
    reader = reader_of(network, cache_bytes=3 * ENTRY)
    reader(["red", "a blue"])
    assert reader.cache.bytes == 3 * ENTRY
    reader(["green"])
    assert reader.cache.bytes <= 3 * ENTRY
    reader(["red"])
    assert network.was_read == [["red", "a blue"], ["green"], ["red"]]


def test_many_phrases_are_read_some_at_a_time():
    """Sixteen, so that a hundred take bounded memory; half of it where that does not fit."""

    class Narrow(FakeFinder):
        def read(self, phrases):
            if len(phrases) > 10:
                raise RuntimeError("out of memory")
            return super().read(phrases)

    phrases = [f"red {number}" for number in range(37)]
    network, narrow = FakeFinder(), Narrow()
    assert len(reader_of(network)(phrases)) == 37
    assert [len(some) for some in network.was_read] == [16, 16, 5]
    reader_of(narrow)(phrases)
    assert [len(some) for some in narrow.was_read] == [8, 8, 8, 8, 5]


def test_a_refused_phrase_is_not_remembered():
    """Its neighbours are read when they are asked for again."""
    reader = reader_of(FakeFinder())
    with pytest.raises(PromptError, match="at most 6 words"):
        reader(["red", "1 2 3 4 5 6 7"])
    assert len(reader(["red"])) == 1


def test_threads_share_what_is_read():
    """Sixteen threads with the same phrases: each is read once."""
    network = FakeFinder()
    reader = reader_of(network)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: reader([f"red {number % 3}"]), range(48)))
    assert sorted(phrase for some in network.was_read for phrase in some) == [
        "red 0",
        "red 1",
        "red 2",
    ]


@given(st.lists(WORDS, min_size=1, max_size=5))
def test_a_phrase_is_the_same_in_any_company(phrases):
    """Each owns as many tokens as it has words; padded to the longest they are as if read so."""
    asked = [" ".join(words) for words in phrases]
    each = reader_of(FakeFinder())(asked)
    assert [one.features.shape[1] for one in each] == [len(words) for words in phrases]
    for phrase, one in zip(asked, each, strict=True):
        [alone] = reader_of(FakeFinder())([phrase])
        assert torch.equal(one.features, alone.features)
        assert one.attended.all()
    batch, expected = padded(each), FakeFinder().read(asked)
    assert torch.equal(batch.attended, expected.attended)
    assert torch.equal(batch.features[batch.attended], expected.features[expected.attended])
