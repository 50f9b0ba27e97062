"""Tiles put together are the image, and each level half of the one before."""

from __future__ import annotations

import io
import threading

import numpy as np
import pytest
from adapter_service import error_of, png, serving
from PIL import Image

from fake_finder import FakeBoth
from promptseg.engine.digest import Name
from promptseg.geometry import Size
from promptseg.server import pyramid
from promptseg.server.folder import AbsentError
from promptseg.server.pictures import Picture
from promptseg.server.pyramid import TILE, Pyramids, levels


def smooth(height, width):
    """Make an image that compression hardly changes."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows % 256, columns % 256, (rows + columns) // 8 % 256], -1).astype(np.uint8)


def pictured(pixels, name="a", owner=""):
    return Picture(Name(name, owner), pixels)


def opened(data):
    return np.asarray(Image.open(io.BytesIO(data))).astype(int)


@pytest.mark.parametrize(
    ("side", "count"), [(1, 1), (512, 1), (513, 2), (1024, 2), (1025, 3), (6000, 5)]
)
def test_levels_end_where_one_tile_is_enough(side, count):
    """Whichever side is longer counts."""
    assert levels(Size(side, 7)) == levels(Size(7, side)) == count


@pytest.mark.parametrize("size", [(1300, 777), (513, 1025), (600, 3)])
def test_tiles_are_the_image(size):
    """At every level, edges and odd sides included."""
    pixels = smooth(*size)
    pyramids, expected = Pyramids(), pixels
    for level in range(levels(Size(*size))):
        down, across = (-(-side // TILE) for side in expected.shape[:2])
        rows = [
            np.concatenate(
                [opened(pyramids.tile(pictured(pixels), level, x, y)) for x in range(across)], 1
            )
            for y in range(down)
        ]
        made = np.concatenate(rows)
        assert made.shape == expected.shape
        assert np.abs(made - expected.astype(int)).mean() < 4
        for x, y in ((across, 0), (0, down), (-1, 0)):
            with pytest.raises(AbsentError, match="no such tile"):
                pyramids.tile(pictured(pixels), level, x, y)
        expected = halved(expected)
    with pytest.raises(AbsentError, match="no such tile"):
        pyramids.tile(pictured(pixels), level + 1, 0, 0)


def halved(pixels):
    """The slow twin: the mean of two by two pixels, of what there is of them at the edge."""
    height, width = (-(-side // 2) for side in pixels.shape[:2])
    made = np.zeros((height, width, 3))
    for y in range(height):
        for x in range(width):
            made[y, x] = pixels[2 * y : 2 * y + 2, 2 * x : 2 * x + 2].mean(axis=(0, 1))
    return made.round().astype(np.uint8)


def test_halving_in_strips_changes_nothing(monkeypatch):
    """Memory is bounded by it, and no pixel is another."""
    pixels = np.random.default_rng(3).integers(0, 256, (77, 51, 3), dtype=np.uint8)
    whole = pyramid._half(pixels)
    monkeypatch.setattr(pyramid, "ROWS", 16)
    np.testing.assert_array_equal(pyramid._half(pixels), whole)
    assert np.abs(whole.astype(int) - halved(pixels)).max() <= 1


def test_what_is_kept_has_a_bound(monkeypatch):
    """The image that was looked at longest ago goes; one alone always has room."""
    made = []
    smaller = pyramid._smaller
    monkeypatch.setattr(pyramid, "_smaller", lambda pixels: made.append(1) or smaller(pixels))
    pixels = smooth(600, 600)
    one = 300 * 300 * 3
    pyramids = Pyramids(max_bytes=2 * one)
    for name in ("a", "b", "a", "c", "a", "b"):
        pyramids.tile(pictured(pixels, name), 1, 0, 0)
    assert len(made) == 4  # `b` had gone when `c` came, as `a` was looked at after it
    assert pyramids.held_bytes == 2 * one
    pyramids.tile(pictured(pixels, "a", "anna"), 1, 0, 0)
    assert len(made) == 5
    small = Pyramids(max_bytes=1)
    small.tile(pictured(pixels), 1, 0, 0)
    assert small.held_bytes == one


def test_many_who_ask_at_once_have_it_made_once(monkeypatch):
    """A page asks for several squares at a time."""
    made = []
    smaller = pyramid._smaller
    monkeypatch.setattr(pyramid, "_smaller", lambda pixels: made.append(1) or smaller(pixels))
    pyramids, pixels = Pyramids(), smooth(900, 900)
    threads = [
        threading.Thread(target=pyramids.tile, args=(pictured(pixels), 1, 0, 0)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]


def test_a_session_has_tiles():
    """It says how many levels there are; another's session has none."""
    with serving(FakeBoth(), max_pixels=10**6) as client:
        said = client.post("/v1/sessions", json={"image": png(smooth(600, 700))}).json()
        assert said["pyramid"] == {"levels": 2, "tile": 512}
        address = f"/v1/sessions/{said['id']}"
        assert client.get(address).json()["pyramid"] == said["pyramid"]
        answer = client.get(f"{address}/tile", params={"level": 1, "x": 0, "y": 0})
        assert answer.headers["Content-Type"] == "image/jpeg"
        assert "immutable" in answer.headers["Cache-Control"]
        assert opened(answer.content).shape == (300, 350, 3)
        for wrong in ({"level": 2, "x": 0, "y": 0}, {"level": 0, "x": 9, "y": 0}):
            error = error_of(client.get(f"{address}/tile", params=wrong), 404)
            assert error["kind"] == "ImageError"  # and not one of a session that is not there
        error_of(client.get(f"{address}/tile", params={"level": -1, "x": 0, "y": 0}), 422)
        params = {"level": 0, "x": 0, "y": 0}
        error_of(client.get("/v1/sessions/nobody/tile", params=params), 404)
