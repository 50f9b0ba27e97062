"""Scenes: exact masks, seeded, and within bounds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from promptseg.errors import ConfigError
from promptseg.options import StreamOptions
from promptseg.train import scenes
from promptseg.train.outlines import random_outline
from promptseg.train.photos import Photos
from promptseg.train.scenes import SceneMaker
from promptseg.train.stream import SceneStream
from promptseg.train.textures import random_texture

KINDS = (scenes.pasted, scenes.pattern, scenes.regions, scenes.masked, scenes.pseudo)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_scene_is_a_square_with_masks(kind, training_folder: Path) -> None:
    """Each maker gives bytes in colour and bool masks of the same side."""
    scene = kind(np.random.default_rng(3), Photos(training_folder), 64)

    assert scene.image.shape == (64, 64, 3)
    assert scene.image.dtype == np.uint8
    assert scene.masks.shape[1:] == (64, 64)
    assert scene.masks.dtype == bool
    assert scene.masks.any()


def test_the_same_number_gives_the_same_scene(training_folder: Path) -> None:
    """Scene `i` of a seed is always the same one, and not that of another number."""
    one, other = (SceneMaker(Photos(training_folder), side=64, seed=7) for _ in range(2))

    assert np.array_equal(one(5).image, other(5).image)
    assert np.array_equal(one(5).masks, other(5).masks)
    assert not np.array_equal(one(5).image, one(6).image)


def test_what_is_pasted_hides_what_lies_under_it(training_folder: Path) -> None:
    """Visible masks of pasted things never overlap."""
    scene = scenes.pasted(np.random.default_rng(1), Photos(training_folder), 64)
    assert scene.masks.sum(axis=0).max() <= 1


def test_regions_cover_the_plane_once() -> None:
    """Every pixel belongs to just one region."""

    class NoPhotos(Photos):
        def __init__(self) -> None:
            self.plain = ("x",)

        def photo(self, name: str) -> np.ndarray:
            return np.full((40, 40, 3), 90, np.uint8)

    scene = scenes.regions(np.random.default_rng(2), NoPhotos(), 64)
    assert (scene.masks.sum(axis=0) == 1).all()


def test_specks_are_not_asked_for(training_folder: Path) -> None:
    """No mask of a finished scene vanishes at half the side or is nearly the whole image."""
    make = SceneMaker(Photos(training_folder), side=64, seed=0)
    for i in range(8):
        masks = make(i).masks
        shares = masks.reshape(-1, 32, 2, 32, 2).mean(axis=(2, 4))
        assert 4 * (shares >= 0.5).sum(axis=(1, 2)).min() >= scenes.LEAST_PIXELS
        assert masks.mean(axis=(1, 2)).max() <= 0.85


def test_outlines_and_textures_are_never_empty() -> None:
    """Forty random shapes have an inside and an outside; textures are bytes."""
    rng = np.random.default_rng(0)
    for _ in range(40):
        outline = random_outline(rng, 41)
        assert 0 < outline.sum() < outline.size
        assert random_texture(rng, 41).shape == (41, 41, 3)


def test_the_stream_goes_on_elsewhere(training_folder: Path) -> None:
    """A stream that starts later gives other scenes, one that starts alike the same."""
    options = StreamOptions(side=64, batch=2, things=3, workers=0, buffer=4)
    first, again = (next(iter(SceneStream(Photos(training_folder), options))) for _ in range(2))
    later = next(iter(SceneStream(Photos(training_folder), options, start=2)))

    assert first.images.shape == (2, 3, 64, 64)
    assert first.masks.shape == (2, 3, 64, 64)
    assert first.outlines.shape == first.known.shape == (2, 16, 16)
    assert (first.images == again.images).all()
    assert (first.images != later.images).any()


def test_a_folder_without_index_is_refused(tmp_path: Path) -> None:
    """The sentence names the folder and says what it should hold."""
    with pytest.raises(ConfigError, match="no training data in") as caught:
        Photos(tmp_path)
    assert "index.json" in (caught.value.hint or "")


def test_a_folder_to_evaluate_on_is_refused(tmp_path: Path) -> None:
    """An index that lists its masks one by one is for measuring, and the hint says so."""
    (tmp_path / "index.json").write_text('{"images": {}, "masks": []}')
    with pytest.raises(ConfigError, match="by file name") as caught:
        Photos(tmp_path)
    assert "evaluate" in (caught.value.hint or "")


def test_a_side_that_does_not_divide_is_refused() -> None:
    """The network halves five times, and two grids of it are left."""
    with pytest.raises(ConfigError, match="multiple of 32 from 64 on, got 100"):
        StreamOptions(side=100)


@pytest.mark.parametrize(
    ("rle", "sentence"),
    [
        ({"size": [60, 81], "counts": [60 * 81]}, "a mask of `masked/b.jpg` is 81 x 60"),
        ({"size": [60, 80], "counts": [7]}, "cannot read the masks of `masked/b.jpg`"),
        (None, "cannot read the masks of `masked/b.jpg`"),
    ],
)
def test_masks_that_do_not_fit_their_photo_are_refused(
    training_folder: Path, tmp_path: Path, rle: object, sentence: str
) -> None:
    """The photo is named, before any training."""
    index = json.loads((training_folder / "index.json").read_text())
    index["masks"]["masked/b.jpg"] = [{"category": "thing", "rle": rle}]
    (tmp_path / "index.json").write_text(json.dumps(index))
    with pytest.raises(ConfigError) as caught:
        Photos(tmp_path)
    assert sentence in str(caught.value)
