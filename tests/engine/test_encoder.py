"""Images are looked at once, a few at a time."""

from __future__ import annotations

import numpy as np
import pytest

from fake_network import FakeNetwork
from promptseg.engine.batches import Limits
from promptseg.engine.cache import FeatureCache
from promptseg.engine.digest import Name
from promptseg.engine.encoder import Encoder
from promptseg.errors import OutOfMemoryError

IMAGES = [np.full((5, 7 + value, 3), value, np.uint8) for value in range(5)]


def encoder_of(network, runtime, *, images=2, cache_bytes=2**20):
    """Make an encoder of so many images at a time."""
    limits = Limits(images=images, objects=1)
    return Encoder(network, runtime, FeatureCache(cache_bytes), limits=limits)


def test_images_come_back_in_order_with_their_sizes(network, runtime):
    """The fake keeps the mean of each, a share of white."""
    encoded = encoder_of(network, runtime).encode(IMAGES)
    assert [image.size.width for image in encoded] == [7, 8, 9, 10, 11]
    means = [float(image.features.grids[0].mean()) for image in encoded]
    np.testing.assert_allclose(means, np.arange(5) / 255, rtol=1e-5)
    assert network.encoded == [2, 2, 1]


@pytest.mark.parametrize(("cache_bytes", "again"), [(2**20, []), (0, [2, 1])])
def test_equal_images_are_looked_at_once_in_a_call(network, runtime, cache_bytes, again):
    """And in the next one, if there is room to keep them."""
    encoder = encoder_of(network, runtime, cache_bytes=cache_bytes)
    encoder.encode([*IMAGES[:3], IMAGES[1].copy()])
    assert network.encoded == [2, 1]
    encoder.encode(IMAGES[:3])
    assert network.encoded[2:] == again


def test_images_may_be_named(network, runtime):
    """What they are is taken on trust then, and not worked out again."""
    encoder = encoder_of(network, runtime)
    encoder.digest = None
    encoder.encode(IMAGES[:2], [Name("a"), Name("b")])
    encoder.encode(IMAGES[:2], [Name("b"), Name("a")])
    assert network.encoded == [2]


def test_what_one_owner_has_seen_is_not_found_by_another(network, runtime):
    """Though it has the same name; what no one owns is nobody's either."""
    encoder = encoder_of(network, runtime)
    for owner in ("a", "b", ""):
        [image] = encoder.encode(IMAGES[:1], [Name("same", owner)])
        assert image.owner == owner
    assert network.encoded == [1, 1, 1]
    encoder.encode(IMAGES[:1], [Name("same", "a")])
    assert (encoder.cache.hits, encoder.cache.misses) == (1, 3)


def test_where_memory_runs_out_half_is_tried(runtime):
    """And one that does not fit alone is an error; what was kept is let go of first."""

    class Narrow(FakeNetwork):
        room = 2

        def encode(self, pixels):
            if len(pixels) > self.room:
                raise RuntimeError("out of memory")
            return super().encode(pixels)

    network = Narrow()
    encoder = encoder_of(network, runtime, images=4)
    assert len(encoder.encode(IMAGES)) == 5
    assert network.encoded == [2, 2, 1]
    network.room = 0
    with pytest.raises(OutOfMemoryError, match="out of memory while encoding images one"):
        encoder.encode([np.zeros((3, 3, 3), np.uint8)])
    assert len(encoder.cache) == 0
